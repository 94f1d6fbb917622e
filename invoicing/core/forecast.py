"""How much a meter will count in days to come: a range and its reason, from the last whole weeks, exactly.

A day is expected to be like its weekday was on average over the last two to four weeks; the range is that of the
lowest and the highest of those weeks. Anybody can do it again on paper, and no week is better known than it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction

WEEK = 7
WEEKS_MIN, WEEKS_MAX = 2, 4


class NotEnoughHistory(Exception):
    """Fewer whole days are known than a forecast takes; `known` and `needed` say how many."""

    def __init__(self, *, known: int, needed: int) -> None:
        super().__init__(f"{known} of {needed} days are known")
        self.known = known
        self.needed = needed


@dataclass(frozen=True)
class Forecast:
    """What is expected of the days asked for, in the meter's unit, and why.

    `weeks` whole weeks were looked at, oldest first; `growth` is the last one over the one before, less one; None
    where nothing was used in that.
    """

    low: Fraction
    expected: Fraction
    high: Fraction
    weeks: tuple[Fraction, ...]
    growth: Fraction | None


def forecast(*, known: Sequence[Fraction], first_day: date, day_count: int) -> Forecast:
    """Say what `day_count` days from `first_day` on will count; `known` are the whole days up to `first_day`, oldest first.

    Raises NotEnoughHistory below two weeks. Quantities are not negative.
    """
    assert day_count >= 0, "days to come are counted forwards"
    assert all(quantity >= 0 for quantity in known), "a negative day is a metering bug"
    weeks_known = min(len(known) // WEEK, WEEKS_MAX)
    if weeks_known < WEEKS_MIN:
        raise NotEnoughHistory(known=len(known), needed=WEEKS_MIN * WEEK)

    days = list(known[len(known) - weeks_known * WEEK :])
    weeks = tuple(sum(days[start : start + WEEK], Fraction(0)) for start in range(0, len(days), WEEK))
    mean_week = sum(weeks, Fraction(0)) / weeks_known
    weekdays: dict[int, Fraction] = dict.fromkeys(range(WEEK), Fraction(0))
    for number, quantity in enumerate(days):
        weekdays[(first_day - timedelta(days=len(days) - number)).weekday()] += quantity / weeks_known

    expected = sum(
        (weekdays[(first_day + timedelta(days=number)).weekday()] for number in range(day_count)), Fraction(0)
    )
    low, high = (expected * extreme / mean_week if mean_week else expected for extreme in (min(weeks), max(weeks)))
    assert low <= expected <= high, "an average lies between the least and the most"
    growth = weeks[-1] / weeks[-2] - 1 if weeks[-2] else None
    return Forecast(low=low, expected=expected, high=high, weeks=weeks, growth=growth)
