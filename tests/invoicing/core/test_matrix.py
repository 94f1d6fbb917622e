"""A matrix charges each unit by the values it was used with, and nothing is free because nobody thought of it."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_site.kernel.errors import InvalidFields
from invoicing.core.contract import RatedLine, Usage
from invoicing.core.definition import definition_of, price_from_definition
from invoicing.core.detail import GroupUsage, Values, groups_needed
from invoicing.core.pricing import price_quantity
from invoicing.core.pricing.matrix import UnpricedValues
from invoicing.core.proof import line_document, rated_again
from invoicing.core.rating import rate_charge
from tests.invoicing.core.builders import charge, price

MATRIX: dict[str, Any] = {
    "model": "matrix",
    "dimensions": ["region", "model"],
    "cells": [
        {"values": ["eu", "large"], "unit_amount": "0.03"},
        {"values": ["eu", "small"], "unit_amount": "0.01"},
        {"values": ["us", None], "unit_amount": "0.000000000001"},
    ],
}
WITH_DEFAULT = {**MATRIX, "default_unit_amount": "0.05"}


def rated(definition: dict[str, Any], *used: tuple[Values, str], currency: str = "USD") -> RatedLine:
    """A line over so much of each group."""
    one = charge(definition, unit="token")
    need = one.price.need
    assert need is not None
    groups = groups_needed(need=need, groups={values: Decimal(quantity) for values, quantity in used})
    total = sum((group.quantity for group in groups), Decimal(0))
    usage = Usage("actions", total, 3, 4, "d" * 64, 9, groups=groups)
    return rate_charge(charge=one, usage=usage, currency=currency)


def test_each_group_costs_what_its_cell_says_and_all_others_the_default() -> None:
    line = rated(
        WITH_DEFAULT, (("eu", "large"), "1000"), (("us", None), "7"), (("mars", "large"), "2"), ((None, None), "0.5")
    )

    assert line.unrounded_amount == Fraction("30.125000000007")
    assert line.quantity == Decimal("1009.5")
    assert [(step.text, step.arithmetic) for step in line.steps] == [
        ("1,000 tokens with region eu and model large at USD 0.03 each", "1,000 × 0.03 = 30.00"),
        ("7 tokens with region us and no model at USD 0.000000000001 each", "7 × 0.000000000001 = 0.000000000007"),
        ("2.5 tokens with any other region and model at USD 0.05 each", "2.5 × 0.05 = 0.125"),
    ]
    assert line.explanation.startswith("1,009.5 tokens used. Each unit is charged at the rate of the values")


def test_usage_of_values_without_a_price_is_a_failure_that_names_them_and_never_free() -> None:
    with pytest.raises(UnpricedValues) as problem:
        rated(MATRIX, (("eu", "large"), "1"), (("mars", "large"), "2"), (("eu", None), "1"))

    assert "no cell for region eu and no model; region mars and model large, and no default" in problem.value.message


def test_what_adds_up_to_nothing_needs_no_price() -> None:
    line = rated({**MATRIX, "minimum_amount": "10"}, (("mars", "large"), "0"))

    assert (line.quantity, line.amount.amount) == (0, 10)
    assert [step.kind for step in line.steps] == ["true_up"]


def test_a_maximum_cuts_the_whole_matrix_in_a_currency_of_any_exponent() -> None:
    for currency, amount in (("USD", "20"), ("JPY", "20"), ("KWD", "20")):
        assert str(
            rated({**MATRIX, "maximum_amount": "20"}, (("eu", "large"), "1000"), currency=currency).amount.amount
        )
        assert rated(
            {**MATRIX, "maximum_amount": "20"}, (("eu", "large"), "1000"), currency=currency
        ).amount.amount == (Decimal(amount))
    assert rated(MATRIX, (("eu", "small"), "50"), currency="JPY").amount.amount == 1
    assert rated(MATRIX, (("eu", "small"), "0.05"), currency="KWD").amount.amount == Decimal("0.001")


def test_a_line_holds_its_groups_and_is_rated_again_from_them_to_the_same_bytes() -> None:
    line = rated(WITH_DEFAULT, (("eu", "large"), "1000"), (("mars", None), "2"))

    document = line_document(line=line)

    assert document["inputs"]["usage"]["groups"] == [
        {"values": ["eu", "large"], "quantity": "1000"},
        {"values": None, "quantity": "2"},
    ]
    assert [step.get("values") for step in document["steps"]] == [["eu", "large"], None]
    assert rated_again(document["inputs"]) == document


def test_a_matrix_is_written_as_it_is_read() -> None:
    for definition in (MATRIX, {**WITH_DEFAULT, "minimum_amount": "1", "maximum_amount": "2"}):
        assert definition_of(price_from_definition(definition)) == definition


VALUES = st.tuples(st.sampled_from(["eu", "us", None]), st.sampled_from(["large", "small", None]))


@given(st.dictionaries(VALUES, st.decimals("0", "1000000", places=6), max_size=9))
def test_every_unit_is_priced_once_whatever_the_groups(used: dict[Values, Decimal]) -> None:
    matrix = price(**WITH_DEFAULT)
    amounts = {cell.values: Fraction(cell.unit_amount) for cell in matrix.cells}
    assert matrix.need is not None
    groups = groups_needed(need=matrix.need, groups=dict(used))

    priced = price_quantity(price=matrix, quantity=sum(used.values(), Decimal(0)), groups=groups)

    assert priced.unrounded_amount == sum(
        (Fraction(quantity) * amounts.get(values, Fraction("0.05")) for values, quantity in used.items()), Fraction(0)
    )
    assert groups_needed(need=matrix.need, groups=dict(reversed(used.items()))) == groups, "the order says nothing"


def test_groups_that_do_not_add_up_to_the_quantity_are_a_bug() -> None:
    groups = [GroupUsage(("eu", "large"), Decimal(1))]
    with pytest.raises(AssertionError, match="priced once"):
        price_quantity(price=price(**MATRIX), quantity=Decimal(2), groups=groups)
    with pytest.raises(AssertionError, match="priced by groups"):
        price_quantity(price=price(**MATRIX), quantity=Decimal(2))
    with pytest.raises(AssertionError, match="priced by groups"):
        price_quantity(price=price("per_unit", unit_amount="1"), quantity=Decimal(1), groups=groups)


@pytest.mark.parametrize(
    ("change", "mistakes"),
    [
        ({"dimensions": None}, {"dimensions": "required"}),
        ({"dimensions": "region"}, {"dimensions": "wrong_type"}),
        ({"dimensions": ["a", "b", "c"]}, {"dimensions": "wrong_length"}),
        ({"dimensions": ["region", "region"]}, {"dimensions": "duplicate"}),
        ({"dimensions": ["region", ""]}, {"dimensions[1]": "invalid"}),
        ({"dimensions": ["region", 3]}, {"dimensions[1]": "invalid"}),
        ({"cells": []}, {"cells": "required"}),
        ({"cells": {}}, {"cells": "wrong_type"}),
        ({"cells": [{"values": ["eu", "large"]}] * 1001}, {"cells": "wrong_length"}),
        ({"cells": ["eu"]}, {"cells[0]": "wrong_type"}),
        ({"cells": [{"values": ["eu"], "unit_amount": "1"}]}, {"cells[0].values": "wrong_length"}),
        ({"cells": [{"unit_amount": "1"}]}, {"cells[0].values": "required"}),
        ({"cells": [{"values": ["eu", ""], "unit_amount": "1"}]}, {"cells[0].values[1]": "wrong_type"}),
        ({"cells": [{"values": ["eu", 7], "unit_amount": "1"}]}, {"cells[0].values[1]": "wrong_type"}),
        ({"cells": [{"values": ["eu", "x" * 101], "unit_amount": "1"}]}, {"cells[0].values[1]": "wrong_type"}),
        ({"cells": [{"values": ["eu", "\ud800"], "unit_amount": "1"}]}, {"cells[0].values[1]": "wrong_type"}),
        ({"cells": [{"values": ["eu", "large"]}]}, {"cells[0].unit_amount": "required"}),
        ({"cells": [{"values": ["eu", "large"], "unit_amount": "-1"}]}, {"cells[0].unit_amount": "negative"}),
        (
            {"cells": [{"values": ["eu", "large"], "unit_amount": "0.0000000000001"}]},
            {"cells[0].unit_amount": "too_precise"},
        ),
        ({"cells": [{"values": ["eu", "large"], "unit_amount": "1", "rate": "1"}]}, {"cells[0].rate": "unknown"}),
        ({"cells": [{"values": ["eu", None], "unit_amount": "1"}] * 2}, {"cells[1].values": "duplicate"}),
        ({"default_unit_amount": "free"}, {"default_unit_amount": "not_a_number"}),
        ({"free_units": "10"}, {"free_units": "not_allowed"}),
        ({"tiers": [{"up_to": None, "unit_amount": "1"}]}, {"tiers": "not_allowed"}),
        ({"model": "per_unit", "unit_amount": "1"}, {"dimensions": "not_allowed", "cells": "not_allowed"}),
    ],
)
def test_a_mistake_is_told_at_its_field(change: dict[str, Any], mistakes: dict[str, str]) -> None:
    with pytest.raises(InvalidFields) as problem:
        price_from_definition({**MATRIX, **change}, field="")

    assert {error.field: error.code for error in problem.value.errors} == mistakes
