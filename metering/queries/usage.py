"""What a customer used: windows and the events that are in no window yet, in one snapshot."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

from django.db import connection

from billing_site.kernel.errors import InvalidInput, NotFound
from billing_site.kernel.money import EXACT
from billing_site.kernel.period import Period
from metering.core.windows import cut_at_hours, span_of
from metering.counting import COUNTED_VALUE, IS_COUNTED
from metering.models import Meter

Granularity = Literal["hour", "day", "month"]

# More rows than this make no sense in one answer.
WINDOWS_MAX = 100_000


@dataclass(frozen=True)
class Window:
    """What was counted from `start` until before `end`; `group` is None where the events are not grouped or lack it."""

    start: datetime
    end: datetime
    value: Decimal
    event_count: int
    group: str | None = None


def meter_by_key(*, key: str) -> Meter:
    """Return the meter, or raise NotFound on the field `meter`."""
    found = Meter.objects.filter(key=key).first() if "\x00" not in key else None
    if found is None:
        raise NotFound(f"there is no meter {key!r}", field="meter")
    return found


def usage_windows(
    *, meter_key: str, customer_id: str, period: Period, granularity: Granularity, group_by: str | None = None
) -> list[Window]:
    """Return what was counted per UTC hour, day or month of the period, every event accepted so far included.

    Windows without events are left out; the first and last are cut at the bounds of the period.
    `group_by` is `namespace_id` or the name of a property, then the raw events are read. Raises
    NotFound for an unknown meter, InvalidInput where the answer would have more than 100,000 windows.
    """
    meter = meter_by_key(key=meter_key)
    parts = _grouped_events(group_by) if group_by is not None else _windows_and_events(period)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT date_trunc(%(granularity)s, part.moment, 'UTC'), part.grouping,
                   sum(part.value), sum(part.event_count)
            FROM ({parts}) AS part
            GROUP BY 1, 2 ORDER BY 1, 2 LIMIT {WINDOWS_MAX + 1}
            """,
            {
                "granularity": granularity,
                "group_by": group_by,
                **_parameters(meter=meter, customer_id=customer_id, period=period),
            },
        )
        rows = cursor.fetchall()
    if len(rows) > WINDOWS_MAX:
        raise InvalidInput(
            f"would answer more than {WINDOWS_MAX} windows; ask for a shorter period or a coarser granularity",
            field="granularity",
            code="too_many",
        )
    return list(_windows(rows, period=period, granularity=granularity))


def usage_between(*, meter_key: str, customer_id: str, period: Period) -> Decimal:
    """Return the exact usage of a period with any bounds, every event accepted so far included."""
    total = Decimal(0)
    for window in usage_windows(
        meter_key=meter_key, customer_id=customer_id, period=period, granularity="month", group_by=None
    ):
        total = EXACT.add(total, window.value)
    return total


def _windows(rows: list[tuple[Any, ...]], *, period: Period, granularity: Granularity) -> Iterator[Window]:
    for moment, group, value, event_count in rows:
        span = span_of(moment=moment.astimezone(UTC), granularity=granularity).intersection(period)
        assert span is not None, "an event outside of the period cannot be in its windows"
        yield Window(start=span.start, end=span.end, value=value, event_count=int(event_count), group=group)


def _parameters(*, meter: Meter, customer_id: str, period: Period) -> dict[str, Any]:
    whole = cut_at_hours(period=period).whole
    return {
        "meter": meter.pk,
        "customer": customer_id,
        "start": period.start,
        "end": period.end,
        "whole_start": whole.start if whole else None,
        "whole_end": whole.end if whole else None,
        # The cursor only grows, so this changes nothing in the answer; it tells the planner how few events follow.
        "cursor_then": meter.rolled_up_to,
    }


_EVENTS_OF_PERIOD = f"""
    FROM metering_usageevent e JOIN metering_meter m ON m.event_type = e.event_type
    WHERE m.id = %(meter)s AND e.customer_id = %(customer)s
      AND e.timestamp >= %(start)s AND e.timestamp < %(end)s AND {IS_COUNTED}
"""


def _windows_and_events(period: Period) -> str:
    """Return SQL for windows of whole hours, the events after the cursor, and those of partial hours before it."""
    cut = cut_at_hours(period=period)
    parts = [
        f"""
        SELECT e.timestamp AS moment, NULL::text AS grouping, {COUNTED_VALUE} AS value, 1::bigint AS event_count
        {_EVENTS_OF_PERIOD} AND e.id > %(cursor_then)s AND e.id > m.rolled_up_to
        """
    ]
    if cut.whole is not None:
        parts.append(
            """
            SELECT w.start, NULL, w.value, w.event_count FROM metering_usagewindow w
            WHERE w.meter_id = %(meter)s AND w.customer_id = %(customer)s
              AND w.start >= %(whole_start)s AND w.start < %(whole_end)s
            """
        )
    if cut.edges:
        outside = "(e.timestamp < %(whole_start)s OR e.timestamp >= %(whole_end)s)" if cut.whole else "TRUE"
        parts.append(
            f"""
            SELECT e.timestamp, NULL, {COUNTED_VALUE}, 1
            {_EVENTS_OF_PERIOD} AND e.id <= m.rolled_up_to AND {outside}
            """
        )
    return " UNION ALL ".join(parts)


def _grouped_events(group_by: str) -> str:
    group = "e.namespace_id" if group_by == "namespace_id" else "e.properties ->> %(group_by)s"
    return f"""
        SELECT e.timestamp AS moment, {group} AS grouping, {COUNTED_VALUE} AS value, 1::bigint AS event_count
        {_EVENTS_OF_PERIOD}
    """
