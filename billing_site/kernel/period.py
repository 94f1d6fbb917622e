"""Half-open spans of time, always in UTC."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

HOUR = timedelta(hours=1)


@dataclass(frozen=True, order=True)
class Period:
    """A span `[start, end)` of UTC time; the end belongs to the next period."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        assert self.start.utcoffset() == timedelta(0), f"start is not UTC: {self.start!r}"
        assert self.end.utcoffset() == timedelta(0), f"end is not UTC: {self.end!r}"
        assert self.start < self.end, f"a period must last: {self.start} .. {self.end}"

    def __contains__(self, moment: datetime) -> bool:
        return self.start <= moment < self.end

    @property
    def duration(self) -> timedelta:
        """The length of the span."""
        return self.end - self.start

    def overlaps(self, other: "Period") -> bool:
        """Say whether the two spans share at least one moment; touching spans do not."""
        return self.start < other.end and other.start < self.end

    def intersection(self, other: "Period") -> "Period | None":
        """Return the shared span, or None where there is none."""
        start, end = max(self.start, other.start), min(self.end, other.end)
        return Period(start, end) if start < end else None


def as_utc(moment: datetime) -> datetime:
    """Convert an aware datetime to UTC; a naive one is a bug of the caller (S0-103)."""
    assert moment.utcoffset() is not None, f"naive datetime: {moment!r}"
    return moment.astimezone(UTC)


def hour_of(moment: datetime) -> datetime:
    """Return the start of the UTC hour that holds the moment."""
    return as_utc(moment).replace(minute=0, second=0, microsecond=0)


def hours_in(period: Period) -> Iterator[datetime]:
    """Yield the start of each UTC hour that the period touches."""
    moment = hour_of(period.start)
    while moment < period.end:
        yield moment
        moment += HOUR
