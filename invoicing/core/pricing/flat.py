"""The two models without tiers: once per period, and per unit."""

from decimal import Decimal
from fractions import Fraction

from billing_site.kernel.money import EXACT
from invoicing.core.contract import Price, Step, StepKind


def price_flat(*, price: Price, quantity: Decimal, share: Fraction) -> list[Step]:
    """Charge the amount once per billing period, for the share of it that was in service, whatever was used (S0-068)."""
    assert price.unit_amount is not None, "a flat price has an amount"
    amount = Fraction(price.unit_amount) * share
    return [Step(kind=StepKind.FLAT_FEE, quantity=quantity, flat_amount=price.unit_amount, amount=amount)]


def price_per_unit(*, price: Price, quantity: Decimal) -> list[Step]:
    """Charge quantity × unit price (S0-063)."""
    assert price.unit_amount is not None, "a per-unit price has a unit amount"
    return [
        Step(
            kind=StepKind.UNITS,
            quantity=quantity,
            count=quantity,
            unit_amount=price.unit_amount,
            amount=Fraction(EXACT.multiply(quantity, price.unit_amount)),
        )
    ]
