"""What is billed: only what is in windows, so that it can be counted again for ever as it was known."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.db import connection

from billing_site.kernel.digest import digest_of
from billing_site.kernel.errors import NotFound
from billing_site.kernel.money import EXACT, plain
from billing_site.kernel.period import Period
from metering.core.windows import cut_at_hours
from metering.counting import COUNTED_VALUE, IS_COUNTED

# One row of a period: start of the hour or partial hour, what it counts, number of events.
HourRow = tuple[datetime, Decimal, int]


@dataclass(frozen=True)
class MeterUsage:
    """What a meter counted in a period, from the events up to number `known_through`.

    `windows_digest` is SHA-256 over the canonical rows [start, value, event_count] of the hours;
    `events_digest` (of a recount only) over the 16-byte keys of the raw events in their order.
    """

    quantity: Decimal
    window_count: int
    event_count: int
    windows_digest: str
    known_through: int
    events_digest: str = ""


def billing_usage(*, customer_id: str, meter_keys: Sequence[str], period: Period) -> dict[str, MeterUsage]:
    """Return what each meter counted in the period, in one snapshot; events after the meter's cursor do not count.

    Roll up first. A bound within an hour is exact: that hour is read from its events up to the
    cursor. Raises NotFound on the field `meter`.
    """
    cut = cut_at_hours(period=period)
    parts = []
    parameters: dict[str, Any] = {"meters": list(meter_keys), "customer": customer_id}
    if cut.whole is not None:
        parameters |= {"whole_start": cut.whole.start, "whole_end": cut.whole.end}
        parts.append(
            """
            SELECT w.start, w.value, w.event_count FROM metering_usagewindow w
            WHERE w.meter_id = m.id AND w.customer_id = %(customer)s
              AND w.start >= %(whole_start)s AND w.start < %(whole_end)s
            """
        )
    for number, edge in enumerate(cut.edges):
        parameters |= {f"start{number}": edge.start, f"end{number}": edge.end}
        parts.append(_partial_hours(f"start{number}", f"end{number}"))
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT m.key, m.rolled_up_to, hours.start, hours.value, hours.event_count
            FROM metering_meter m LEFT JOIN LATERAL ({" UNION ALL ".join(parts)}) AS hours(start, value, event_count) ON TRUE
            WHERE m.key = ANY(%(meters)s)
            """,
            parameters,
        )
        rows = cursor.fetchall()
    known_through: dict[str, int] = {}
    hours: dict[str, list[HourRow]] = {}
    for key, cursor_of_meter, *hour in rows:
        known_through[key] = cursor_of_meter
        hours.setdefault(key, [])
        if hour[0] is not None:
            hours[key].append((hour[0], hour[1], hour[2]))
    for key in meter_keys:
        if key not in known_through:
            raise NotFound(f"there is no meter {key!r}", field="meter")
    return {key: usage_of_hours(hours=hours[key], known_through=known_through[key]) for key in meter_keys}


def usage_of_hours(*, hours: Iterable[HourRow], known_through: int, events_digest: str = "") -> MeterUsage:
    """Sum the rows of a period, at most one per hour, and seal them with a digest."""
    quantity = Decimal(0)
    event_count = 0
    rows = []
    for start, value, count in sorted(hours):
        quantity = EXACT.add(quantity, value)
        event_count += count
        rows.append([start.astimezone(UTC).isoformat(), plain(value), count])
    return MeterUsage(
        quantity=quantity,
        window_count=len(rows),
        event_count=event_count,
        windows_digest=digest_of(rows),
        known_through=known_through,
        events_digest=events_digest,
    )


def _partial_hours(start: str, end: str) -> str:
    """Return SQL for the events of an edge of the period, as one row per hour that it touches, cut at its start."""
    return f"""
        SELECT greatest(date_bin('1 hour', e.timestamp, '2000-01-01 00:00:00+00'), %({start})s),
               sum({COUNTED_VALUE}), count(*)
        FROM metering_usageevent e
        WHERE e.event_type = m.event_type AND e.customer_id = %(customer)s
          AND e.timestamp >= %({start})s AND e.timestamp < %({end})s
          AND e.id <= m.rolled_up_to AND {IS_COUNTED}
        GROUP BY 1
    """
