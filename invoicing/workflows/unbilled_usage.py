"""Usage that was accepted and counted, and that no invoice holds or will hold: who, how much, and why.

Every counted event is on a line that knew it, in a period that a subscription prices and that is still
to be billed, or here. A plan need not price every meter of an event: one that counts calls may stand
beside one that charges their tokens. Events that no meter counts are metering's to list (`unmatched_events`).
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from django.db import connection

from metering.counting import COUNTED_VALUE, IS_COUNTED


class UnbilledReason(StrEnum):
    """Why usage is on no invoice; the value is the sentence that people read."""

    UNKNOWN_CUSTOMER = "there is no such customer"
    NO_SUBSCRIPTION = "no subscription was in force"
    NOT_PRICED = "no plan in force has a price for any meter of these events in the customer's currency"
    LATE = "it came after its invoice was rated"


@dataclass(frozen=True)
class UnbilledUsage:
    """What one meter counted for one customer without anybody being charged; `first_at` is exact to the hour."""

    customer_id: str
    meter: str
    quantity: Decimal
    event_count: int
    first_at: datetime
    reason: UnbilledReason


@dataclass(frozen=True)
class LateLine:
    """An issued line whose period got events after it was rated."""

    invoice_id: int
    invoice_number: str
    customer_name: str
    position: int
    description: str
    unit: str
    event_count: int
    quantity: Decimal
    first_received_at: datetime


def unbilled_usage(*, at: datetime) -> list[UnbilledUsage]:
    """Return the usage before `at` that nobody is charged for, by customer, meter and reason.

    Sees what is rolled up. Costs as much as there is unbilled usage: what a subscription prices is not read.
    """
    with connection.cursor() as cursor:
        cursor.execute(_UNBILLED, {"at": at})
        return [
            UnbilledUsage(customer_id, meter, quantity, int(event_count), first_at, UnbilledReason[reason])
            for customer_id, meter, quantity, event_count, first_at, reason in cursor.fetchall()
        ]


def late_lines() -> list[LateLine]:
    """Return the issued lines whose period got events after they were rated, the newest trouble first.

    Windows tell which hours got an event with a greater number than the line knew; only the events of
    those hours are read. So it is exact, and costs no more than there is late usage.
    """
    wanted = f"count(*) AS event_count, sum({COUNTED_VALUE}) AS quantity, min(e.received_at) AS first_received_at"
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT i.id, i.number, i.customer_name, l.position, l.description, l.unit,
                   late.event_count, late.quantity, late.first_received_at
            {_late(wanted=wanted)}
            WHERE late.event_count > 0
            ORDER BY late.first_received_at DESC, i.id DESC, l.position
            """
        )
        return [LateLine(*row) for row in cursor.fetchall()]


def late_summary() -> tuple[int, int, datetime | None]:
    """Return how many issued lines got late usage, on how many invoices, and since when about; stops at each line's first."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT count(*), count(DISTINCT l.invoice_id), min(late.received_at)
            {_late(wanted="e.received_at", limit="LIMIT 1")}
            """
        )
        lines, invoices, since = cursor.fetchone()
    return int(lines), int(invoices), since


def _late(*, wanted: str, limit: str = "") -> str:
    """Return SQL for issued lines and the late events of their hours that got a greater number than the line knew."""
    return f"""
        FROM invoicing_invoiceline l
        JOIN invoicing_invoice i ON i.id = l.invoice_id AND i.status IN ('issued', 'paid')
        JOIN invoicing_customer c ON c.id = i.customer_id
        JOIN metering_meter m ON m.key = l.meter_key
        CROSS JOIN LATERAL (
            SELECT {wanted}
            FROM metering_usagewindow w
            JOIN metering_usageevent e ON e.customer_id = c.key AND e.event_type = m.event_type
                AND e.id > l.known_through AND {IS_COUNTED}
                AND e.timestamp >= greatest(w.start, l.service_start)
                AND e.timestamp < least(w.start + interval '1 hour', l.service_end)
            WHERE w.meter_id = m.id AND w.customer_id = c.key AND w.last_event > l.known_through
                AND w.start > l.service_start - interval '1 hour' AND w.start < l.service_end
            {limit}
        ) AS late
    """


_LATE_WANTED = f"count(*) AS event_count, sum({COUNTED_VALUE}) AS quantity, min(e.timestamp) AS first_at"

# What is charged is a set of spans of time for each customer and meter; the gaps between them are looked up in the
# windows. An hour that a gap cuts is counted from its events. The pairs are found by jumping through the index.
_UNBILLED = f"""
    WITH RECURSIVE pairs AS (
        (SELECT meter_id, customer_id FROM metering_usagewindow ORDER BY meter_id, customer_id LIMIT 1)
        UNION ALL
        SELECT following.meter_id, following.customer_id
        FROM pairs CROSS JOIN LATERAL (
            SELECT w.meter_id, w.customer_id FROM metering_usagewindow w
            WHERE (w.meter_id, w.customer_id) > (pairs.meter_id, pairs.customer_id)
            ORDER BY w.meter_id, w.customer_id LIMIT 1
        ) AS following
    ), in_force AS (
        SELECT customer_id, range_agg(tstzrange(started_at, ended_at)) AS spans
        FROM invoicing_subscription GROUP BY customer_id
    ), priced AS (
        SELECT s.customer_id, m.event_type, range_agg(tstzrange(s.started_at, s.ended_at)) AS spans
        FROM invoicing_subscription s
        JOIN invoicing_customer c ON c.id = s.customer_id
        JOIN invoicing_price p ON p.plan_version_id = s.plan_version_id AND p.currency = c.currency
        JOIN metering_meter m ON m.id = p.meter_id
        GROUP BY s.customer_id, m.event_type
    ), uncharged AS (
        SELECT pairs.meter_id, pairs.customer_id, gaps.reason, unnest(gaps.spans) AS span
        FROM pairs
        JOIN metering_meter m ON m.id = pairs.meter_id
        LEFT JOIN invoicing_customer c ON c.key = pairs.customer_id
        LEFT JOIN in_force ON in_force.customer_id = c.id
        LEFT JOIN priced ON priced.customer_id = c.id AND priced.event_type = m.event_type
        CROSS JOIN LATERAL (
            SELECT CASE WHEN c.id IS NULL THEN 'UNKNOWN_CUSTOMER' ELSE 'NO_SUBSCRIPTION' END AS reason,
                   tstzmultirange(tstzrange(NULL, %(at)s)) - COALESCE(in_force.spans, '{{}}') AS spans
            UNION ALL
            SELECT 'NOT_PRICED',
                   tstzmultirange(tstzrange(NULL, %(at)s)) * in_force.spans - COALESCE(priced.spans, '{{}}')
        ) AS gaps
    )
    SELECT u.customer_id, m.key, sum(found.quantity), sum(found.event_count), min(found.first_at), u.reason
    FROM uncharged u
    JOIN metering_meter m ON m.id = u.meter_id
    JOIN metering_usagewindow w ON w.meter_id = u.meter_id AND w.customer_id = u.customer_id
        AND w.start > COALESCE(lower(u.span), '-infinity') - interval '1 hour'
        AND w.start < COALESCE(upper(u.span), 'infinity')
    CROSS JOIN LATERAL (
        SELECT w.value AS quantity, w.event_count, w.start AS first_at
        WHERE u.span @> tstzrange(w.start, w.start + interval '1 hour')
        UNION ALL
        SELECT sum({COUNTED_VALUE}), count(*), min(e.timestamp)
        FROM metering_usageevent e
        WHERE NOT u.span @> tstzrange(w.start, w.start + interval '1 hour')
          AND e.customer_id = w.customer_id AND e.event_type = m.event_type AND e.id <= m.rolled_up_to
          AND e.timestamp >= w.start AND e.timestamp < w.start + interval '1 hour'
          AND u.span @> e.timestamp AND {IS_COUNTED}
        HAVING count(*) > 0
    ) AS found
    GROUP BY u.customer_id, m.key, u.reason
    UNION ALL
    SELECT c.key, m.key, sum(late.quantity), sum(late.event_count), min(late.first_at), 'LATE'
    {_late(wanted=_LATE_WANTED)}
    WHERE late.event_count > 0
    GROUP BY c.key, m.key
    ORDER BY 1, 2, 6
"""
