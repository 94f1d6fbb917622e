"""Usage by day in the customer's zone, for charts and for the tables behind them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from billing_site.kernel.period import HOUR, Period
from metering.queries import DatedUsage

MICROSECOND = timedelta(microseconds=1)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class DailyUsage:
    """One meter's usage day by day; `day_count` is the length of the period, which may not be over yet.

    `total` is what the meter makes of all days together: their sum, or the greatest of them, as it counts.
    """

    name: str
    unit: str
    total: Decimal
    days: tuple[tuple[date, Decimal], ...]
    day_count: int
    last_day: date
    cut_within_the_hour: bool

    @property
    def highest(self) -> tuple[date, Decimal]:
        """The first of the days with the most usage."""
        return max(self.days, key=lambda day: day[1])


def usage_by_day(
    *,
    name: str,
    unit: str,
    counted: DatedUsage,
    service: Period,
    until: datetime,
    zone: ZoneInfo,
) -> DailyUsage:
    """Show what was counted in a service period by the customer's days, up to `until`.

    An hour belongs to the day in which it begins; where the zone is not a whole number of hours
    from UTC, a day therefore begins and ends within the hour, and the result says so.
    """
    first_day, last_day = days_of(period=service, zone=zone)
    shown_until = min(max(until, service.start + MICROSECOND), service.end)
    by_day = dict.fromkeys(_dates(first_day, (shown_until - MICROSECOND).astimezone(zone).date()), Decimal(0))
    by_day |= dict(counted.days)
    return DailyUsage(
        name=name,
        unit=unit,
        total=counted.total,
        days=tuple(sorted(by_day.items())),
        day_count=(last_day - first_day).days + 1,
        last_day=last_day,
        cut_within_the_hour=any(_is_off_the_hour(moment, zone) for moment in (service.start, service.end)),
    )


def days_of(*, period: Period, zone: ZoneInfo) -> tuple[date, date]:
    """Return the first and the last day of a period where the customer is."""
    return period.start.astimezone(zone).date(), (period.end - MICROSECOND).astimezone(zone).date()


def utc_period(*, start: datetime, end: datetime) -> Period:
    """Return the period between two stored moments."""
    return Period(start.astimezone(UTC), end.astimezone(UTC))


def _dates(first: date, last: date) -> Iterable[date]:
    while first <= last:
        yield first
        first += DAY


def _is_off_the_hour(moment: datetime, zone: ZoneInfo) -> bool:
    offset = moment.astimezone(zone).utcoffset()
    assert offset is not None, "a moment in a zone has an offset"
    return bool(offset % HOUR)
