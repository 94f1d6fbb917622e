"""Places in tiers that go on over a change of plan: the parts of a period cost what the whole does."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoicing.core.definition import price_from_definition
from invoicing.core.pricing import price_quantity

GRADUATED = {
    "model": "graduated",
    "tiers": [
        {"up_to": "10", "unit_amount": "3"},
        {"up_to": "20.5", "unit_amount": "2"},
        {"up_to": None, "unit_amount": "1"},
    ],
}
PRICES: list[dict[str, Any]] = [
    GRADUATED,
    {**GRADUATED, "free_units": "7"},
    {"model": "per_unit", "unit_amount": "0.5", "free_units": "12"},
    {"model": "package", "package_size": "5", "package_amount": "2", "free_units": "3"},
    {"model": "percentage", "rate": "0.1", "free_units": "4"},
    {
        "model": "graduated_percentage",
        "tiers": [{"up_to": "10", "rate": "0.3"}, {"up_to": None, "rate": "0.1"}],
    },
]
quantities = st.decimals(0, 40, places=2)


@given(definition=st.sampled_from(PRICES), parts=st.lists(quantities, min_size=1, max_size=5))
def test_a_price_carried_over_any_cuts_costs_what_it_costs_uncut(
    definition: dict[str, Any], parts: list[Decimal]
) -> None:
    price = price_from_definition(definition)
    carried, total, free = Decimal(0), Fraction(0), Decimal(0)

    for part in parts:
        priced = price_quantity(price=price, quantity=part, carried=carried)
        carried, total, free = carried + part, total + priced.unrounded_amount, free + priced.free_quantity

    whole = price_quantity(price=price, quantity=carried)
    assert (total, free) == (whole.unrounded_amount, whole.free_quantity)


@pytest.mark.parametrize(
    ("carried", "quantity", "amount"),
    [("0", "10", "10"), ("10", "0", "0"), ("10", "1", "0.5"), ("9", "1", "1"), ("9", "2", "1")],
)
def test_a_volume_price_charges_its_units_at_the_tier_that_all_reach(carried: str, quantity: str, amount: str) -> None:
    price = price_from_definition(
        {"model": "volume", "tiers": [{"up_to": "10", "unit_amount": "1"}, {"up_to": None, "unit_amount": "0.5"}]}
    )

    priced = price_quantity(price=price, quantity=Decimal(quantity), carried=Decimal(carried))

    assert priced.unrounded_amount == Fraction(amount)


def test_a_flat_fee_of_a_tier_that_was_passed_before_is_owed_for_the_share_of_this_service() -> None:
    price = price_from_definition(
        {
            "model": "graduated",
            "tiers": [
                {"up_to": "10", "unit_amount": "1", "flat_amount": "30"},
                {"up_to": None, "unit_amount": "0.5", "flat_amount": "60"},
            ],
        }
    )

    priced = price_quantity(price=price, quantity=Decimal(4), carried=Decimal(12), share=Fraction(1, 2))

    assert [(step.quantity, step.amount) for step in priced.steps] == [(0, 15), (4, 32)]
