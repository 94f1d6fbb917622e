"""A charge becomes a line: exact, rounded once, explained in plain words."""

from decimal import Decimal
from fractions import Fraction

import pytest

from billing_site.kernel.money import plain, wire
from invoicing.core.rating import UsageMissing, rate, rate_charge
from tests.invoicing.core.builders import base_fee, charge, snapshot, usage


@pytest.mark.requirement("S0-070")
def test_fifteen_million_actions_are_written_out_tier_by_tier() -> None:
    line = rate_charge(charge=charge(), usage=usage("15000000"), currency="USD")

    assert wire(line.amount) == {"amount": "280.00", "currency": "USD"}
    assert [(step.text, step.arithmetic) for step in line.steps] == [
        ("First 1,000,000 actions at USD 25.00 per million", "1,000,000 × 0.000025 = 25.00"),
        ("Next 9,000,000 actions at USD 20.00 per million", "9,000,000 × 0.00002 = 180.00"),
        ("Next 5,000,000 actions at USD 15.00 per million", "5,000,000 × 0.000015 = 75.00"),
    ]


@pytest.mark.parametrize(
    ("base", "included", "overage", "queries", "total"),
    [
        pytest.param("29", "10000", "0.001", "0", "29.00", id="starter, unused"),
        pytest.param("29", "10000", "0.001", "10000", "29.00", id="starter, all used"),
        pytest.param("29", "10000", "0.001", "12500", "31.50", id="starter, over"),
        pytest.param("99", "100000", "0.0008", "100000", "99.00", id="pro, all used"),
        pytest.param("99", "100000", "0.0008", "150000", "139.00", id="pro, over"),
        pytest.param("499", "1000000", "0.0005", "1000000", "499.00", id="enterprise, all used"),
        pytest.param("499", "1000000", "0.0005", "1500000", "749.00", id="enterprise, over"),
        pytest.param("499", "1000000", "0.0005", "1000009", "499.00", id="enterprise, less than half a cent over"),
        pytest.param("499", "1000000", "0.0005", "1000010", "499.01", id="enterprise, half a cent over"),
    ],
)
def test_plans_charge_their_fee_and_the_overage(
    base: str, included: str, overage: str, queries: str, total: str
) -> None:
    """S1-029, S1-030, S1-031, S0-068."""
    overage_charge = charge(
        {"model": "per_unit", "unit_amount": overage, "free_units": included}, reference="sub/queries", unit="query"
    )
    contract = snapshot(base_fee(base), overage_charge)

    lines = rate(snapshot=contract, usage={"actions": usage(queries)})

    assert plain(sum((line.amount.amount for line in lines), Decimal(0))) == plain(Decimal(total))


@pytest.mark.parametrize(
    ("currency", "unit_amount", "quantity", "amount"),
    [
        ("EUR", "0.005", "1", "0.01"),
        ("EUR", "0.004999999999", "1", "0.00"),
        ("EUR", "0.015", "1", "0.02"),
        ("EUR", "0.025", "1", "0.03"),
        ("JPY", "0.5", "1", "1"),
        ("JPY", "0.499999999999", "1", "0"),
        ("JPY", "150", "10.5", "1575"),
        ("KWD", "0.0005", "1", "0.001"),
        ("KWD", "0.000499999999", "1", "0.000"),
        ("KWD", "1.2345", "1", "1.235"),
    ],
)
def test_a_line_is_rounded_once_to_the_minor_unit_halves_away_from_zero(
    currency: str, unit_amount: str, quantity: str, amount: str
) -> None:
    """S0-107; killbill#1124."""
    per_unit = charge({"model": "per_unit", "unit_amount": unit_amount})

    line = rate_charge(charge=per_unit, usage=usage(quantity), currency=currency)

    assert wire(line.amount) == {"amount": amount, "currency": currency}
    assert line.unrounded_amount == Fraction(unit_amount) * Fraction(quantity)


def test_steps_stay_exact_so_that_fractions_of_a_cent_are_not_lost_tier_by_tier() -> None:
    tiers = [{"up_to": "1", "unit_amount": "0.004"}, {"up_to": "2", "unit_amount": "0.004"}]
    tiers.append({"up_to": None, "unit_amount": "0.004"})

    line = rate_charge(charge=charge({"model": "graduated", "tiers": tiers}), usage=usage("3"), currency="USD")

    assert [plain(step.amount) for step in line.steps] == ["0.004", "0.004", "0.004"]
    assert wire(line.amount)["amount"] == "0.01"


def test_a_prorated_fee_is_explained_with_its_share() -> None:
    line = rate_charge(charge=base_fee("29", share=Fraction(17, 31)), usage=None, currency="USD")

    assert wire(line.amount)["amount"] == "15.90"
    assert line.steps[0].arithmetic == "29.00 × 17/31 ≈ 15.903226"
    assert line.explanation == (
        "Flat fee of USD 29.00 for 17/31 of the billing period. About USD 15.903226 is rounded to USD 15.90."
    )


def test_a_line_tells_what_was_used_what_was_free_and_what_was_added() -> None:
    definition = {"model": "per_unit", "unit_amount": "0.0008", "free_units": "100000", "minimum_amount": "20"}

    line = rate_charge(charge=charge(definition, unit="query"), usage=usage("110000"), currency="USD")

    assert line.explanation == (
        "110,000 queries used, 100,000 of them free. Every unit costs the same. True-up to the minimum of USD 20.00."
    )
    assert [step.text for step in line.steps] == [
        "10,000 queries at USD 0.80 per 1,000",
        "True-up to the minimum of USD 20.00",
    ]


def test_a_metered_charge_without_its_usage_is_an_error_not_zero() -> None:
    with pytest.raises(UsageMissing, match="sub/actions"):
        rate(snapshot=snapshot(charge()), usage={})


def test_zero_usage_is_a_line_over_nothing() -> None:
    line = rate_charge(charge=charge(), usage=usage("0"), currency="USD")

    assert wire(line.amount)["amount"] == "0.00"
    assert line.explanation.startswith("0 actions used.")


def test_usage_of_another_meter_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="tokens"):
        rate_charge(charge=charge(), usage=usage("1", meter="tokens"), currency="USD")
