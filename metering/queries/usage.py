"""What a customer used: windows and the events that are in no window yet, in one snapshot."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, tzinfo
from decimal import Decimal
from itertools import pairwise
from typing import Literal

from billing_site.kernel.clock import now
from billing_site.kernel.errors import InvalidInput, NotFound
from billing_site.kernel.period import Period, hours_in
from metering.core.aggregation import Stretch, working
from metering.core.windows import span_of
from metering.models import Meter
from metering.queries.counted import Counted
from metering.queries.hours import counted_as_known, counted_by_property, counted_now

Granularity = Literal["hour", "day", "month"]

# More rows than this make no sense in one answer.
WINDOWS_MAX = 100_000
MICROSECOND = timedelta(microseconds=1)
# What a group's events alone would make adds up to something else than the quantity.
KNOWS_NO_GROUPS = ("latest", "time_weighted_sum")


@dataclass(frozen=True)
class Window:
    """What was counted from `start` until before `end`; `group` is None where the events are not grouped or lack it."""

    start: datetime
    end: datetime
    value: Decimal
    event_count: int
    group: str | None = None


@dataclass(frozen=True)
class UsageReport:
    """The quantity of a period, which need not be the sum of its windows: a maximum is not."""

    total: Decimal
    windows: list[Window]


@dataclass(frozen=True)
class DatedUsage:
    """The quantity of a period, and of each local date in it, those without usage included."""

    total: Decimal
    days: list[tuple[date, Decimal]]


def meter_by_key(*, key: str) -> Meter:
    """Return the meter, or raise NotFound on the field `meter`."""
    found = Meter.objects.filter(key=key).first() if "\x00" not in key else None
    if found is None:
        raise NotFound(f"there is no meter {key!r}", field="meter")
    return found


def usage_report(
    *, meter_key: str, customer_id: str, period: Period, granularity: Granularity, group_by: str | None = None
) -> UsageReport:
    """Return what was counted in the period, and per UTC hour, day or month of it, every event accepted so far included.

    Windows without usage are left out; the first and last are cut at the bounds of the period. A level
    (time_weighted_sum) is counted until now at most. `group_by` is `namespace_id` or the name of a property;
    unless it is a dimension of the meter the raw events are read. Raises NotFound for an unknown meter,
    InvalidInput where the answer would have more than 100,000 windows.
    """
    meter = meter_by_key(key=meter_key)
    total, counted = _counted_by(meter, customer_id, period, group_by)
    windows = []
    for group, part in _groups(meter, counted, group_by):
        for window in _windows(part, granularity):
            windows.append(replace(window, group=group))
            if len(windows) > WINDOWS_MAX:
                raise InvalidInput(
                    f"would answer more than {WINDOWS_MAX} windows; ask for a shorter period or a coarser granularity",
                    field="granularity",
                    code="too_many",
                )
    windows.sort(key=lambda window: (window.start, window.group is None, window.group or ""))
    return UsageReport(total=total, windows=windows)


def usage_windows(
    *, meter_key: str, customer_id: str, period: Period, granularity: Granularity, group_by: str | None = None
) -> list[Window]:
    """Return the windows of `usage_report`."""
    return usage_report(
        meter_key=meter_key, customer_id=customer_id, period=period, granularity=granularity, group_by=group_by
    ).windows


def usage_between(*, meter_key: str, customer_id: str, period: Period) -> Decimal:
    """Return the exact usage of a period with any bounds, every event accepted so far included.

    It is what the aggregation makes of the whole period, which need not be the sum of its windows.
    """
    return _counted(meter_by_key(key=meter_key), customer_id, period).quantity


def usage_by_date(
    *, meter_key: str, customer_id: str, period: Period, zone: tzinfo, known_through: int | None = None
) -> DatedUsage:
    """Return what was counted by local date: all that is accepted, or what was known through a number.

    An hour belongs to the date on which it begins. Raises NotFound.
    """
    meter = meter_by_key(key=meter_key)
    if known_through is None:
        counted = _counted(meter, customer_id, period)
    else:
        counted = counted_as_known(meter=meter, customer_id=customer_id, period=period, through=known_through)
    bounds = [counted.period.start]
    for hour in hours_in(counted.period):
        if hour > bounds[-1] and hour.astimezone(zone).date() != bounds[-1].astimezone(zone).date():
            bounds.append(hour)
    spans = [Period(*pair) for pair in pairwise((*bounds, counted.period.end))]
    days = [(part.period.start.astimezone(zone).date(), part.quantity) for part in counted.split(spans)]
    return DatedUsage(total=counted.quantity, days=days)


def usage_working(*, meter_key: str, customer_id: str, period: Period) -> list[Stretch]:
    """Write a time-weighted sum out: which level was held from when to when; empty for other aggregations."""
    meter = meter_by_key(key=meter_key)
    if meter.aggregation != "time_weighted_sum":
        return []
    counted = _counted(meter, customer_id, period)
    return working(hours=counted.hours, period=counted.period, opening=counted.opening)


def _counted(meter: Meter, customer_id: str, period: Period) -> Counted:
    return counted_now(meter=meter, customer_id=customer_id, period=_until_now(meter, period))


def _until_now(meter: Meter, period: Period) -> Period:
    """Return the part of the period that can be counted: a level is held on, but nobody has used the future."""
    if meter.aggregation != "time_weighted_sum":
        return period
    return Period(period.start, max(min(period.end, now()), period.start + MICROSECOND))


def _counted_by(meter: Meter, customer_id: str, period: Period, group_by: str | None) -> tuple[Decimal, Counted]:
    """Return the quantity of the period, whatever it is grouped by, and what was counted, groups apart."""
    if group_by is None or group_by in meter.dimensions:
        counted = _counted(meter, customer_id, period)
        return counted.quantity, counted
    grouped = counted_by_property(meter=meter, customer_id=customer_id, period=_until_now(meter, period), name=group_by)
    if meter.aggregation in KNOWS_NO_GROUPS:
        return _counted(meter, customer_id, period).quantity, grouped
    return grouped.quantity, grouped


def _groups(meter: Meter, counted: Counted, group_by: str | None) -> Iterator[tuple[str | None, Counted]]:
    """Yield the value of each group and what was counted of it; ungrouped there is one, without a value."""
    if group_by is None:
        yield None, counted
        return
    groupings = {hour.grouping for hour in counted.hours} | set(counted.opening)
    groups: dict[str | None, list[str | None]] = {}
    for grouping in groupings:
        groups.setdefault(_group_of(grouping, meter.dimensions, group_by), []).append(grouping)
    for group, members in groups.items():
        yield group, counted.of_groupings(members)


def _group_of(grouping: str | None, dimensions: list[str], group_by: str) -> str | None:
    assert grouping, "groups are made of dimensions, or of a property"
    # Of a property that is no dimension: [the dimensions' grouping, the property].
    value: str | None = json.loads(grouping)[dimensions.index(group_by) if group_by in dimensions else 1]
    return value


def _windows(counted: Counted, granularity: Granularity) -> Iterator[Window]:
    if counted.aggregation == "time_weighted_sum":
        spans = list(_all_spans(counted.period, granularity))
    else:
        spans = []
        for hour in counted.hours:
            if not spans or hour.start >= spans[-1].end:
                spans.append(span_of(moment=hour.start, granularity=granularity))
    for part in counted.split([_shared(span, counted.period) for span in spans]):
        quantity = part.quantity
        if part.event_count or quantity:
            yield Window(start=part.period.start, end=part.period.end, value=quantity, event_count=part.event_count)


def _shared(span: Period, period: Period) -> Period:
    shared = span.intersection(period)
    assert shared is not None, "an event outside of the period cannot be in its windows"
    return shared


def _all_spans(period: Period, granularity: Granularity) -> Iterator[Period]:
    moment = period.start
    while moment < period.end:
        span = span_of(moment=moment, granularity=granularity)
        yield span
        moment = span.end
