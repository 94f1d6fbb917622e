"""Days and spans of days as documents print them, in the words of a line."""

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from invoicing.core.languages import ENGLISH, Language


def date_text(*, day: date, language: Language = ENGLISH) -> str:
    """Write a date so that no country misreads it: "1 November 2026"."""
    return language.day_text(day)


def period_text(*, first: date, last: date, language: Language = ENGLISH) -> str:
    """Write a span of days, both included, without repeating month and year: "1 – 31 October 2026"."""
    return language.span(first, last)


def service_text(*, start: datetime, end: datetime, timezone: str, language: Language = ENGLISH) -> str:
    """Write a half-open service period by its days in a zone, a whole calendar month as "July 2026"."""
    zone = ZoneInfo(timezone)
    first, last = start.astimezone(zone), end.astimezone(zone) - timedelta(microseconds=1)
    ends = end.astimezone(zone)
    whole = (first.day, first.time()) == (ends.day, ends.time()) == (1, time())
    if whole and (first.year, first.month) == (last.year, last.month):
        return language.month_text(first)
    return language.span(first.date(), last.date())
