"""Cut a period at UTC hours: whole hours are read from windows, what is left over from events."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from billing_site.kernel.period import HOUR, Period, hour_of


@dataclass(frozen=True)
class HourCut:
    """A period as whole UTC hours (None where it holds none) and the partial hours at its edges."""

    whole: Period | None
    edges: tuple[Period, ...]


def cut_at_hours(*, period: Period) -> HourCut:
    """Split a period at UTC hours; the parts, in order, are exactly the period.

    Billing periods in zones such as +05:30 begin within a UTC hour.
    """
    first = hour_of(period.start)
    if first < period.start:
        first += HOUR
    last = hour_of(period.end)
    if first > last:
        return HourCut(whole=None, edges=(period,))
    edges = []
    if period.start < first:
        edges.append(Period(period.start, first))
    if last < period.end:
        edges.append(Period(last, period.end))
    return HourCut(whole=Period(first, last) if first < last else None, edges=tuple(edges))


def span_of(*, moment: datetime, granularity: str) -> Period:
    """Return the UTC hour, day or month that holds a moment."""
    assert moment.utcoffset() == timedelta(0), f"not UTC: {moment!r}"
    start = moment.replace(minute=0, second=0, microsecond=0)
    if granularity == "hour":
        return Period(start, start + HOUR)
    start = start.replace(hour=0)
    if granularity == "day":
        return Period(start, start + timedelta(days=1))
    assert granularity == "month", f"no such granularity: {granularity}"
    start = start.replace(day=1)
    return Period(start, (start + timedelta(days=31)).replace(day=1))
