"""Price definitions are read strictly: each mistake is told with its place, a code and what to do."""

from decimal import Decimal
from typing import Any

import pytest

from billing_site.kernel.errors import InvalidFields
from invoicing.core.contract import Price, PriceModel, Tier
from invoicing.core.definition import definition_of, price_from_definition, quantity_from

OPEN = {"up_to": None, "unit_amount": "1"}


def test_a_definition_becomes_a_price() -> None:
    price = price_from_definition(
        {
            "model": "graduated",
            "tiers": [
                {"up_to": "10", "unit_amount": "0.5"},
                {"up_to": None, "flat_amount": 3, "unit_amount": Decimal("0.1")},
            ],
            "free_units": "2",
            "minimum_amount": None,
            "maximum_amount": "100",
        }
    )

    assert price == Price(
        model=PriceModel.GRADUATED,
        tiers=(
            Tier(up_to=Decimal(10), unit_amount=Decimal("0.5")),
            Tier(up_to=None, unit_amount=Decimal("0.1"), flat_amount=Decimal(3)),
        ),
        free_units=Decimal(2),
        maximum_amount=Decimal(100),
    )


@pytest.mark.parametrize(
    ("definition", "mistakes"),
    [
        ([], [("price", "wrong_type")]),
        ({}, [("price.model", "required")]),
        ({"model": "tiered"}, [("price.model", "unknown")]),
        ({"model": ["flat"]}, [("price.model", "unknown")]),
        ({"model": "flat"}, [("price.unit_amount", "required")]),
        ({"model": "flat", "unit_amount": None}, [("price.unit_amount", "required")]),
        ({"model": "flat", "unit_amount": 29.0}, [("price.unit_amount", "wrong_type")]),
        ({"model": "flat", "unit_amount": True}, [("price.unit_amount", "wrong_type")]),
        ({"model": "flat", "unit_amount": ["1"]}, [("price.unit_amount", "wrong_type")]),
        ({"model": "flat", "unit_amount": ""}, [("price.unit_amount", "not_a_number")]),
        ({"model": "flat", "unit_amount": "1e3"}, [("price.unit_amount", "not_a_number")]),
        ({"model": "flat", "unit_amount": "1_000"}, [("price.unit_amount", "not_a_number")]),
        ({"model": "flat", "unit_amount": "1,5"}, [("price.unit_amount", "not_a_number")]),
        ({"model": "flat", "unit_amount": "1\n"}, [("price.unit_amount", "not_a_number")]),
        ({"model": "flat", "unit_amount": "١"}, [("price.unit_amount", "not_a_number")]),
        ({"model": "flat", "unit_amount": "1" * 101}, [("price.unit_amount", "not_a_number")]),
        ({"model": "flat", "unit_amount": "NaN"}, [("price.unit_amount", "not_finite")]),
        ({"model": "flat", "unit_amount": Decimal("sNaN")}, [("price.unit_amount", "not_finite")]),
        ({"model": "flat", "unit_amount": "-Infinity"}, [("price.unit_amount", "not_finite")]),
        ({"model": "flat", "unit_amount": "-0.01"}, [("price.unit_amount", "negative")]),
        ({"model": "flat", "unit_amount": -(10**5000)}, [("price.unit_amount", "negative")]),
        ({"model": "flat", "unit_amount": "1" + "0" * 26}, [("price.unit_amount", "too_large")]),
        ({"model": "flat", "unit_amount": 10**5000}, [("price.unit_amount", "too_large")]),
        ({"model": "flat", "unit_amount": Decimal("1E+999999")}, [("price.unit_amount", "too_large")]),
        ({"model": "flat", "unit_amount": "0.0000000000001"}, [("price.unit_amount", "too_precise")]),
        ({"model": "flat", "unit_amount": Decimal("1E-999999")}, [("price.unit_amount", "too_precise")]),
        ({"model": "flat", "unit_amount": "1", "unit_price": "1"}, [("price.unit_price", "unknown")]),
        ({"model": "flat", "unit_amount": "1", "rate": "0.1"}, [("price.rate", "not_allowed")]),
        ({"model": "flat", "unit_amount": "1", "free_units": "1"}, [("price.free_units", "not_allowed")]),
        ({"model": "per_unit", "unit_amount": "1", "tiers": [OPEN]}, [("price.tiers", "not_allowed")]),
        ({"model": "per_unit", "unit_amount": "1", "free_units": "-1"}, [("price.free_units", "negative")]),
        (
            {"model": "per_unit", "unit_amount": "1", "minimum_amount": "2", "maximum_amount": "1"},
            [("price.minimum_amount", "above_maximum")],
        ),
        (
            {"model": "package", "unit_amount": "1"},
            [
                ("price.unit_amount", "not_allowed"),
                ("price.package_size", "required"),
                ("price.package_amount", "required"),
            ],
        ),
        ({"model": "package", "package_size": "0", "package_amount": "1"}, [("price.package_size", "zero")]),
        ({"model": "percentage", "rate": "2.9"}, [("price.rate", "above_one")]),
        ({"model": "graduated"}, [("price.tiers", "required")]),
        ({"model": "graduated", "tiers": []}, [("price.tiers", "required")]),
        ({"model": "graduated", "tiers": "all"}, [("price.tiers", "wrong_type")]),
        ({"model": "graduated", "tiers": [OPEN] * 101}, [("price.tiers", "wrong_length")]),
        ({"model": "graduated", "tiers": ["10"]}, [("price.tiers[0]", "wrong_type")]),
        ({"model": "graduated", "tiers": [{"unit_amount": "1"}]}, [("price.tiers[0].up_to", "required")]),
        ({"model": "graduated", "tiers": [{"up_to": None}]}, [("price.tiers[0].unit_amount", "required")]),
        ({"model": "graduated", "tiers": [{**OPEN, "price": "1"}]}, [("price.tiers[0].price", "unknown")]),
        ({"model": "graduated", "tiers": [{**OPEN, "rate": "0.5"}]}, [("price.tiers[0].rate", "not_allowed")]),
        ({"model": "graduated", "tiers": [{**OPEN, "up_to": "10"}]}, [("price.tiers[0].up_to", "not_open")]),
        ({"model": "graduated", "tiers": [OPEN, OPEN]}, [("price.tiers[0].up_to", "open")]),
        ({"model": "volume", "tiers": [{**OPEN, "up_to": "0"}, OPEN]}, [("price.tiers[0].up_to", "not_ascending")]),
        (
            {"model": "volume", "tiers": [{**OPEN, "up_to": "10"}, {**OPEN, "up_to": "10"}, OPEN]},
            [("price.tiers[1].up_to", "not_ascending")],
        ),
        (
            {"model": "volume", "tiers": [{**OPEN, "up_to": "ten"}, {"up_to": None, "unit_amount": 0.1}]},
            [("price.tiers[0].up_to", "not_a_number"), ("price.tiers[1].unit_amount", "wrong_type")],
        ),
        (
            {"model": "graduated_percentage", "tiers": [{"up_to": None, "rate": "2.9"}]},
            [("price.tiers[0].rate", "above_one")],
        ),
        (
            {"model": "graduated_percentage", "tiers": [{**OPEN, "rate": "0.1"}]},
            [("price.tiers[0].unit_amount", "not_allowed")],
        ),
    ],
)
def test_each_mistake_is_named_with_its_place(definition: Any, mistakes: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidFields) as refusal:
        price_from_definition(definition)

    assert [(error.field, error.code) for error in refusal.value.field_errors] == mistakes
    assert all(error.message for error in refusal.value.field_errors)


def test_a_percentage_above_one_is_told_how_to_write_it() -> None:
    with pytest.raises(InvalidFields, match=r"write 0\.029 for 2\.9 %"):
        price_from_definition({"model": "percentage", "rate": "2.9"})


def test_the_place_begins_with_the_name_that_the_caller_gives() -> None:
    with pytest.raises(InvalidFields) as refusal:
        price_from_definition({"model": "flat"}, field="plans[0].prices[2]")

    assert refusal.value.field_errors[0].field == "plans[0].prices[2].unit_amount"


def test_members_that_say_nothing_are_accepted_and_left_out_of_the_canonical_form() -> None:
    empty = {"tiers": [], "free_units": "0", "rate": None, "package_size": None}

    price = price_from_definition({"model": "flat", "unit_amount": "29.00", **empty})

    assert definition_of(price) == {"model": "flat", "unit_amount": "29"}


def test_numbers_of_the_database_and_of_the_file_are_the_same_definition() -> None:
    stored = Price(PriceModel.PER_UNIT, unit_amount=Decimal("0.000025000000"), maximum_amount=Decimal("1E+3"))

    assert definition_of(stored) == {"model": "per_unit", "unit_amount": "0.000025", "maximum_amount": "1000"}


@pytest.mark.parametrize(
    ("text", "quantity"),
    [
        ("0", "0"),
        ("-0", "0"),
        ("+7", "7"),
        ("10.5", "10.5"),
        ("9" * 26, "9" * 26),
        (21, "21"),
        (Decimal("1E+3"), "1000"),
    ],
)
def test_a_quantity_is_an_exact_decimal(text: Any, quantity: str) -> None:
    assert quantity_from(text) == Decimal(quantity)
    assert not quantity_from(text).is_signed()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("-1", "negative"),
        ("1" * 27, "too_large"),
        ("0.0000000000001", "too_precise"),
        (2.5, "wrong_type"),
        (None, "wrong_type"),
        ("inf", "not_finite"),
        ("abc", "not_a_number"),
    ],
)
def test_what_is_not_a_quantity_is_refused_by_name(text: Any, code: str) -> None:
    with pytest.raises(InvalidFields) as refusal:
        quantity_from(text, field="usage")

    assert [(error.field, error.code) for error in refusal.value.field_errors] == [("usage", code)]
