"""Count the windows of a period again from raw events: what differs is shown, then mended with a reason (S4-043)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection, transaction

from billing_site.kernel.history import save_with_reason
from billing_site.kernel.period import HOUR, Period, hour_of
from billing_site.kernel.reasons import checked_reason
from metering.counting import hours_of_events, known_through
from metering.models import INGEST_LOCK, Meter
from metering.queries.usage import meter_by_key
from metering.windowing import count_hours_again

SHOWN_MAX = 200
# Events are at most a day ahead of their receipt, and clocks differ: earlier months of receipt hold none of the period.
AHEAD_MAX = timedelta(days=2)


@dataclass(frozen=True)
class WindowDifference:
    """An hour whose window does not say what its raw events do."""

    customer_id: str
    start: datetime
    grouping: str
    stored_value: Decimal
    recounted_value: Decimal
    stored_count: int
    recounted_count: int


@dataclass(frozen=True)
class Replay:
    """What counting again found, or has mended: of so many windows these differed (the first 200).

    Windows with events that are archived and purged are compared where adding is enough (sum, count, average); of
    other aggregations `archived_count` were left as they are: restore the events first.
    """

    meter: Meter
    period: Period
    window_count: int
    archived_count: int
    difference_count: int
    differences: tuple[WindowDifference, ...]


def preview_replay(*, meter_key: str, period: Period) -> Replay:
    """Count the whole hours of a period again and compare; nothing changes. Raises NotFound."""
    meter = meter_by_key(key=meter_key)
    period = _whole_hours(period)
    compared, archived, differences = _compare(meter, period)
    return Replay(meter, period, compared, archived, len(differences), tuple(differences[:SHOWN_MAX]))


@transaction.atomic
def replay_windows(*, meter_key: str, period: Period, actor: str, reason: str) -> Replay:
    """Replace the windows that differ from their raw events; running it again changes nothing.

    What differs draws a number, so that whoever billed such an hour can tell that it changed. The meter's history
    says who did it and why. Waits for the rollup and keeps it waiting. Raises NotFound, InvalidInput without a reason.
    """
    checked_reason(reason=reason)
    meter = Meter.objects.select_for_update(no_key=True).get(pk=meter_by_key(key=meter_key).pk)
    period = _whole_hours(period)
    compared, archived, differences = _compare(meter, period)
    if differences:
        hours = [(meter.pk, one.customer_id, one.start, one.grouping) for one in differences]
        count_hours_again(aggregation=meter.aggregation, hours=hours, upper=meter.rolled_up_to)
        _number_again(hours)
        note = f"{len(differences)} windows from {period.start:%Y-%m-%d %H:%M} to {period.end:%Y-%m-%d %H:%M} rebuilt"
        save_with_reason(meter, actor=actor, reason=f"{note}: {reason.strip()}")
    return Replay(meter, period, compared, archived, len(differences), tuple(differences[:SHOWN_MAX]))


def _whole_hours(period: Period) -> Period:
    end = hour_of(period.end)
    return Period(hour_of(period.start), end if end == period.end else end + HOUR)


def _compare(meter: Meter, period: Period) -> tuple[int, int, list[WindowDifference]]:
    """Return how many windows were compared, how many cannot be, and those that differ."""
    condition = f"""
        m.id = %(meter)s AND e.timestamp >= %(start)s AND e.timestamp < %(end)s AND e.received_at >= %(received)s
        AND {known_through("m.rolled_up_to")}
    """
    additive = meter.aggregation in ("sum", "count", "average")
    present = "w.value - w.archived_value" if additive else "w.value"
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH recounted AS ({hours_of_events(aggregation=meter.aggregation, condition=condition)}),
            stored AS (
                SELECT w.*, w.event_count - w.archived_count AS present_count, {present} AS present_value
                FROM metering_usagewindow w
                WHERE w.meter_id = %(meter)s AND w.start >= %(start)s AND w.start < %(end)s
            ), compared AS (
                SELECT COALESCE(r.customer_id, w.customer_id) AS customer_id, COALESCE(r.start, w.start) AS start,
                       COALESCE(r.grouping, w.grouping) AS grouping, COALESCE(w.present_value, 0) AS stored_value,
                       COALESCE(r.value, 0) AS recounted_value, COALESCE(w.present_count, 0) AS stored_count,
                       COALESCE(r.event_count, 0) AS recounted_count,
                       {"TRUE" if additive else "COALESCE(w.archived_count, 0) = 0"} AS is_comparable,
                       (r.first_at, r.last_at, r.last_value) IS DISTINCT FROM (w.first_at, w.last_at, w.last_value)
                           AND COALESCE(r.event_count, 0) > 0 AS bounds_differ
                FROM recounted r FULL JOIN stored w
                    ON (w.customer_id, w.start, w.grouping) = (r.customer_id, r.start, r.grouping)
            )
            SELECT count(*) OVER (), count(*) FILTER (WHERE NOT is_comparable) OVER (), customer_id, start, grouping,
                   stored_value, recounted_value, stored_count, recounted_count,
                   is_comparable AND (stored_count <> recounted_count OR stored_value <> recounted_value OR bounds_differ)
                       AS differs
            FROM compared ORDER BY differs DESC, start, customer_id, grouping
            """,
            _parameters(meter, period),
        )
        differences: list[WindowDifference] = []
        compared = archived = 0
        while row := cursor.fetchone():
            compared, archived = row[0] - row[1], row[1]
            if not row[-1]:
                break
            differences.append(WindowDifference(*row[2:-1]))
    return compared, archived, differences


def _parameters(meter: Meter, period: Period) -> dict[str, Any]:
    return {
        "meter": meter.pk,
        "start": period.start,
        "end": period.end,
        "received": period.start - AHEAD_MAX,
    }


def _number_again(hours: list[tuple[int, str, datetime, str]]) -> None:
    """Give mended windows a number that nobody has billed through."""
    meters, customers, starts, groupings = (list(column) for column in zip(*hours, strict=True))
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", [INGEST_LOCK])
        cursor.execute("SELECT nextval('metering_usageevent_id_seq')")
        (number,) = cursor.fetchone()
        cursor.execute(
            """
            UPDATE metering_usagewindow w SET last_event = %s
            FROM unnest(%s::bigint[], %s::text[], %s::timestamptz[], %s::text[])
                AS h(meter_id, customer_id, start, grouping)
            WHERE (w.meter_id, w.customer_id, w.start, w.grouping)
                = (h.meter_id, h.customer_id, h.start, h.grouping)
            """,
            [number, meters, customers, starts, groupings],
        )
