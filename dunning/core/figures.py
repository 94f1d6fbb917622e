"""The arithmetic of the figures of dunning: shares in percent, days sales outstanding, and how a span is cut into weeks or months."""

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal

TENTH = Decimal("0.1")
# A longer span is cut into months.
WEEKS_MAX = 26


def share(*, part: Decimal | int, whole: Decimal | int) -> Decimal | None:
    """Return a part of a whole in percent, to a tenth; None of nothing."""
    if not whole:
        return None
    return (Decimal(part) * 100 / Decimal(whole)).quantize(TENTH, ROUND_HALF_UP)


def days_sales_outstanding(*, receivable: Decimal, billed: Decimal, days: int) -> Decimal | None:
    """Return how many days of billing stand open, to a tenth: what is receivable at the end, by what was billed in so many days; None where nothing was.

    Source: the balance method (receivables ÷ credit sales × days), as the Corporate Finance Institute and the Credit Research Foundation state it.
    """
    assert days > 0, "sales are of a span"
    if billed <= 0:
        return None
    return (receivable * days / billed).quantize(TENTH, ROUND_HALF_UP)


def month_before(*, month: date, by: int) -> date:
    """Return the first day of the month so many months before one."""
    place = month.year * 12 + month.month - 1 - by
    return date(place // 12, place % 12 + 1, 1)


def pace_of(*, first: date, last: date) -> str:
    """Return by what a span is cut: weeks, or months where those would be too many."""
    return "week" if (last - first).days < WEEKS_MAX * 7 else "month"


def stretches(*, first: date, last: date) -> Sequence[date]:
    """Return the first days of the weeks (Mondays) or months that a span touches, in order."""
    if pace_of(first=first, last=last) == "month":
        found = [first.replace(day=1)]
        while (following := month_before(month=found[-1], by=-1)) <= last:
            found.append(following)
        return found
    monday = first - timedelta(days=first.weekday())
    return [monday + timedelta(days=7 * place) for place in range((last - monday).days // 7 + 1)]
