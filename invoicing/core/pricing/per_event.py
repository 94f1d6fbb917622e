"""Percentages of each event by itself: with a fixed part, and a minimum and maximum of what one event costs."""

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

from invoicing.core.contract import Price, Step, StepKind
from invoicing.core.detail import SizeUsage


def price_per_event(*, price: Price, sizes: SizeUsage) -> Iterator[Step]:
    """Charge each event its percentage and fixed part, or the bound that it would fall below or exceed.

    An event that comes to a bound exactly is charged its percentage, which is the same. Nothing used is a percentage of nothing.
    """
    assert price.rate is not None and 0 <= price.rate <= 1, "a rate is a fraction of one"
    if sizes.below_count:
        assert price.minimum_amount_per_event is not None, "events fall below a minimum"
        yield _events(
            StepKind.EVENTS_AT_MINIMUM, sizes.below_count, price.minimum_amount_per_event, sizes.below_quantity
        )
    if sizes.between_count or not sizes.event_count:
        amount = Fraction(sizes.between_quantity) * Fraction(price.rate)
        yield Step(kind=StepKind.PERCENTAGE, quantity=sizes.between_quantity, rate=price.rate, amount=amount)
    if sizes.between_count and price.fixed_amount_per_event:
        yield _events(StepKind.EVENTS, sizes.between_count, price.fixed_amount_per_event, Decimal(0))
    if sizes.above_count:
        assert price.maximum_amount_per_event is not None, "events exceed a maximum"
        yield _events(
            StepKind.EVENTS_AT_MAXIMUM, sizes.above_count, price.maximum_amount_per_event, sizes.above_quantity
        )


def _events(kind: StepKind, count: int, unit_amount: Decimal, quantity: Decimal) -> Step:
    amount = count * Fraction(unit_amount)
    return Step(kind=kind, quantity=quantity, count=Decimal(count), unit_amount=unit_amount, amount=amount)
