"""Tiers: each unit at the rate of its tier (graduated), or all units at the rate of the tier reached (volume)."""

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

from billing_site.kernel.money import EXACT
from invoicing.core.contract import Step, StepKind, Tier


def price_graduated(
    *, tiers: tuple[Tier, ...], quantity: Decimal, share: Fraction, carried: Decimal = Decimal(0)
) -> list[Step]:
    """Charge each unit at the rate of the tier it falls in; the first tier's flat fee is due at zero too (S0-064)."""
    return [
        Step(
            kind=StepKind.TIER,
            quantity=part,
            count=part,
            unit_amount=tier.unit_amount,
            flat_amount=tier.flat_amount,
            up_to=tier.up_to,
            amount=Fraction(part) * Fraction(tier.unit_amount) + Fraction(tier.flat_amount) * share,
        )
        for tier, part in split_by_tier(tiers=tiers, quantity=quantity, carried=carried)
    ]


def price_volume(
    *, tiers: tuple[Tier, ...], quantity: Decimal, share: Fraction, carried: Decimal = Decimal(0)
) -> list[Step]:
    """Charge all units at the rate of the tier that they reach, with what was used before; a bound belongs to its tier (S0-065)."""
    check_tiers(tiers=tiers)
    reached = EXACT.add(carried, quantity)
    tier = next(tier for tier in tiers if tier.up_to is None or reached <= tier.up_to)
    return [
        Step(
            kind=StepKind.TIER_REACHED,
            quantity=quantity,
            count=quantity,
            unit_amount=tier.unit_amount,
            flat_amount=tier.flat_amount,
            up_to=tier.up_to,
            amount=Fraction(quantity) * Fraction(tier.unit_amount) + Fraction(tier.flat_amount) * share,
        )
    ]


def split_by_tier(
    *, tiers: tuple[Tier, ...], quantity: Decimal, carried: Decimal = Decimal(0)
) -> Iterator[tuple[Tier, Decimal]]:
    """Yield each tier that is reached with the part of the quantity in it; the first one always.

    A tier ends at its bound and the next begins there, so that no fraction of a unit falls between. What was
    `carried` fills the lower tiers without being in a part: such a tier is yielded for its flat fee, or where
    it is the one that nothing more was used in.
    """
    check_tiers(tiers=tiers)
    floor, end = Decimal(0), EXACT.add(carried, quantity)
    for position, tier in enumerate(tiers):
        ceiling = end if tier.up_to is None else min(end, tier.up_to)
        if ceiling <= floor and position > 0:
            return
        part = EXACT.subtract(ceiling, min(max(floor, carried), ceiling))
        is_last = tier.up_to is None or end <= tier.up_to
        if part or tier.flat_amount or (is_last and not quantity):
            yield tier, part
        floor = ceiling


def check_tiers(*, tiers: tuple[Tier, ...]) -> None:
    """Assert what every list of tiers must be: ascending bounds above zero, and only the last one open."""
    assert tiers, "a tiered price has tiers"
    assert tiers[-1].up_to is None, "the last tier is open"
    floor = Decimal(0)
    for tier in tiers[:-1]:
        assert tier.up_to is not None and tier.up_to > floor, "bounds ascend"
        floor = tier.up_to
