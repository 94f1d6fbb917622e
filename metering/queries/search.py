"""Find events by an idempotency key alone, whoever sent it."""

from django.db import connection
from django.db.models import QuerySet

from metering.ingest import dedup_key
from metering.models import UsageEvent


def events_with_key(*, events: "QuerySet[UsageEvent]", key: str) -> "QuerySet[UsageEvent]":
    """Return the events with this idempotency key, whoever sent them; quick however many events there are."""
    keys = [dedup_key(customer_id=customer_id, idempotency_key=key) for customer_id in _customer_ids()]
    return events.filter(dedup_key__in=keys)


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
