"""Percentages of what was counted, such as a payment volume; a rate is a fraction of one: 0.029 is 2.9 %."""

from decimal import Decimal
from fractions import Fraction

from invoicing.core.contract import Price, Step, StepKind, Tier
from invoicing.core.pricing.tiered import split_by_tier


def price_percentage(*, price: Price, quantity: Decimal) -> list[Step]:
    """Charge a fraction of the quantity."""
    assert price.rate is not None and 0 <= price.rate <= 1, "a rate is a fraction of one"
    return [
        Step(
            kind=StepKind.PERCENTAGE,
            quantity=quantity,
            rate=price.rate,
            amount=Fraction(quantity) * Fraction(price.rate),
        )
    ]


def price_graduated_percentage(
    *, tiers: tuple[Tier, ...], quantity: Decimal, share: Fraction, carried: Decimal = Decimal(0)
) -> list[Step]:
    """Charge each part of the quantity at the rate of its tier; the first tier's flat fee is due at zero too."""
    assert all(0 <= tier.rate <= 1 for tier in tiers), "a rate is a fraction of one"
    return [
        Step(
            kind=StepKind.TIER,
            quantity=part,
            rate=tier.rate,
            flat_amount=tier.flat_amount,
            up_to=tier.up_to,
            amount=Fraction(part) * Fraction(tier.rate) + Fraction(tier.flat_amount) * share,
        )
        for tier, part in split_by_tier(tiers=tiers, quantity=quantity, carried=carried)
    ]
