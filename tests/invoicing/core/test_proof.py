"""A stored line can be rated again from its inputs alone, byte for byte."""

import json
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_site.kernel.digest import canonical, digest_of
from invoicing.core.contract import Charge, PriceModel
from invoicing.core.proof import UnknownEngine, line_document, line_inputs, rated_again
from invoicing.core.rating import rate_charge
from tests.invoicing.core.builders import JULY, base_fee, charge, usage
from tests.invoicing.core.test_pricing_properties import prices, quantities, shares


@pytest.mark.requirement("S0-148")
def test_a_line_rated_again_from_stored_json_is_byte_identical() -> None:
    """S0-147..151."""
    document = line_document(line=rate_charge(charge=charge(), usage=usage("15000000"), currency="USD"))
    stored = json.loads(json.dumps(document))

    assert canonical(rated_again(stored["inputs"])) == canonical(stored)


@pytest.mark.requirement("S0-117")
@pytest.mark.requirement("S0-016")
@given(price=prices(), quantity=quantities, share=shares, currency=st.sampled_from(["EUR", "JPY", "KWD", "CLF"]))
def test_whatever_was_rated_rates_the_same_again(price, quantity, share, currency) -> None:  # type: ignore[no-untyped-def]
    meter = None if price.model is PriceModel.FLAT else "tokens"
    a_charge = Charge("sub/x", "X", price, meter, "token" if meter else "", "sub", JULY, share)
    counted = usage(format(quantity, "f"), meter="tokens") if meter else None

    document = line_document(line=rate_charge(charge=a_charge, usage=counted, currency=currency))

    assert canonical(rated_again(json.loads(canonical(document))["inputs"])) == canonical(document)


def test_a_share_without_a_decimal_is_stored_as_the_fraction_it_is() -> None:
    document = line_document(
        line=rate_charge(charge=base_fee("29", share=Fraction(10, 31)), usage=None, currency="USD")
    )

    assert document["inputs"]["share"] == "10/31"
    assert document["unrounded_amount"] == "290/31"
    assert document["steps"][0]["exact_amount"] == "290/31"
    assert document["steps"][0]["amount"] == "9.354839"
    assert rated_again(document["inputs"]) == document


def test_a_changed_input_does_not_rate_the_same() -> None:
    line = rate_charge(charge=charge(), usage=usage("15000000"), currency="USD")
    inputs = line_inputs(line=line)

    tampered = {**inputs, "usage": {**inputs["usage"], "quantity": "14999999"}}

    assert rated_again(tampered) != line_document(line=line)


def test_a_line_of_an_unknown_engine_is_not_rated_by_guess() -> None:
    inputs = line_inputs(line=rate_charge(charge=charge(), usage=usage("1"), currency="USD"))

    with pytest.raises(UnknownEngine, match="engine 0"):
        rated_again({**inputs, "engine": "0"})


def test_engine_1_writes_this_line_for_ever() -> None:
    """Change it only together with ENGINE_VERSION: issued lines could not be proved any more."""
    prices_of_one = {"tiers": [{"up_to": "10", "unit_amount": "0.1"}, {"up_to": None, "unit_amount": "0.05"}]}
    a_charge = charge({"model": "graduated", **prices_of_one, "free_units": "5", "minimum_amount": "2"})

    document = line_document(line=rate_charge(charge=a_charge, usage=usage("20.5"), currency="EUR"))

    assert document["steps"][1] == {
        "kind": "tier",
        "text": "Next 5.5 actions at EUR 0.05 each",
        "arithmetic": "5.5 × 0.05 = 0.275",
        "quantity": "5.5",
        "count": "5.5",
        "unit_amount": "0.05",
        "flat_amount": "0",
        "rate": "0",
        "up_to": None,
        "amount": "0.275",
        "exact_amount": "0.275",
    }
    assert digest_of(document) == "a3d9e9ff3c6ab66338214bc22d89c15977123d091228922019482c58bf573270"
