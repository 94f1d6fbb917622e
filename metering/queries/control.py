"""Whether every accepted event arrived where it belongs, and which did not, with the reason."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import connection
from django.db.models import Count, Max

from billing_site.kernel.period import Period, hour_of
from metering.archiving.absent import ADDITIVE
from metering.core.parsing import DECIMAL_PLACES_MAX, INTEGER_DIGITS_MAX
from metering.counting import hours_of_events, known_through
from metering.models import UnappliedEvent, UnappliedReason

# All pairs (customer, event type) by jumping from one to the next in the index: as many steps as pairs.
PAIRS = """
    pairs AS (
        (SELECT customer_id, event_type FROM metering_usageevent ORDER BY customer_id, event_type LIMIT 1)
        UNION ALL
        SELECT following.customer_id, following.event_type
        FROM pairs CROSS JOIN LATERAL (
            SELECT e.customer_id, e.event_type FROM metering_usageevent e
            WHERE (e.customer_id, e.event_type) > (pairs.customer_id, pairs.event_type)
            ORDER BY e.customer_id, e.event_type LIMIT 1
        ) AS following
    )
"""


@dataclass(frozen=True)
class Conservation:
    """Events of one meter up to its cursor against its windows: nothing may be lost or made."""

    meter: str
    accepted: int
    aggregated: int
    listed: int
    event_sum: Decimal
    window_sum: Decimal
    differing_windows: int

    @property
    def balanced(self) -> bool:
        """Say whether accepted = aggregated + listed, the sums agree, and each single window does."""
        return (
            self.accepted == self.aggregated + self.listed
            and self.event_sum == self.window_sum
            and self.differing_windows == 0
        )


@dataclass(frozen=True)
class Unmatched:
    """Accepted events that no window counts, and why."""

    event_type: str
    meter: str
    reason: str
    event_count: int
    last_timestamp: datetime


@dataclass(frozen=True)
class CustomerEvents:
    """How many events name one customer."""

    customer_id: str
    event_count: int
    first_timestamp: datetime
    last_timestamp: datetime


@dataclass(frozen=True)
class Backlog:
    """Accepted events that the slowest meter has not counted, or that were not looked at for the list of unapplied ones."""

    events: int
    oldest_received_at: datetime | None

    def lag(self, *, at: datetime) -> timedelta:
        """Return how long the oldest of them has waited."""
        return max(at - self.oldest_received_at, timedelta(0)) if self.oldest_received_at else timedelta(0)


def conservation() -> list[Conservation]:
    """Compare, per meter, the events up to its cursor with its windows; reads every event once per meter of its type.

    What is archived and purged of a window is taken as it was then; only what can be recounted is compared. Events of
    hours that wait for archived ones are listed, not aggregated.
    """
    found = []
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT aggregation FROM metering_meter")
        for aggregation in sorted(row[0] for row in cursor.fetchall()):
            cursor.execute(_conservation_of(aggregation), {"aggregation": aggregation})
            found += [
                Conservation(
                    meter=key,
                    accepted=int(accepted),
                    aggregated=int(aggregated),
                    listed=int(accepted) - int(counted),
                    event_sum=event_sum,
                    window_sum=window_sum,
                    differing_windows=differing,
                )
                for key, accepted, counted, aggregated, event_sum, window_sum, differing in cursor.fetchall()
            ]
    return sorted(found, key=lambda row: row.meter)


def _conservation_of(aggregation: str) -> str:
    recounted = hours_of_events(
        aggregation=aggregation,
        condition=f"m.aggregation = %(aggregation)s AND {known_through('m.rolled_up_to')}",
    )
    additive = aggregation in ADDITIVE
    # A maximum cannot be divided into its archived and its present part.
    comparable = f"CASE WHEN {'TRUE' if additive else 'COALESCE(w.archived_count, 0) = 0'} THEN"
    return f"""
        WITH recounted AS ({recounted}), stored AS (
            SELECT w.*, w.event_count - w.archived_count AS present_count,
                   {"w.value - w.archived_value" if additive else "w.value"} AS present_value
            FROM metering_usagewindow w JOIN metering_meter m ON m.id = w.meter_id AND m.aggregation = %(aggregation)s
        ), compared AS (
            SELECT COALESCE(r.meter_id, w.meter_id) AS meter_id, r.event_count AS counted, w.present_count AS aggregated,
                   {comparable} r.value END AS event_value, {comparable} w.present_value END AS window_value,
                   COALESCE(r.event_count, 0) <> COALESCE(w.present_count, 0)
                   OR r.last_event > w.last_event
                   OR ({"TRUE" if additive else "COALESCE(w.archived_count, 0) = 0"}) AND (
                       COALESCE(r.value, 0) <> COALESCE(w.present_value, 0)
                       OR COALESCE(r.event_count, 0) > 0
                          AND (r.first_at, r.last_at, r.last_value) IS DISTINCT FROM (w.first_at, w.last_at, w.last_value)
                   ) AS differs
            FROM recounted r FULL JOIN stored w
                ON (w.meter_id, w.customer_id, w.start, w.grouping) = (r.meter_id, r.customer_id, r.start, r.grouping)
            WHERE NOT EXISTS (
                SELECT FROM metering_unsettledhour u
                WHERE (u.meter_id, u.customer_id, u.start, u.grouping)
                    = (COALESCE(r.meter_id, w.meter_id), COALESCE(r.customer_id, w.customer_id),
                       COALESCE(r.start, w.start), COALESCE(r.grouping, w.grouping))
            )
        )
        SELECT m.key,
               (SELECT count(*) FROM metering_usageevent e WHERE e.event_type = m.event_type AND e.id <= m.rolled_up_to),
               COALESCE(sum(c.counted), 0), COALESCE(sum(c.aggregated), 0),
               COALESCE(sum(c.event_value), 0), COALESCE(sum(c.window_value), 0),
               count(c.meter_id) FILTER (WHERE c.differs)
        FROM metering_meter m LEFT JOIN compared c ON c.meter_id = m.id
        WHERE m.aggregation = %(aggregation)s
        GROUP BY m.id, m.key
    """


def unmatched_events() -> list[Unmatched]:
    """Return what the list of unapplied events holds, by event type, meter and reason; current up to the last rollup."""
    found = (
        UnappliedEvent.objects.values_list("event_type", "meter__key", "meter__value_property", "reason")
        .annotate(event_count=Count("id"), last_timestamp=Max("timestamp"))
        .order_by("event_type", "meter__key", "reason")
    )
    return [
        Unmatched(
            event_type=event_type,
            meter=meter or "",
            reason=_sentence(reason, value_property or ""),
            event_count=event_count,
            last_timestamp=last_timestamp,
        )
        for event_type, meter, value_property, reason, event_count, last_timestamp in found
    ]


def _sentence(reason: str, value_property: str) -> str:
    if reason != UnappliedReason.NO_VALUE:
        return str(UnappliedReason(reason).label)
    return (
        f"the property {value_property} is missing or not a number from 0 on"
        f" (at most {INTEGER_DIGITS_MAX} digits before the point and {DECIMAL_PLACES_MAX} after it)"
    )


def customers_with_usage(*, period: Period) -> list[str]:
    """Return the customer ids for which a meter counted anything in the hours of the period, in their order."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT w.customer_id FROM metering_usagewindow w WHERE w.start >= %(first_hour)s AND w.start < %(end)s
            UNION
            SELECT e.customer_id FROM metering_usageevent e
            WHERE e.id > (SELECT COALESCE(min(m.rolled_up_to), 0) FROM metering_meter m)
              AND e.timestamp >= %(start)s AND e.timestamp < %(end)s
            ORDER BY 1
            """,
            {"first_hour": hour_of(period.start), "start": period.start, "end": period.end},
        )
        return [row[0] for row in cursor.fetchall()]


def events_of_unknown_customers(*, known_keys: Collection[str]) -> list[CustomerEvents]:
    """Return the customers that events name and the caller does not know; fast however many events there are."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH RECURSIVE {PAIRS}
            SELECT customers.customer_id, counted.event_count, counted.first_timestamp, counted.last_timestamp
            FROM (SELECT DISTINCT customer_id FROM pairs) AS customers
            CROSS JOIN LATERAL (
                SELECT count(*) AS event_count, min(e.timestamp) AS first_timestamp, max(e.timestamp) AS last_timestamp
                FROM metering_usageevent e WHERE e.customer_id = customers.customer_id
            ) AS counted
            WHERE customers.customer_id <> ALL(%s)
            ORDER BY 1
            """,
            [list(known_keys)],
        )
        return [CustomerEvents(*row) for row in cursor.fetchall()]


def backlog() -> Backlog:
    """Return how many accepted events no rollup has passed yet, and since when the oldest waits."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*), min(e.received_at) FROM metering_usageevent e
            WHERE e.id > least((SELECT min(m.rolled_up_to) FROM metering_meter m),
                               COALESCE((SELECT min(listed_up_to) FROM metering_rollupprogress), 0))
            """
        )
        return Backlog(*cursor.fetchone())
