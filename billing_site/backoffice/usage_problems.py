"""Usage that no invoice holds, with the reason: late, of unknown customers, or counted by no meter."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import connection

from invoicing.customers.models import Customer
from metering.counting import COUNTED_VALUE, IS_COUNTED
from metering.queries import CustomerEvents, Unmatched, events_of_unknown_customers, unmatched_events


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


@dataclass(frozen=True)
class UsageProblems:
    """The page's three lists."""

    late: list[LateLine]
    unknown: list[CustomerEvents]
    unmatched: list[Unmatched]


def usage_problems() -> UsageProblems:
    """Return all usage that was accepted and is on no invoice although its time has come, or never will be."""
    return UsageProblems(
        late=late_lines(),
        unknown=events_of_unknown_customers(known_keys=list(Customer.objects.values_list("key", flat=True))),
        unmatched=unmatched_events(),
    )


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
