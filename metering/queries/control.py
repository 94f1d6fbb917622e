"""Whether every accepted event arrived where it belongs, and which did not, with the reason."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import connection

from billing_site.kernel.period import Period, hour_of
from metering.core.parsing import DECIMAL_PLACES_MAX, INTEGER_DIGITS_MAX
from metering.counting import COUNTED_VALUE, HOUR_OF_EVENT, IS_COUNTED

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
    """Accepted events that the slowest meter has not counted yet."""

    events: int
    oldest_received_at: datetime | None


def conservation() -> list[Conservation]:
    """Compare, per meter, the events up to its cursor with its windows; reads every event once per meter of its type."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH recounted AS (
                SELECT m.id AS meter_id, e.customer_id, {HOUR_OF_EVENT} AS start, {IS_COUNTED} AS is_counted,
                       COALESCE(sum({COUNTED_VALUE}), 0) AS value, count(*) AS event_count
                FROM metering_meter m
                JOIN metering_usageevent e ON e.event_type = m.event_type AND e.id <= m.rolled_up_to
                GROUP BY 1, 2, 3, 4
            ), compared AS (
                SELECT COALESCE(r.meter_id, w.meter_id) AS meter_id,
                       r.value AS event_value, r.event_count AS event_count,
                       w.value AS window_value, w.event_count AS window_count
                FROM (SELECT * FROM recounted WHERE is_counted) AS r
                FULL JOIN metering_usagewindow w
                    ON w.meter_id = r.meter_id AND w.customer_id = r.customer_id AND w.start = r.start
            ), listed AS (
                SELECT meter_id, sum(event_count) AS event_count FROM recounted WHERE NOT is_counted GROUP BY 1
            )
            SELECT m.key,
                   COALESCE(sum(c.event_count), 0) + COALESCE(max(l.event_count), 0),
                   COALESCE(sum(c.window_count), 0),
                   COALESCE(max(l.event_count), 0),
                   COALESCE(sum(c.event_value), 0),
                   COALESCE(sum(c.window_value), 0),
                   count(c.meter_id) FILTER (
                       WHERE (c.event_value, c.event_count) IS DISTINCT FROM (c.window_value, c.window_count)
                   )
            FROM metering_meter m
            LEFT JOIN compared c ON c.meter_id = m.id
            LEFT JOIN listed l ON l.meter_id = m.id
            GROUP BY m.id, m.key ORDER BY m.key
            """
        )
        return [
            Conservation(
                meter=key,
                accepted=int(accepted),
                aggregated=int(aggregated),
                listed=int(listed),
                event_sum=event_sum,
                window_sum=window_sum,
                differing_windows=differing,
            )
            for key, accepted, aggregated, listed, event_sum, window_sum, differing in cursor.fetchall()
        ]


def unmatched_events() -> list[Unmatched]:
    """Return the accepted events that no window will ever count: no meter for their type, or no number to sum."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH RECURSIVE {PAIRS}
            SELECT pairs.event_type, '', sum(counted.event_count), max(counted.last_timestamp)
            FROM pairs CROSS JOIN LATERAL (
                SELECT count(*) AS event_count, max(e.timestamp) AS last_timestamp FROM metering_usageevent e
                WHERE e.customer_id = pairs.customer_id AND e.event_type = pairs.event_type
            ) AS counted
            WHERE NOT EXISTS (SELECT FROM metering_meter m WHERE m.event_type = pairs.event_type)
            GROUP BY pairs.event_type
            UNION ALL
            SELECT m.event_type, m.key || '/' || m.value_property, count(*), max(e.timestamp)
            FROM metering_meter m JOIN metering_usageevent e ON e.event_type = m.event_type
            WHERE m.aggregation = 'sum' AND m.value_property <> '' AND NOT {IS_COUNTED}
            GROUP BY m.id
            ORDER BY 1, 2
            """
        )
        rows = cursor.fetchall()
    found = []
    for event_type, meter_and_property, event_count, last_timestamp in rows:
        meter, _, value_property = meter_and_property.partition("/")
        reason = (
            f"the property {value_property} is missing or not a number from 0 on"
            f" (at most {INTEGER_DIGITS_MAX} digits before the point and {DECIMAL_PLACES_MAX} after it)"
            if meter
            else "no meter counts this event type"
        )
        found.append(Unmatched(event_type, meter, reason, int(event_count), last_timestamp))
    return found


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
    """Return how many accepted events the slowest meter has still to count, and since when the oldest waits."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*), min(e.received_at) FROM metering_usageevent e
            WHERE e.id > (SELECT min(m.rolled_up_to) FROM metering_meter m)
            """
        )
        return Backlog(*cursor.fetchone())
