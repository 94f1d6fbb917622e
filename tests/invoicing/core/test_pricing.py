"""Each price model at its bounds: zero, the bound, a fraction above, far above."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from billing_site.kernel.money import plain
from invoicing.core.contract import StepKind
from invoicing.core.pricing import price_quantity
from tests.invoicing.core.builders import ACTION_TIERS, price

GRADUATED_WITH_FEES = {
    "model": "graduated",
    "tiers": [
        {"up_to": "10", "unit_amount": "10", "flat_amount": "5"},
        {"up_to": "20", "unit_amount": "6", "flat_amount": "2"},
        {"up_to": None, "unit_amount": "1", "flat_amount": "0.5"},
    ],
}
VOLUME_WITH_FEES = {**GRADUATED_WITH_FEES, "model": "volume"}
PACKAGE = {"model": "package", "package_size": "1000", "package_amount": "5"}
PERCENT_TIERS = {
    "model": "graduated_percentage",
    "tiers": [
        {"up_to": "1000", "rate": "0.05", "flat_amount": "1"},
        {"up_to": None, "rate": "0.025", "flat_amount": "2"},
    ],
}
PER_UNIT = {"model": "per_unit", "unit_amount": "0.001"}
FREE_THEN_PAID = {**PER_UNIT, "free_units": "10000"}


@pytest.mark.parametrize(
    ("definition", "quantity", "amount"),
    [
        ({"model": "flat", "unit_amount": "29"}, "0", "29"),
        ({"model": "flat", "unit_amount": "29"}, "1", "29"),
        ({"model": "flat", "unit_amount": "29"}, "1000.5", "29"),
        (PER_UNIT, "0", "0"),
        (PER_UNIT, "1", "0.001"),
        (PER_UNIT, "10.5", "0.0105"),
        ({"model": "per_unit", "unit_amount": "0.000000000001"}, "0.000000000001", "0.000000000000000000000001"),
        ({"model": "per_unit", "unit_amount": "0.000000000001"}, "9" * 26, "99999999999999.999999999999"),
        (FREE_THEN_PAID, "0", "0"),
        (FREE_THEN_PAID, "9999.9", "0"),
        (FREE_THEN_PAID, "10000", "0"),
        (FREE_THEN_PAID, "10000.5", "0.0005"),
        (FREE_THEN_PAID, "12000", "2"),
        (GRADUATED_WITH_FEES, "0", "5"),
        (GRADUATED_WITH_FEES, "10", "105"),
        (GRADUATED_WITH_FEES, "10.5", "110"),
        (GRADUATED_WITH_FEES, "20", "167"),
        (GRADUATED_WITH_FEES, "20.000000000001", "167.500000000001"),
        (GRADUATED_WITH_FEES, "21", "168.5"),
        (VOLUME_WITH_FEES, "0", "5"),
        (VOLUME_WITH_FEES, "10", "105"),
        (VOLUME_WITH_FEES, "10.5", "65"),
        (VOLUME_WITH_FEES, "20", "122"),
        (VOLUME_WITH_FEES, "20.000000000001", "20.500000000001"),
        (VOLUME_WITH_FEES, "21", "21.5"),
        (PACKAGE, "0", "0"),
        (PACKAGE, "0.000000000001", "5"),
        (PACKAGE, "1000", "5"),
        (PACKAGE, "1000.000000000001", "10"),
        (PACKAGE, "2000", "10"),
        (PACKAGE, "2001", "15"),
        ({**PACKAGE, "free_units": "500"}, "1500", "5"),
        ({**PACKAGE, "free_units": "500"}, "1500.5", "10"),
        ({**PACKAGE, "package_size": "0.1"}, "0.3", "15"),
        ({"model": "percentage", "rate": "0.029"}, "0", "0"),
        ({"model": "percentage", "rate": "0.029"}, "1000", "29"),
        ({"model": "percentage", "rate": "1"}, "10.5", "10.5"),
        ({"model": "percentage", "rate": "0.029", "free_units": "100"}, "1100", "29"),
        (PERCENT_TIERS, "0", "1"),
        (PERCENT_TIERS, "1000", "51"),
        (PERCENT_TIERS, "1000.5", "53.0125"),
        (PERCENT_TIERS, "3000", "103"),
    ],
)
def test_each_model_charges_what_its_definition_says(definition: dict[str, Any], quantity: str, amount: str) -> None:
    """S0-063..067."""
    priced = price_quantity(price=price(**definition), quantity=Decimal(quantity))

    assert plain(priced.unrounded_amount) == amount


@pytest.mark.requirement("S0-069")
@pytest.mark.requirement("S0-064")
@pytest.mark.requirement("S0-070")
def test_fifteen_million_actions_cost_280_dollars_graduated() -> None:
    priced = price_quantity(price=price("graduated", tiers=ACTION_TIERS), quantity=Decimal(15_000_000))

    assert priced.unrounded_amount == 280
    assert [(step.quantity, step.amount) for step in priced.steps] == [
        (1_000_000, 25),
        (9_000_000, 180),
        (5_000_000, 75),
    ]


@pytest.mark.requirement("S0-071")
def test_fifteen_million_actions_cost_225_dollars_by_volume() -> None:
    priced = price_quantity(price=price("volume", tiers=ACTION_TIERS), quantity=Decimal(15_000_000))

    assert priced.unrounded_amount == 225
    assert [(step.quantity, step.amount) for step in priced.steps] == [(15_000_000, 225)]


@pytest.mark.requirement("S0-065")
@pytest.mark.parametrize(
    ("quantity", "amount"),
    [("999999", "24.999975"), ("1000000", "25"), ("1000000.5", "20.00001"), ("1000001", "20.00002")],
)
def test_a_bound_belongs_to_its_own_tier_and_the_cliff_comes_right_after(quantity: str, amount: str) -> None:
    priced = price_quantity(price=price("volume", tiers=ACTION_TIERS), quantity=Decimal(quantity))

    assert plain(priced.unrounded_amount) == amount


@pytest.mark.parametrize(
    ("quantity", "amount", "last_step"),
    [
        ("0", "50", ("true_up", "50")),
        ("499.9", "50", ("true_up", "0.01")),
        ("500", "50", ("units", "50")),
        ("1000", "100", ("units", "100")),
        ("1000.5", "100", ("cap", "-0.05")),
        ("1E+9", "100", ("cap", "-99999900")),
    ],
)
def test_minimum_and_maximum_are_rungs_of_their_own(quantity: str, amount: str, last_step: tuple[str, str]) -> None:
    bounded = price("per_unit", unit_amount="0.1", minimum_amount="50", maximum_amount="100")

    priced = price_quantity(price=bounded, quantity=Decimal(quantity))

    assert plain(priced.unrounded_amount) == amount
    assert (priced.steps[-1].kind.value, plain(priced.steps[-1].amount)) == last_step


def test_a_maximum_of_nothing_makes_everything_free() -> None:
    priced = price_quantity(price=price("per_unit", unit_amount="1", maximum_amount="0"), quantity=Decimal(7))

    assert priced.unrounded_amount == 0


def test_free_units_are_reported_beside_the_steps() -> None:
    priced = price_quantity(price=price(**FREE_THEN_PAID), quantity=Decimal("10000.5"))

    assert priced.free_quantity == 10_000
    assert [step.quantity for step in priced.steps] == [Decimal("0.5")]


@pytest.mark.requirement("S0-067")
def test_tiers_begin_after_the_free_units() -> None:
    free_first = price("graduated", tiers=ACTION_TIERS, free_units="1000000")

    priced = price_quantity(price=free_first, quantity=Decimal(2_000_000))

    assert priced.unrounded_amount == 25


@pytest.mark.requirement("S0-104")
def test_a_partial_period_owes_its_share_of_flat_fees_minimum_and_maximum_but_all_of_its_usage() -> None:
    half = Fraction(1, 2)
    tiered = price(**GRADUATED_WITH_FEES)
    bounded = price("per_unit", unit_amount="1", minimum_amount="50", maximum_amount="100")
    package = price(**PACKAGE)

    assert price_quantity(price=tiered, quantity=Decimal(10), share=half).unrounded_amount == Fraction("102.5")
    assert price_quantity(price=bounded, quantity=Decimal(1), share=half).unrounded_amount == 25
    assert price_quantity(price=bounded, quantity=Decimal(30), share=half).unrounded_amount == 30
    assert price_quantity(price=bounded, quantity=Decimal(80), share=half).unrounded_amount == 50
    assert price_quantity(price=package, quantity=Decimal(1), share=half).unrounded_amount == 5


def test_a_share_that_no_decimal_can_express_stays_exact() -> None:
    priced = price_quantity(price=price("flat", unit_amount="29"), quantity=Decimal(1), share=Fraction(10, 31))

    assert priced.unrounded_amount == Fraction(290, 31)


@pytest.mark.parametrize("quantity", ["-1", "NaN", "Infinity"])
def test_what_is_not_a_quantity_stops_at_the_door(quantity: str) -> None:
    with pytest.raises(AssertionError):
        price_quantity(price=price(**PER_UNIT), quantity=Decimal(quantity))


def test_zero_usage_still_shows_one_rung() -> None:
    for definition in (PER_UNIT, PACKAGE, GRADUATED_WITH_FEES, VOLUME_WITH_FEES, PERCENT_TIERS):
        priced = price_quantity(price=price(**definition), quantity=Decimal(0))

        assert [step.quantity for step in priced.steps] == [0]
        assert not priced.steps[0].kind.is_bound
        assert priced.steps[0].kind is not StepKind.FLAT_FEE
