"""What is not in the database any more: purged months, and which questions need them back."""

from collections.abc import Iterable
from datetime import UTC, datetime

from django.db import connection
from django.db.models import Max

from billing_site.kernel.errors import Conflict
from billing_site.kernel.period import Period
from metering.core.definition import AGGREGATIONS
from metering.models import EventArchive, UnsettledHour

# Of these an hour's archived part is added to what is counted again; of the others nothing can be taken apart.
ADDITIVE = ("sum", "count", "average")
assert set(ADDITIVE) < set(AGGREGATIONS)

IS_PURGED = "(a.purged_at IS NOT NULL AND a.restored_at IS NULL)"


class EventsArchived(Conflict):
    """The answer needs raw events that are archived and purged; `months` are those to restore, such as 2025-03."""

    code = "events_archived"

    def __init__(self, months: Iterable[str]) -> None:
        self.months = tuple(months)
        orders = ", ".join(f"manage.py restore_events --month {month}" for month in self.months)
        super().__init__(f"archived, restore to prove: raw events are in the archive only ({orders})")


def was_purged(*, received_at: str) -> str:
    """Return SQL for: an event received at that moment (SQL) is in the archive only."""
    return (
        f"EXISTS (SELECT FROM metering_eventarchive a WHERE a.day = ({received_at} AT TIME ZONE 'UTC')::date"
        f" AND {IS_PURGED})"
    )


def purged_months_of(*, period: Period) -> list[str]:
    """Return the purged months with events that happened in a period, or before it where none did: 2025-03."""
    purged = EventArchive.objects.filter(purged_at__isnull=False, restored_at__isnull=True, first_at__lt=period.end)
    days = purged.filter(last_at__gte=period.start).values_list("day", flat=True) or purged.values_list(
        "day", flat=True
    )
    return sorted({f"{day:%Y-%m}" for day in days})


def purged_until() -> datetime | None:
    """Return when the latest event that is purged happened: a meter that began earlier could not count all; None without.

    Of any type: which types a purged month held only its files say.
    """
    newest = EventArchive.objects.filter(purged_at__isnull=False, restored_at__isnull=True).aggregate(
        newest=Max("last_at")
    )["newest"]
    return None if newest is None else newest.astimezone(UTC)


# The parts of a question about one meter and customer that tell whether raw hours are missing; they belong into the
# statement that reads the hours, so that no purge comes between. The names are those of metering.queries.hours.
_HERE = "w.meter_id = %(meter)s AND w.customer_id = %(customer)s"
ARCHIVED_SPANS = f"""
    SELECT FROM unnest(%(span_starts)s::timestamptz[], %(span_ends)s::timestamptz[]) AS span(first_moment, end_moment)
    JOIN metering_usagewindow w ON {_HERE} AND w.archived_count > 0
        AND w.start > span.first_moment - interval '1 hour' AND w.start < span.end_moment
"""
# A cancelled event is in no window, and yet somebody knew it.
ARCHIVED_CANCELLED = f"""
    SELECT FROM metering_eventcancellation c JOIN metering_eventarchive a
        ON c.event_number BETWEEN a.first_number AND a.last_number AND {IS_PURGED}
    WHERE c.customer_id = %(customer)s AND c.event_number <= %(through)s AND c.number > %(through)s
      AND a.first_at < %(end)s AND (a.last_at >= %(start)s OR %(carries)s)
"""
# The level at the start of a period comes from the newest hour before it.
ARCHIVED_OPENING = f"""
    SELECT FROM metering_usagewindow w
    WHERE %(carries)s AND {_HERE} AND w.archived_count > 0 AND w.start < %(start)s AND NOT EXISTS (
        SELECT FROM metering_usagewindow n
        WHERE n.meter_id = w.meter_id AND n.customer_id = w.customer_id AND n.grouping = w.grouping
          AND n.start > w.start AND n.start + interval '1 hour' <= %(start)s
          AND n.archived_count = 0 AND n.event_count > 0 AND n.last_event <= COALESCE(%(through)s, n.last_event)
    )
"""
UNSETTLED = f"""
    SELECT FROM metering_unsettledhour w WHERE {_HERE} AND w.start < %(end)s
      AND (w.start > %(start)s::timestamptz - interval '1 hour' OR %(carries)s)
"""


def settled_hours(*, hours: list[tuple[object, ...]], number: int) -> list[tuple[object, ...]]:
    """Return those of (meter, customer, start, grouping) that can be counted again from raw events; list the others.

    Asked for aggregations where what is archived cannot be added.
    """
    if not hours:
        return []
    meters, customers, starts, groupings = (list(column) for column in zip(*hours, strict=True))
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH archived AS (
                SELECT w.meter_id, w.customer_id, w.start, w.grouping
                FROM unnest(%s::bigint[], %s::text[], %s::timestamptz[], %s::text[])
                    AS h(meter_id, customer_id, start, grouping)
                JOIN metering_usagewindow w ON (w.meter_id, w.customer_id, w.start, w.grouping)
                    = (h.meter_id, h.customer_id, h.start, h.grouping) AND w.archived_count > 0
            ), listed AS (
                INSERT INTO metering_unsettledhour AS known (meter_id, customer_id, start, grouping, number)
                SELECT meter_id, customer_id, start, grouping, %s FROM archived
                ON CONFLICT (meter_id, customer_id, start, grouping) DO UPDATE SET number = excluded.number
            )
            SELECT meter_id, customer_id, start, grouping FROM archived
            """,
            [meters, customers, starts, groupings, number],
        )
        archived = set(cursor.fetchall())
    return [hour for hour in hours if tuple(hour) not in archived]


def unsettled_hours() -> int:
    """Return how many hours wait for the restore of a month before they can be counted again."""
    return UnsettledHour.objects.count()
