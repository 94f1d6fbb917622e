"""Billing periods, told again: local dates counted on fingers, then looked up on the wall clock of the zone."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

MICROSECOND = timedelta(microseconds=1)
MONTHS = {"month": 1, "quarter": 3, "year": 12}


def days_in_month(year: int, month: int) -> int:
    """Thirty days hath September."""
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


def later(day: date, cadence: str, times: int) -> date:
    """The date so many weeks, months, quarters or years later; a day that the month lacks is its last day."""
    if cadence == "week":
        return day + timedelta(days=7 * times)
    year, month = day.year, day.month
    for _ in range(MONTHS[cadence] * times):
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
    return date(year, month, min(day.day, days_in_month(year, month)))


def earlier(day: date, cadence: str) -> date:
    """The date one week, month, quarter or year before; a day that the month lacks is its last day."""
    if cadence == "week":
        return day - timedelta(days=7)
    year, month = day.year, day.month
    for _ in range(MONTHS[cadence]):
        year, month = (year - 1, 12) if month == 1 else (year, month - 1)
    return date(year, month, min(day.day, days_in_month(year, month)))


def on_the_wall(wall: datetime, zone: ZoneInfo) -> datetime:
    """The first moment at which the clock on the wall shows this time; one that it jumps over is as much later as it jumps.

    RFC 5545, 3.3.5: a local time that does not occur is read with the offset from before the gap.
    """
    assert wall.tzinfo is None
    early, late = wall - timedelta(days=2), wall + timedelta(days=2)
    offsets = {moment.replace(tzinfo=UTC).astimezone(zone).utcoffset() for moment in (early, wall, late)}
    for moment in sorted(wall.replace(tzinfo=UTC) - (offset or timedelta()) for offset in offsets):
        if moment.astimezone(zone).replace(tzinfo=None) == wall:
            return moment
    before, after = early.replace(tzinfo=UTC), late.replace(tzinfo=UTC)
    while after - before > MICROSECOND:
        middle = before + (after - before) // 2
        if middle.astimezone(zone).replace(tzinfo=None) < wall:
            before = middle
        else:
            after = middle
    old_offset = before.astimezone(zone).utcoffset()
    assert old_offset is not None
    return wall.replace(tzinfo=UTC) - old_offset


def first_boundary(started_at: datetime, anchor: str, cadence: str, zone: ZoneInfo) -> datetime:
    """The wall time from which periods are counted: of the start itself, or of the calendar period that holds it."""
    wall = started_at.astimezone(zone).replace(tzinfo=None)
    if anchor == "anniversary":
        return wall
    day = wall.date()
    if cadence == "week":
        while day.isoweekday() != 1:
            day -= timedelta(days=1)
    elif cadence == "year":
        day = date(day.year, 1, 1)
    elif cadence == "quarter":
        day = date(day.year, {1: 1, 2: 4, 3: 7, 4: 10}[(day.month + 2) // 3], 1)
    else:
        day = date(day.year, day.month, 1)
    return datetime(day.year, day.month, day.day)


def boundaries(started_at: datetime, anchor: str, cadence: str, timezone: str) -> Iterator[datetime]:
    """The moments at which one billing period ends and the next begins, the first one included, for ever.

    On an anniversary the first one is the start itself, in whichever of the two hours that the clock shows twice it lies.
    """
    zone = ZoneInfo(timezone)
    wall = first_boundary(started_at, anchor, cadence, zone)
    times = 0
    if anchor == "anniversary":
        yield started_at
        times = 1
    while True:
        day = later(wall.date(), cadence, times)
        yield on_the_wall(datetime.combine(day, wall.time()), zone)
        times += 1


def microseconds(span: timedelta) -> int:
    """How long a span is."""
    return span // MICROSECOND


def part_of(start: datetime, end: datetime, whole_start: datetime, whole_end: datetime) -> Fraction:
    """Which part of a period a stretch of it is."""
    return Fraction(microseconds(end - start), microseconds(whole_end - whole_start))
