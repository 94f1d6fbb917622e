"""Find events by an idempotency key alone, whoever sent it."""

from collections.abc import Iterable

from django.db import OperationalError, connection, transaction
from django.db.models import F, QuerySet
from psycopg.errors import QueryCanceled

from billing_site.kernel.errors import BillingError
from billing_site.kernel.period import Period
from billing_site.kernel.text import is_storable
from metering.ingest import dedup_key
from metering.models import UsageEvent

# A replacement has the id of what it replaces: so often one is replaced by hand, and more.
SAME_ID_MAX = 10
SEARCH_MILLISECONDS_MAX = 2_000


class LookedTooLong(BillingError):
    """Somebody waits, and what he looks for was not found in time."""


def events_with_key(*, events: "QuerySet[UsageEvent]", key: str) -> "QuerySet[UsageEvent]":
    """Return the events with this idempotency key, whoever sent them; quick however many events there are."""
    keys = [dedup_key(customer_id=customer_id, idempotency_key=key) for customer_id in _customer_ids()]
    return events.filter(dedup_key__in=keys)


@transaction.atomic
def numbers_of_event_id(*, customer_ids: Iterable[str], event_id: str, period: Period) -> list[tuple[str, int]]:
    """Return customer and number of their events in a period that have the id that their sender gave them, the first accepted first; none of months that are purged.

    An id is no key, and what replaces an event has its id: at most SAME_ID_MAX are returned. No index knows ids: raises LookedTooLong
    where the events of the period cannot be looked through while somebody waits.
    """
    if not is_storable(event_id):
        return []
    events = UsageEvent.objects.filter(
        customer_id__in=list(customer_ids), timestamp__gte=period.start, timestamp__lt=period.end, event_id=event_id
    )
    # By an expression: the index of numbers is of everybody's events, and must not be walked for the sake of the order.
    rows = events.order_by(F("pk") + 0).values_list("customer_id", "pk")[:SAME_ID_MAX]
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(SEARCH_MILLISECONDS_MAX)])
        try:
            found = list(rows)
        except OperationalError as problem:
            if isinstance(problem.__cause__, QueryCanceled):
                raise LookedTooLong("there are too many events to look for an id among them") from problem
            raise
        cursor.execute("SET LOCAL statement_timeout TO DEFAULT")
    return found


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
