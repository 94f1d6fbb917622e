"""Days and spans of days as documents print them, in the words of a line."""

from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

EN_DASH: Final = "\N{EN DASH}"
MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


def date_text(*, day: date) -> str:
    """Write a date so that no country misreads it: "1 November 2026"."""
    return f"{day.day} {MONTHS[day.month - 1]} {day.year}"


def period_text(*, first: date, last: date) -> str:
    """Write a span of days, both included, without repeating month and year: "1 – 31 October 2026"."""
    if first == last:
        return date_text(day=first)
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day} {EN_DASH} {date_text(day=last)}"
    if first.year == last.year:
        return f"{first.day} {MONTHS[first.month - 1]} {EN_DASH} {date_text(day=last)}"
    return f"{date_text(day=first)} {EN_DASH} {date_text(day=last)}"


def service_text(*, start: datetime, end: datetime, timezone: str) -> str:
    """Write a half-open service period by its days in a zone, a whole calendar month as "July 2026"."""
    zone = ZoneInfo(timezone)
    first, last = start.astimezone(zone), end.astimezone(zone) - timedelta(microseconds=1)
    ends = end.astimezone(zone)
    whole = (first.day, first.time()) == (ends.day, ends.time()) == (1, time())
    if whole and (first.year, first.month) == (last.year, last.month):
        return f"{MONTHS[first.month - 1]} {first.year}"
    return period_text(first=first.date(), last=last.date())
