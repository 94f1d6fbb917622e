"""A percentage of each event: with a fixed part, and with a least and a most that one event costs."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_site.kernel.errors import InvalidFields
from invoicing.core.contract import RatedLine, Usage
from invoicing.core.definition import definition_of, price_from_definition
from invoicing.core.detail import BySize, SizeUsage, sizes_of
from invoicing.core.pricing import price_quantity
from invoicing.core.proof import line_document, rated_again
from invoicing.core.rating import rate_charge
from tests.invoicing.core.builders import charge

CARD: dict[str, Any] = {
    "model": "percentage",
    "rate": "0.029",
    "fixed_amount_per_event": "0.3",
    "minimum_amount_per_event": "0.5",
    "maximum_amount_per_event": "5",
}


def rated(definition: dict[str, Any], *events: str, currency: str = "USD") -> RatedLine:
    """A line over these events."""
    one = charge(definition, unit="dollar")
    assert isinstance(one.price.need, BySize)
    sizes = sizes_of(need=one.price.need, events=[(Decimal(event), 1) for event in events])
    usage = Usage("actions", sizes.quantity, 3, len(events), "d" * 64, 9, by_size=sizes)
    return rate_charge(charge=one, usage=usage, currency=currency)


def test_small_events_cost_the_minimum_great_ones_the_maximum_and_the_others_their_percentage() -> None:
    line = rated(CARD, "1", "2.5", "100", "50", "1000")

    assert line.unrounded_amount == Fraction("0.5") * 2 + Fraction("0.029") * 150 + Fraction("0.6") + 5
    assert [(step.text, step.arithmetic) for step in line.steps] == [
        ("2 events of together 3.5 dollars at the minimum of USD 0.50 each", "2 × 0.50 = 1.00"),
        ("2.9 % of 150 dollars", "150 × 0.029 = 4.35"),
        ("2 events at USD 0.30 each", "2 × 0.30 = 0.60"),
        ("1 event of together 1,000 dollars at the maximum of USD 5.00 each", "1 × 5.00 = 5.00"),
    ]
    assert line.explanation == (
        "1,153.5 dollars used. Each event is charged 2.9 % of its amount plus USD 0.30, at least USD 0.50,"
        " at most USD 5.00."
    )


@pytest.mark.parametrize(
    ("event", "amount"),
    [
        ("0", "0.5"),
        ("6.896551724137", "0.5"),  # 0.2 / 0.029 has no decimal: just below the bound
        ("6.896551724138", "0.500000000000002"),  # and just above it
        ("162.068965517241", "4.999999999999989"),
        ("162.068965517242", "5"),
        ("99999999999999999999999999", "5"),
    ],
)
def test_a_bound_is_exact_although_no_decimal_can_say_it(event: str, amount: str) -> None:
    assert rated(CARD, event).unrounded_amount == Fraction(amount)


def test_only_a_fixed_part_needs_no_sizes_but_the_number_of_events() -> None:
    price = price_from_definition({"model": "percentage", "rate": "0", "fixed_amount_per_event": "0.25"})

    assert price.need == BySize()
    assert price_quantity(
        price=price, quantity=Decimal(7), by_size=SizeUsage(between_count=4, between_quantity=Decimal(7))
    ).unrounded_amount == Fraction(1)


def test_nothing_used_costs_nothing_and_a_whole_minimum_stands_above_each_event() -> None:
    assert rated(CARD).unrounded_amount == 0
    assert rated({**CARD, "minimum_amount": "10"}, "100").unrounded_amount == 10
    assert rated({**CARD, "maximum_amount": "2"}, "100").unrounded_amount == 2
    assert rated({**CARD, "maximum_amount": "2"}, "100", currency="JPY").amount.amount == 2


def test_a_line_holds_its_sizes_and_is_rated_again_from_them_to_the_same_bytes() -> None:
    document = line_document(line=rated(CARD, "1", "100", "1000"))

    assert document["inputs"]["usage"]["by_size"] == {
        "below": {"count": 1, "quantity": "1"},
        "between": {"count": 1, "quantity": "100"},
        "above": {"count": 1, "quantity": "1000"},
    }
    assert rated_again(document["inputs"]) == document
    assert definition_of(price_from_definition(CARD)) == CARD


@given(
    events=st.lists(st.decimals("0", "3000", places=4), max_size=12),
    fixed=st.sampled_from([None, "0", "0.3"]),
    least=st.sampled_from([None, "0", "0.5", "4"]),
    most=st.sampled_from([None, "4", "4.01", "50"]),
)
def test_events_together_cost_what_they_cost_one_by_one(
    events: list[Decimal], fixed: str | None, least: str | None, most: str | None
) -> None:
    own = {"fixed_amount_per_event": fixed, "minimum_amount_per_event": least, "maximum_amount_per_event": most}
    if not any(own.values()):
        return
    expected = Fraction(0)
    for event in events:
        cost = Fraction(event) * Fraction("0.0175") + Fraction(fixed or 0)
        cost = max(cost, Fraction(least)) if least is not None else cost
        expected += min(cost, Fraction(most)) if most is not None else cost

    line = rated({"model": "percentage", "rate": "0.0175", **own}, *(format(event, "f") for event in events))

    assert line.unrounded_amount == expected
    assert line.quantity == sum(events, Decimal(0))


@pytest.mark.parametrize(
    ("change", "mistakes"),
    [
        ({"fixed_amount_per_event": "-1"}, {"fixed_amount_per_event": "negative"}),
        ({"minimum_amount_per_event": "0.0000000000001"}, {"minimum_amount_per_event": "too_precise"}),
        ({"minimum_amount_per_event": "6"}, {"minimum_amount_per_event": "above_maximum"}),
        ({"fixed_amount_per_event": "6"}, {"fixed_amount_per_event": "above_maximum"}),
        ({"rate": "0"}, {"rate": "zero"}),
        ({"rate": "2.9"}, {"rate": "above_one"}),
        ({"free_units": "5"}, {"free_units": "not_allowed"}),
        (
            {"model": "per_unit", "rate": None, "unit_amount": "1", "maximum_amount_per_event": None},
            {"fixed_amount_per_event": "not_allowed", "minimum_amount_per_event": "not_allowed"},
        ),
    ],
)
def test_a_mistake_is_told_at_its_field(change: dict[str, Any], mistakes: dict[str, str]) -> None:
    with pytest.raises(InvalidFields) as problem:
        price_from_definition({**CARD, **change}, field="")

    assert {error.field: error.code for error in problem.value.errors} == mistakes
