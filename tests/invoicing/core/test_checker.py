"""The checker that customers download prices every line as the engine does, and no line that says something else."""

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_site.kernel.period import Period
from invoicing.checker.check_invoice import Different, check_price
from invoicing.core.contract import Price, PriceModel
from invoicing.core.proof import line_document
from invoicing.core.rating import rate_charge
from tests.invoicing.core.builders import JULY, charge, usage
from tests.invoicing.core.test_pricing_properties import prices, quantities, shares, small_quantities

DECIMALS = {"USD": 2, "JPY": 0, "KWD": 3}
EARLIER = Period(JULY.start - timedelta(days=5), JULY.start)


@given(
    price=prices(),
    quantity=st.one_of(small_quantities, quantities),
    carried=st.one_of(st.just(Decimal(0)), small_quantities),
    share=shares,
    currency=st.sampled_from(sorted(DECIMALS)),
    seats=st.integers(1, 9),
)
def test_the_checker_prices_any_line_to_the_same_cent_and_finds_one_unit_more(
    price: Price, quantity: Decimal, carried: Decimal, share: Fraction, currency: str, seats: int
) -> None:
    is_fee = price.model is PriceModel.FLAT
    rated = rate_charge(
        charge=replace(
            charge({"model": "flat", "unit_amount": "1"}, meter=None if is_fee else "actions", share=share),
            price=price,
            quantity=seats if is_fee else 1,
            carries=(EARLIER,) if carried and not is_fee else (),
        ),
        usage=None if is_fee else replace(usage("0"), quantity=quantity, carried=carried),
        currency=currency,
    )
    document = json.loads(json.dumps(line_document(line=rated)))
    line = {"rated": document, "amount": document["amount"]}

    assert check_price(line, DECIMALS[currency])
    unit = Decimal(1).scaleb(-DECIMALS[currency])
    dearer = line | {"amount": {"amount": str(rated.amount.amount + unit), "currency": currency}}
    with pytest.raises(Different, match="it comes to"):
        check_price(dearer, DECIMALS[currency])
