"""Money: rounded once, by the currency's exponent (ISO 4217), half away from zero.

This is the only rounding rule of the product: a line's exact amount is rounded to the
currency's minor unit, halves away from zero, and totals are sums of rounded lines.
"""

from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_UP, Context, Decimal
from fractions import Fraction
from functools import cache

from moneyed import Currency, CurrencyDoesNotExist, Money, get_currency

# Wide enough for 38-digit quantities times 12-decimal prices without losing a digit.
EXACT = Context(prec=100)


DECIMALS_MAX = 4


@cache
def exponent(currency: str) -> int:
    """Return the number of decimals of an ISO 4217 currency: 2 for EUR, 0 for JPY, 3 for KWD, 4 for CLF (S0-107).

    Raises KeyError for a code that is not a currency.
    """
    try:
        sub_unit = get_currency(currency).sub_unit
    except CurrencyDoesNotExist:
        raise KeyError(currency) from None
    decimals = len(str(sub_unit)) - 1
    assert decimals <= DECIMALS_MAX, "columns of amounts hold no more"
    return decimals


@cache
def _known(currency: str) -> Currency:
    """Return the currency of a code: money that is made of it does not look it up each time."""
    return Money(0, currency).currency


@cache
def minor_unit(currency: str) -> Decimal:
    """Return the smallest amount of a currency: 0.01 for EUR, 1 for JPY."""
    return Decimal(1).scaleb(-exponent(currency))


def round_money(amount: Decimal | Fraction, currency: str) -> Money:
    """Round an exact amount to the currency's minor unit, halves away from zero."""
    if isinstance(amount, Fraction):
        # In whole numbers: the floor of the scaled amount and a half.
        scaled = abs(amount.numerator) * 10 ** exponent(currency)
        whole = (2 * scaled + amount.denominator) // (2 * amount.denominator) * (1 if amount.numerator >= 0 else -1)
        return Money(EXACT.scaleb(Decimal(whole), -exponent(currency)), _known(currency))
    return Money(_rounded(amount, currency), _known(currency))


def _rounded(amount: Decimal, currency: str) -> Decimal:
    assert amount.is_finite(), f"not an amount: {amount}"
    rounded = amount.quantize(minor_unit(currency), rounding=ROUND_HALF_UP, context=EXACT)
    # -0.001 rounds to -0.00; money knows no negative zero.
    return rounded if rounded else rounded.copy_abs()


def is_rounded(money: Money) -> bool:
    """Say whether the amount is a whole number of minor units."""
    return money.amount == _rounded(money.amount, money.currency.code)


def to_minor_units(money: Money) -> int:
    """Return the amount as an integer of ISO minor units; it must be rounded already."""
    assert is_rounded(money), f"not rounded: {money.amount} {money.currency}"
    return int(EXACT.scaleb(money.amount, exponent(money.currency.code)))


def from_minor_units(units: int, currency: str) -> Money:
    """Return the money that an integer of ISO minor units stands for."""
    return Money(EXACT.scaleb(Decimal(units), -exponent(currency)), _known(currency))


def total(amounts: Iterable[Money], currency: str) -> Money:
    """Add amounts of one currency; an empty sum is zero of that currency."""
    result = Decimal(0)
    for amount in amounts:
        assert amount.currency.code == currency, f"{amount.currency} in a sum of {currency}"
        result = EXACT.add(result, amount.amount)
    return round_money(result, currency)


def allocate(money: Money, weights: Sequence[Decimal]) -> list[Money]:
    """Split a rounded amount by weights so that the parts sum to the whole.

    Largest remainder first, ties to the earlier part; a negative amount mirrors the positive one,
    so that a credit undoes an allocation part by part. Weights are not negative and not all zero.
    """
    assert weights and all(weight >= 0 for weight in weights) and any(weights), "weights must be positive"
    currency = money.currency.code
    signed_units = to_minor_units(money)
    units, sign = abs(signed_units), -1 if signed_units < 0 else 1
    whole = sum((Fraction(weight) for weight in weights), Fraction(0))
    shares = [units * Fraction(weight) / whole for weight in weights]
    parts = [share.__floor__() for share in shares]
    by_remainder = sorted(range(len(parts)), key=lambda index: (parts[index] - shares[index], index))
    for index in by_remainder[: units - sum(parts)]:
        parts[index] += 1
    assert sum(parts) == units, "the parts must sum to the whole"
    return [from_minor_units(sign * part, currency) for part in parts]


def plain(number: Decimal | Fraction) -> str:
    """Write a number exactly, without exponent and trailing zeros: 1E+6 → 1000000, 1.50 → 1.5.

    A fraction that no decimal can express is written as one, in lowest terms: 290/31.
    """
    if not isinstance(number, Decimal):
        return _plain_fraction(number)
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def _plain_fraction(number: Fraction) -> str:
    if number.denominator == 1:
        return str(number.numerator)
    twos = fives = 0
    rest = number.denominator
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    if rest != 1:
        return f"{number.numerator}/{number.denominator}"
    places = max(twos, fives)
    digits = str(abs(number.numerator) * 10**places // number.denominator).rjust(places + 1, "0")
    return f"{'-' if number < 0 else ''}{digits[:-places]}.{digits[-places:]}"


def wire(money: Money) -> dict[str, str]:
    """Write rounded money as on the wire: {"amount": "12.30", "currency": "EUR"}."""
    currency = money.currency.code
    assert is_rounded(money), f"not rounded: {money.amount} {currency}; writing it would round it a second way"
    return {"amount": format(money.amount, f".{exponent(currency)}f"), "currency": currency}
