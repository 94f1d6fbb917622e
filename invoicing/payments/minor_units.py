"""Amounts as Stripe writes them: integers of minor units, with Stripe's own special cases.

Source: docs.stripe.com/currencies ("Zero-decimal currencies", "Special cases", "Three-decimal currencies").
They differ from ISO 4217: ISK and UGX have no decimals but are written with two for backwards
compatibility; amounts of three-decimal currencies must end in zero; MGA counts as zero-decimal.
"""

from decimal import Decimal

from moneyed import Money

from billing_site.kernel.money import EXACT, round_money

ZERO_DECIMAL = frozenset(
    ["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"]
)
TWO_DECIMALS_WRITTEN_NONE_USED = frozenset(("ISK", "UGX"))
THREE_DECIMAL = frozenset(["BHD", "JOD", "KWD", "OMR", "TND"])
# Units of account: prices are stated in them, and nobody's card is charged in them.
NOT_CHARGED = frozenset(("CLF", "UYW"))


class NotRepresentable(ValueError):
    """An amount that Stripe has no integer for."""


def stripe_exponent(currency: str) -> int:
    """Return the number of decimals with which Stripe writes amounts of a currency."""
    if currency in ZERO_DECIMAL:
        return 0
    return 3 if currency in THREE_DECIMAL else 2


def stripe_step(currency: str) -> int:
    """Return the integer that every amount of the currency must be a multiple of."""
    if currency in TWO_DECIMALS_WRITTEN_NONE_USED:
        return 100
    return 10 if currency in THREE_DECIMAL else 1


def stripe_minor_units(money: Money) -> int:
    """Return the amount as Stripe's integer; raises NotRepresentable where Stripe cannot express it."""
    currency = money.currency.code
    if currency in NOT_CHARGED:
        raise NotRepresentable(f"Stripe charges nothing in {currency}.")
    units = money.amount.scaleb(stripe_exponent(currency), context=EXACT)
    if units != units.to_integral_value() or int(units) % stripe_step(currency):
        smallest = Decimal(stripe_step(currency)).scaleb(-stripe_exponent(currency))
        raise NotRepresentable(f"Stripe charges {currency} in steps of {smallest}; {money.amount} is none of them.")
    return int(units)


def from_stripe_minor_units(units: int, currency: str) -> Money:
    """Return the money that Stripe's integer stands for."""
    exact = Decimal(units).scaleb(-stripe_exponent(currency), context=EXACT)
    money = round_money(exact, currency)
    assert money.amount == exact, f"{units} minor units of {currency} are not a whole number of ISO minor units"
    return money
