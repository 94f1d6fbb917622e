"""Combine hours into the quantity of a period: the same arithmetic for display, billing and proof.

Nothing is rounded before the end. A sum, count, maximum, minimum or latest value is exact; an average and a
time-weighted sum are divisions, rounded once, half away from zero, to the 12 decimals of a quantity.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

from billing_site.kernel.money import EXACT
from billing_site.kernel.period import Period

ZERO = Decimal(0)
PLACES = Decimal(1).scaleb(-12)
# Of these the parts of a period, or groups of its events, add up to the whole without rounding.
ADDS_UP = ("sum", "count")
MICROSECOND = timedelta(microseconds=1)
MICROSECONDS_PER_HOUR = Decimal(3_600_000_000)


@dataclass(frozen=True)
class Hour:
    """What was counted in an hour, or in the part of it that lies in a period, for one grouping.

    Of one hour there may be several, except for a time-weighted sum: what a window holds, and what came after it.

    `value` as in UsageWindow: the sum (sum, average), number, maximum, minimum, latest value, number of
    distinct values, or level × microseconds between the first and the last event.
    """

    start: datetime
    grouping: str | None
    value: Decimal
    event_count: int
    first_at: datetime | None = None
    last_at: datetime | None = None
    last_value: Decimal | None = None


@dataclass(frozen=True)
class Stretch:
    """A time for which a level was held: one rung of the working of a time-weighted sum, in unit-hours."""

    start: datetime
    end: datetime
    grouping: str | None
    level: Decimal
    quantity: Decimal


def quantity_of(
    *,
    aggregation: str,
    hours: Sequence[Hour],
    period: Period,
    opening: Mapping[str | None, Decimal],
    distinct: int,
) -> Decimal:
    """Return the quantity of a period.

    `hours` lie in the period. `opening` holds the level of each grouping at its start (time_weighted_sum), `distinct`
    the number of distinct values of the whole period (unique_count); others ignore them. No events make zero.
    """
    counted = [hour for hour in hours if hour.event_count]
    if aggregation == "time_weighted_sum":
        return _in_hours(sum_exactly(_weighted(counted, period=period, opening=opening)))
    if aggregation == "unique_count":
        return Decimal(distinct)
    if not counted:
        return ZERO
    if aggregation in ("sum", "count"):
        return sum_exactly(hour.value for hour in counted)
    if aggregation == "max":
        return max(hour.value for hour in counted)
    if aggregation == "min":
        return min(hour.value for hour in counted)
    if aggregation == "latest":
        return latest(counted)
    assert aggregation == "average", f"no such aggregation: {aggregation}"
    total = sum_exactly(hour.value for hour in counted)
    return _rounded(EXACT.divide(total, Decimal(sum(hour.event_count for hour in counted))))


def sum_exactly(values: Iterable[Decimal]) -> Decimal:
    """Add without losing a digit."""
    total = ZERO
    for value in values:
        total = EXACT.add(total, value)
    return total


def latest(hours: Sequence[Hour]) -> Decimal:
    """Return the value of the latest event; of two with one timestamp in one grouping, that of the hour that stands later.

    Of latest events with one timestamp in several groupings the greatest value counts: hours know no order among them.
    """
    newest: dict[str | None, Hour] = {}
    for hour in hours:
        known = newest.get(hour.grouping)
        assert hour.last_at is not None, "the hours of a latest value have bounds"
        if known is None or known.last_at is None or hour.last_at >= known.last_at:
            newest[hour.grouping] = hour
    return max((hour.last_at, hour.value) for hour in newest.values() if hour.last_at is not None)[1]


def closing_levels(*, hours: Iterable[Hour], opening: Mapping[str | None, Decimal]) -> dict[str | None, Decimal]:
    """Return the level of each grouping after these hours."""
    levels = dict(opening)
    for hour in sorted(hours, key=lambda hour: hour.start):
        if hour.event_count and hour.last_value is not None:
            levels[hour.grouping] = hour.last_value
    return levels


def working(*, hours: Sequence[Hour], period: Period, opening: Mapping[str | None, Decimal]) -> list[Stretch]:
    """Write a time-weighted sum out: which level was held from when to when, and what it makes in unit-hours.

    The hours between an hour's first and last event are one stretch of their mean level; their quantities are
    exact fractions, shown to 12 decimals, so that their sum may differ from the quantity in the last digit.
    """
    return [
        Stretch(start, end, grouping, level, _in_hours(weighted))
        for start, end, grouping, level, weighted in _stretches(hours, period=period, opening=opening)
    ]


def _weighted(hours: Sequence[Hour], *, period: Period, opening: Mapping[str | None, Decimal]) -> Iterator[Decimal]:
    for _, _, _, _, weighted in _stretches(hours, period=period, opening=opening):
        yield weighted


def _stretches(
    hours: Sequence[Hour], *, period: Period, opening: Mapping[str | None, Decimal]
) -> Iterator[tuple[datetime, datetime, str | None, Decimal, Decimal]]:
    """Yield (start, end, grouping, level, level × microseconds): before, within and after the hours of each grouping."""
    groupings = sorted({*opening, *(hour.grouping for hour in hours)}, key=lambda name: (name is not None, name or ""))
    for grouping in groupings:
        level, since = opening.get(grouping, ZERO), period.start
        for hour in sorted((h for h in hours if h.grouping == grouping and h.event_count), key=lambda h: h.start):
            assert hour.first_at is not None and hour.last_at is not None and hour.last_value is not None
            if since < hour.first_at and level:
                yield since, hour.first_at, grouping, level, _times(level, hour.first_at - since)
            if hour.first_at < hour.last_at:
                lasted = Decimal((hour.last_at - hour.first_at) // MICROSECOND)
                yield hour.first_at, hour.last_at, grouping, _rounded(EXACT.divide(hour.value, lasted)), hour.value
            level, since = hour.last_value, hour.last_at
        if since < period.end and level:
            yield since, period.end, grouping, level, _times(level, period.end - since)


def _times(level: Decimal, duration: timedelta) -> Decimal:
    return EXACT.multiply(level, Decimal(duration // MICROSECOND))


def _in_hours(weighted: Decimal) -> Decimal:
    return _rounded(EXACT.divide(weighted, MICROSECONDS_PER_HOUR))


def _rounded(value: Decimal) -> Decimal:
    rounded = value.quantize(PLACES, rounding=ROUND_HALF_UP, context=EXACT)
    return rounded if rounded else ZERO
