"""Money: rounded once, by the currency's exponent (ISO 4217), half away from zero.

This is the only rounding rule of the product: a line's exact amount is rounded to the
currency's minor unit, halves away from zero, and totals are sums of rounded lines.
"""

from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_UP, Context, Decimal, localcontext
from fractions import Fraction

from moneyed import CurrencyDoesNotExist, Money, get_currency

# Wide enough for 38-digit quantities times 12-decimal prices without losing a digit.
EXACT = Context(prec=100)


def exponent(currency: str) -> int:
    """Return the number of decimals of an ISO 4217 currency: 2 for EUR, 0 for JPY, 3 for KWD (S0-107).

    Raises KeyError for a code that is not a currency.
    """
    try:
        sub_unit = get_currency(currency).sub_unit
    except CurrencyDoesNotExist:
        raise KeyError(currency) from None
    return len(str(sub_unit)) - 1


def minor_unit(currency: str) -> Decimal:
    """Return the smallest amount of a currency: 0.01 for EUR, 1 for JPY."""
    return Decimal(1).scaleb(-exponent(currency))


def round_money(amount: Decimal | Fraction, currency: str) -> Money:
    """Round an exact amount to the currency's minor unit, halves away from zero."""
    if isinstance(amount, Fraction):
        scaled = amount * 10 ** exponent(currency)
        whole = (abs(scaled) + Fraction(1, 2)).__floor__() * (1 if scaled >= 0 else -1)
        return Money(EXACT.scaleb(Decimal(whole), -exponent(currency)), currency)
    assert amount.is_finite(), f"not an amount: {amount}"
    return Money(amount.quantize(minor_unit(currency), rounding=ROUND_HALF_UP, context=EXACT), currency)


def is_rounded(money: Money) -> bool:
    """Say whether the amount is a whole number of minor units."""
    return money == round_money(money.amount, money.currency.code)


def to_minor_units(money: Money) -> int:
    """Return the amount as an integer of ISO minor units; it must be rounded already."""
    assert is_rounded(money), f"not rounded: {money.amount} {money.currency}"
    return int(money.amount.scaleb(exponent(money.currency.code)))


def from_minor_units(units: int, currency: str) -> Money:
    """Return the money that an integer of ISO minor units stands for."""
    return Money(Decimal(units).scaleb(-exponent(currency)), currency)


def total(amounts: Iterable[Money], currency: str) -> Money:
    """Add amounts of one currency; an empty sum is zero of that currency."""
    result = Money(Decimal(0), currency)
    for amount in amounts:
        assert amount.currency.code == currency, f"{amount.currency} in a sum of {currency}"
        result += amount
    return round_money(result.amount, currency)


def allocate(money: Money, weights: Sequence[Decimal]) -> list[Money]:
    """Split a rounded amount by weights so that the parts sum to the whole.

    Largest remainder first, ties to the earlier part. Weights are not negative and not all zero.
    """
    assert weights and all(weight >= 0 for weight in weights) and any(weights), "weights must be positive"
    currency = money.currency.code
    units = to_minor_units(money)
    whole = sum((Fraction(weight) for weight in weights), Fraction(0))
    shares = [units * Fraction(weight) / whole for weight in weights]
    parts = [share.__floor__() for share in shares]
    by_remainder = sorted(range(len(parts)), key=lambda index: (parts[index] - shares[index], index))
    for index in by_remainder[: units - sum(parts)]:
        parts[index] += 1
    assert sum(parts) == units, "the parts must sum to the whole"
    return [from_minor_units(part, currency) for part in parts]


def plain(number: Decimal) -> str:
    """Write a decimal without exponent and without trailing zeros: 1E+6 → 1000000, 1.50 → 1.5."""
    with localcontext(EXACT):
        text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def wire(money: Money) -> dict[str, str]:
    """Write money as on the wire: {"amount": "12.30", "currency": "EUR"}."""
    return {"amount": format(money.amount, f".{exponent(money.currency.code)}f"), "currency": money.currency.code}
