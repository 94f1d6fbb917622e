"""Figures and nouns in plain words."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from billing_site.kernel.words import plural
from invoicing.core.pricing import price_quantity
from invoicing.core.wording import amount_text, grouped, quantity_text
from tests.invoicing.core.builders import price


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("", ""),
        ("action", "actions"),
        ("query", "queries"),
        ("day", "days"),
        ("API call", "API calls"),
        ("box", "boxes"),
        ("address", "addresses"),
        ("tokens", "tokens"),
        ("GB", "GB"),
        ("kWh", "kWh"),
        ("m³", "m³"),
        ("h", "h"),
    ],
)
def test_nouns_get_their_plural_and_symbols_stay(unit: str, expected: str) -> None:
    assert plural(unit) == expected


def test_quantities_carry_their_unit() -> None:
    assert quantity_text(quantity=Decimal(1), unit="query") == "1 query"
    assert quantity_text(quantity=Decimal("1234567.5"), unit="query") == "1,234,567.5 queries"
    assert quantity_text(quantity=Decimal(0), unit="") == "0"


def test_thousands_are_grouped_and_the_minus_is_a_minus() -> None:
    assert [grouped(text) for text in ("0", "999", "1000", "-1234567.891")] == ["0", "999", "1,000", "−1,234,567.891"]


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        (Decimal("1234.5"), "USD", "1,234.50"),
        (Decimal("1234.5"), "", "1,234.5"),
        (Decimal("0.0000375"), "USD", "0.0000375"),
        (Decimal(1500), "JPY", "1,500"),
        (Decimal(-20), "KWD", "−20.000"),
        (Fraction(290, 31), "USD", "≈ 9.354839"),
        (Fraction(-290, 31), "USD", "≈ −9.354839"),
        (Fraction(1, 8), "USD", "0.125"),
    ],
)
def test_amounts_are_written_in_full_with_the_currencys_decimals(
    amount: Decimal | Fraction, currency: str, expected: str
) -> None:
    assert amount_text(amount=amount, currency=currency) == expected


@pytest.mark.parametrize(
    ("definition", "quantity", "text"),
    [
        ({"model": "flat", "unit_amount": "29"}, "1", "Flat fee of USD 29.00 for the billing period"),
        ({"model": "per_unit", "unit_amount": "0.05"}, "1", "1 call at USD 0.05 each"),
        ({"model": "per_unit", "unit_amount": "0.0008"}, "2", "2 calls at USD 0.80 per 1,000"),
        ({"model": "per_unit", "unit_amount": "0.000000123"}, "2", "2 calls at USD 0.000000123 each"),
        ({"model": "per_unit", "unit_amount": "0"}, "2", "2 calls free of charge"),
        (
            {"model": "volume", "tiers": [{"up_to": None, "unit_amount": "1", "flat_amount": "5"}]},
            "3",
            "All 3 calls at USD 1.00 each plus a flat fee of USD 5.00",
        ),
        (
            {"model": "graduated", "tiers": [{"up_to": None, "flat_amount": "5"}]},
            "3",
            "First 3 calls for a flat fee of USD 5.00",
        ),
        (
            {"model": "package", "package_size": "1000", "package_amount": "5"},
            "1",
            "1 package of 1,000 calls at USD 5.00 each",
        ),
        ({"model": "percentage", "rate": "0.029"}, "1000", "2.9 % of 1,000 calls"),
        (
            {"model": "graduated_percentage", "tiers": [{"up_to": None, "rate": "0.0005"}]},
            "1000",
            "First 1,000 calls at 0.05 %",
        ),
    ],
)
def test_each_rung_is_a_plain_phrase(definition: dict[str, Any], quantity: str, text: str) -> None:
    priced = price_quantity(price=price(**definition), quantity=Decimal(quantity), unit="call", currency="USD")

    assert priced.steps[0].text == text


def test_without_a_currency_figures_stand_alone() -> None:
    priced = price_quantity(price=price("per_unit", unit_amount="0.00002"), quantity=Decimal(9_000_000))

    assert priced.steps[0].text == "9,000,000 at 0.00002 each"
    assert priced.steps[0].arithmetic == "9,000,000 × 0.00002 = 180"


@pytest.mark.parametrize(
    ("definition", "arithmetic"),
    [
        (
            {"model": "volume", "tiers": [{"up_to": None, "unit_amount": "1", "flat_amount": "5"}]},
            "3 × 1.00 + 5.00 × 1/2 = 5.50",
        ),
        ({"model": "package", "package_size": "2", "package_amount": "5"}, "2 × 5.00 = 10.00"),
        ({"model": "percentage", "rate": "0.5"}, "3 × 0.5 = 1.50"),
        ({"model": "per_unit", "unit_amount": "1", "minimum_amount": "20"}, "20.00 × 1/2 − 3.00 = 7.00"),
        ({"model": "per_unit", "unit_amount": "1", "maximum_amount": "2"}, "2.00 × 1/2 − 3.00 = −2.00"),
    ],
)
def test_the_arithmetic_of_each_rung_can_be_checked_by_hand(definition: dict[str, Any], arithmetic: str) -> None:
    priced = price_quantity(
        price=price(**definition), quantity=Decimal(3), share=Fraction(1, 2), unit="call", currency="USD"
    )

    assert priced.steps[-1].arithmetic == arithmetic
