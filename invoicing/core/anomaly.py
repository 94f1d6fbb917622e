"""Whether a day's usage is unusual: compared with days of its kind in the last four weeks, in figures that paper can follow.

Days of work are compared with days of work, weekends with weekends. The usual range lies three times the distance of
the quartiles around them (Tukey's outer fences); what is not also half of the middle day away from it is no news.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from fractions import Fraction

DAYS = 28
DAYS_MIN = 6
FENCE = 3
MATERIAL = Fraction(1, 2)
SATURDAY = 5


class Direction(StrEnum):
    """On which side of the usual range a day lies."""

    ABOVE = "above"
    BELOW = "below"


@dataclass(frozen=True)
class Unusual:
    """A day outside of its usual range: `[low, high]`, and the middle of the days that it was compared with."""

    direction: Direction
    quantity: Fraction
    low: Fraction
    high: Fraction
    middle: Fraction
    day_count: int


def unusual_day(*, usage: Mapping[date, Fraction], day: date, first_day: date, is_over: bool) -> Unusual | None:
    """Return what is unusual about a day, or None; days without an entry counted nothing.

    `first_day` is the first that says anything about a customer. A day that is not over can only be above: nobody
    knows yet what it lacks. Fewer than six days to compare with say nothing.
    """
    known = sorted(
        usage.get(other, Fraction(0))
        for other in (day - timedelta(days=number) for number in range(1, DAYS + 1))
        if other >= first_day and (other.weekday() >= SATURDAY) == (day.weekday() >= SATURDAY)
    )
    if len(known) < DAYS_MIN:
        return None
    assert known[0] >= 0, "a negative day is a metering bug"
    middle, lower, upper = (_quantile(known, Fraction(part, 4)) for part in (2, 1, 3))
    low = max(lower - FENCE * (upper - lower), Fraction(0))
    high = upper + FENCE * (upper - lower)
    quantity = usage.get(day, Fraction(0))
    if abs(quantity - middle) < MATERIAL * middle:
        return None
    if quantity > high:
        return Unusual(Direction.ABOVE, quantity, low, high, middle, len(known))
    if quantity < low and is_over:
        return Unusual(Direction.BELOW, quantity, low, high, middle, len(known))
    return None


def _quantile(ordered: list[Fraction], part: Fraction) -> Fraction:
    """Return a quantile of numbers in their order, between two neighbours in proportion."""
    place = part * (len(ordered) - 1)
    below = place.__floor__()
    rest = place - below
    return ordered[below] + (rest * (ordered[below + 1] - ordered[below]) if rest else 0)
