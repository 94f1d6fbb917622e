"""The demo's calendar: three closed months and what runs since, seen from the moment of its first creation."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

CLOSED_MONTHS = 3
# A month is billed on the second day of the next one, when it has ended in every time zone.
BILLED_AFTER = timedelta(days=1, hours=6)


@dataclass(frozen=True)
class Leg:
    """A stretch of time whose usage is sent and, unless it is the running one, billed at its end."""

    start: datetime
    end: datetime
    is_billed: bool


def legs_until(*, created_at: datetime) -> list[Leg]:
    """Return the demo's time from the first day of its first month to its creation: three billed legs, one running."""
    last = _month_start(created_at)
    if last + BILLED_AFTER > created_at:
        last = _month_before(last)
    starts = [last]
    for _month in range(CLOSED_MONTHS):
        starts.insert(0, _month_before(starts[0]))
    bounds = [starts[0], *(start + BILLED_AFTER for start in starts[1:]), created_at]
    return [
        Leg(start=start, end=end, is_billed=number < CLOSED_MONTHS)
        for number, (start, end) in enumerate(pairwise(bounds))
    ]


def openings_at(*, legs: list[Leg]) -> datetime:
    """Return when the fees of the first month that are paid in advance are billed: as soon as it has begun in every time zone."""
    return legs[0].start + BILLED_AFTER


def _month_start(moment: datetime) -> datetime:
    return datetime(moment.year, moment.month, 1, tzinfo=UTC)


def _month_before(start: datetime) -> datetime:
    return _month_start(start - timedelta(days=1))
