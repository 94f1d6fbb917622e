"""Find events by an idempotency key alone, whoever sent it."""

from django.db import connection
from django.db.models import QuerySet

from billing_site.kernel.period import Period
from billing_site.kernel.text import is_storable
from metering.ingest import dedup_key
from metering.models import UsageEvent


def events_with_key(*, events: "QuerySet[UsageEvent]", key: str) -> "QuerySet[UsageEvent]":
    """Return the events with this idempotency key, whoever sent them; quick however many events there are."""
    keys = [dedup_key(customer_id=customer_id, idempotency_key=key) for customer_id in _customer_ids()]
    return events.filter(dedup_key__in=keys)


def number_of_event_id(*, customer_id: str, event_id: str, period: Period) -> int | None:
    """Return the number of a customer's event in a period by the id that its sender gave it; None without one, or of a month that is purged.

    An id is no key: of several events with it, the first accepted is meant.
    """
    if not is_storable(event_id):
        return None
    events = UsageEvent.objects.filter(customer_id=customer_id, timestamp__gte=period.start, timestamp__lt=period.end)
    return events.filter(event_id=event_id).order_by("pk").values_list("pk", flat=True).first()


def _customer_ids() -> list[str]:
    """Return the customers of all events by jumping from one to the next in the index: as many steps as customers."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH RECURSIVE customers AS (
                (SELECT customer_id FROM metering_usageevent ORDER BY customer_id LIMIT 1)
                UNION ALL
                SELECT following.customer_id FROM customers CROSS JOIN LATERAL (
                    SELECT e.customer_id FROM metering_usageevent e WHERE e.customer_id > customers.customer_id
                    ORDER BY e.customer_id LIMIT 1
                ) AS following
            )
            SELECT customer_id FROM customers
            """
        )
        return [row[0] for row in cursor.fetchall()]
