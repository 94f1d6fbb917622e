"""One rounding rule, by the currency, and sums that are never off by one."""

from decimal import Decimal
from fractions import Fraction

import iso4217
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moneyed import Money

from billing_site.kernel.money import (
    allocate,
    exponent,
    from_minor_units,
    is_rounded,
    plain,
    round_money,
    to_minor_units,
    total,
    wire,
)

currencies = st.sampled_from(["EUR", "JPY", "KWD", "CLF"])


@pytest.mark.requirement("S0-107")
def test_every_currency_in_use_has_the_decimals_of_iso_4217() -> None:
    in_use = {currency.code: currency.exponent for currency in iso4217.Currency if currency.exponent is not None}

    differing = {}
    for code, decimals in in_use.items():
        try:
            if exponent(code) != decimals:
                differing[code] = (exponent(code), decimals)
        except KeyError:
            pass  # Too new or too special for moneyed: refused at the door, not rounded wrongly.

    assert differing == {}
    assert (exponent("EUR"), exponent("JPY"), exponent("KWD"), exponent("CLF")) == (2, 0, 3, 4)


def test_what_is_not_a_currency_has_no_decimals() -> None:
    with pytest.raises(KeyError):
        exponent("XYZ")


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        ("0.005", "EUR", "0.01"),
        ("-0.005", "EUR", "-0.01"),
        ("0.0049999999999999999999999999999999999999", "EUR", "0.00"),
        ("2.675", "USD", "2.68"),
        ("0.5", "JPY", "1"),
        ("-0.5", "JPY", "-1"),
        ("0.0005", "KWD", "0.001"),
        ("0.00005", "CLF", "0.0001"),
        ("-0.001", "EUR", "0.00"),
        ("12345678901234567890123456789012345678.125", "EUR", "12345678901234567890123456789012345678.13"),
    ],
)
def test_halves_are_rounded_away_from_zero_decimal_or_fraction(amount: str, currency: str, expected: str) -> None:
    assert wire(round_money(Decimal(amount), currency))["amount"] == expected
    assert wire(round_money(Fraction(amount), currency))["amount"] == expected


def test_a_third_is_rounded_although_no_decimal_is_exact() -> None:
    assert round_money(Fraction(2, 3), "EUR") == Money("0.67", "EUR")


@given(units=st.integers(-(10**60), 10**60), currency=currencies)
def test_minor_units_there_and_back_are_the_same(units: int, currency: str) -> None:
    money = from_minor_units(units, currency)

    assert is_rounded(money)
    assert to_minor_units(money) == units


@given(units=st.lists(st.integers(-(10**60), 10**60)), currency=currencies)
def test_a_total_loses_nothing_however_large(units: list[int], currency: str) -> None:
    result = total((from_minor_units(unit, currency) for unit in units), currency)

    assert to_minor_units(result) == sum(units)


def test_a_sum_of_two_currencies_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="USD in a sum of EUR"):
        total([Money("1", "USD")], "EUR")


@given(
    units=st.integers(-(10**20), 10**20),
    weights=st.lists(st.decimals(0, 10**6, places=4), min_size=1, max_size=20).filter(any),
    currency=currencies,
)
def test_allocated_parts_sum_to_the_whole_and_are_fair(units: int, weights: list[Decimal], currency: str) -> None:
    """S0-107."""
    parts = [to_minor_units(part) for part in allocate(from_minor_units(units, currency), weights)]

    whole = sum(Fraction(weight) for weight in weights)
    assert sum(parts) == units
    assert all(abs(part - units * Fraction(weight) / whole) < 1 for part, weight in zip(parts, weights, strict=True))


@given(
    units=st.integers(0, 10**9), weights=st.lists(st.decimals(0, 1000, places=2), min_size=1, max_size=8).filter(any)
)
def test_a_credit_is_split_like_the_charge_it_undoes(units: int, weights: list[Decimal]) -> None:
    charged = allocate(from_minor_units(units, "EUR"), weights)
    credited = allocate(from_minor_units(-units, "EUR"), weights)

    assert [part * -1 for part in charged] == credited


def test_a_cent_over_goes_to_the_earlier_part() -> None:
    parts = allocate(Money("1.00", "EUR"), [Decimal(1)] * 3)

    assert [part.amount for part in parts] == [Decimal("0.34"), Decimal("0.33"), Decimal("0.33")]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (Decimal("1E+6"), "1000000"),
        (Decimal("1.50"), "1.5"),
        (Decimal("-0.00"), "0"),
        (Decimal("1E-12"), "0.000000000001"),
        (Decimal("100"), "100"),
        (Decimal("9" * 50 + ".5"), "9" * 50 + ".5"),
        (Fraction(1, 8), "0.125"),
        (Fraction(-1, 800), "-0.00125"),
        (Fraction(290, 31), "290/31"),
        (Fraction(-7), "-7"),
        (Fraction(0), "0"),
    ],
)
def test_numbers_are_written_exactly(number: Decimal | Fraction, text: str) -> None:
    assert plain(number) == text


@given(numerator=st.integers(), denominator=st.integers(1, 10**9))
def test_what_is_written_reads_back_as_the_same_number(numerator: int, denominator: int) -> None:
    number = Fraction(numerator, denominator)

    assert Fraction(plain(number)) == number


def test_money_on_the_wire_has_its_currencys_decimals() -> None:
    assert wire(Money("12.3", "EUR")) == {"amount": "12.30", "currency": "EUR"}
    assert wire(Money("12", "JPY")) == {"amount": "12", "currency": "JPY"}
    assert wire(Money("12.3", "KWD")) == {"amount": "12.300", "currency": "KWD"}


def test_unrounded_money_does_not_reach_the_wire() -> None:
    with pytest.raises(AssertionError, match="not rounded"):
        wire(Money("0.005", "EUR"))
