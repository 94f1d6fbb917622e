"""Billing periods: from an anchor on, in the customer's time zone, without gap or overlap.

A boundary is the anchor's wall time so many weeks or months later, always counted from the anchor
itself: a month that has no 31st ends a period on its last day, and the next month is back at the
31st. Wall time that a clock change skips is as much later as the clock jumps (02:30 is 03:30 that day: RFC 5545, 3.3.5),
wall time that happens twice means its first occurrence.
"""

from calendar import monthrange
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import lru_cache
from zoneinfo import ZoneInfo

from billing_site.kernel.errors import InvalidInput
from billing_site.kernel.period import Period, as_utc
from invoicing.core.contract import Cadence

MONTHS = {Cadence.MONTH: 1, Cadence.QUARTER: 3, Cadence.YEAR: 12}
WEEK = timedelta(days=7)
MICROSECOND = timedelta(microseconds=1)
# Boundaries are computed two periods ahead; datetime ends with the year 9999.
LAST_YEAR = 9990


def billing_periods(*, anchor: datetime, cadence: Cadence, timezone: str, until: datetime) -> Iterator[Period]:
    """Yield the periods from the anchor on, the last being the one that holds `until`; none if that is earlier."""
    until = _on_calendar(until)
    wall = _wall_time(anchor, timezone)
    index, start = 0, as_utc(anchor)
    while start <= until:
        end = _boundary(wall, timezone, index + 1, cadence)
        yield Period(start, end)
        index, start = index + 1, end


def period_containing(*, anchor: datetime, cadence: Cadence, timezone: str, moment: datetime) -> Period:
    """Return the period that holds the moment, without counting through all before; it may not be before the anchor."""
    moment = _on_calendar(moment)
    start = as_utc(anchor)
    assert start <= moment, f"{moment} is before the anchor {anchor}"
    wall = _wall_time(anchor, timezone)

    def boundary(index: int) -> datetime:
        return start if index == 0 else _boundary(wall, timezone, index, cadence)

    index = max(_periods_between(wall, moment.astimezone(ZoneInfo(timezone)), cadence) - 1, 0)
    while boundary(index + 1) <= moment:
        index += 1
    return Period(boundary(index), boundary(index + 1))


def period_before(*, moment: datetime, cadence: Cadence, timezone: str) -> Period:
    """Return the period of a cadence that ends at a moment: what an opening invoice stands for."""
    return Period(_boundary(_wall_time(moment, timezone), timezone, -1, cadence), as_utc(moment))


def calendar_anchor(*, start: datetime, cadence: Cadence, timezone: str) -> datetime:
    """Return the beginning of the calendar period that holds `start`: Monday, the 1st, January ... at local midnight."""
    local = _on_calendar(start).astimezone(ZoneInfo(timezone))
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    match cadence:
        case Cadence.WEEK:
            first = midnight - timedelta(days=midnight.weekday())
        case Cadence.MONTH:
            first = midnight.replace(day=1)
        case Cadence.QUARTER:
            first = midnight.replace(month=(midnight.month - 1) // 3 * 3 + 1, day=1)
        case Cadence.YEAR:
            first = midnight.replace(month=1, day=1)
    return as_utc(first)


def share_of(*, service: Period, period: Period) -> Fraction:
    """Return the service period's part of its full billing period, exact to the microsecond (S0-104)."""
    assert period.start <= service.start and service.end <= period.end, "service lies within the billing period"
    return Fraction(service.duration // MICROSECOND, period.duration // MICROSECOND)


# Whoever is billed by the calendar there has the same ones.
@lru_cache(maxsize=4096)
def _boundary(wall: datetime, timezone: str, index: int, cadence: Cadence) -> datetime:
    """Return the moment `index` periods after the anchor's wall time in a zone, which has to be named: times of two zones may be equal."""
    zone = ZoneInfo(timezone)
    if cadence is Cadence.WEEK:
        return as_utc((wall + index * WEEK).replace(tzinfo=zone))
    months = wall.year * 12 + wall.month - 1 + index * MONTHS[cadence]
    year, month = divmod(months, 12)
    day = min(wall.day, monthrange(year, month + 1)[1])
    return as_utc(wall.replace(year=year, month=month + 1, day=day, tzinfo=zone))


def _wall_time(anchor: datetime, timezone: str) -> datetime:
    """Return the anchor's local time, without its zone; a day that begins late because of a clock change counts from midnight."""
    local = as_utc(anchor).astimezone(ZoneInfo(timezone)).replace(fold=0)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    return (midnight if as_utc(midnight) == as_utc(anchor) else local).replace(tzinfo=None)


def _periods_between(wall: datetime, local: datetime, cadence: Cadence) -> int:
    if cadence is Cadence.WEEK:
        return (local.date() - wall.date()).days // 7
    return ((local.year - wall.year) * 12 + local.month - wall.month) // MONTHS[cadence]


def _on_calendar(moment: datetime) -> datetime:
    if moment.year > LAST_YEAR:
        raise InvalidInput(f"must be before the year {LAST_YEAR + 1}", code="too_late", field="as_of")
    return as_utc(moment).astimezone(UTC)
