"""Whole hours of many meters and customers, from their windows alone: one statement, however many they are."""

from collections.abc import Sequence
from datetime import datetime

from django.db import connection
from psycopg.abc import Buffer
from psycopg.adapt import Loader

from billing_site.kernel.among import as_array
from billing_site.kernel.period import Period
from metering.archiving.absent import EventsArchived, purged_months_of
from metering.core.aggregation import Hour
from metering.models import Meter
from metering.queries.counted import Counted

# The cursors and the hours are of one moment. Hours are looked up for each that is asked for, whatever PostgreSQL believes of a table
# that has just grown. A period that lacks raw events says so, as it does where one is asked for.
_WINDOWS = """
    WITH asked AS MATERIALIZED (
        SELECT * FROM unnest(%(meters)s::bigint[], %(customers)s::text[], %(starts)s::timestamptz[], %(ends)s::timestamptz[])
            WITH ORDINALITY AS one(meter, customer, first_moment, end_moment, place)
    )
    SELECT 'hour', asked.place, w.start, w.grouping, w.value, w.event_count, w.first_at, w.last_at, w.last_value
    FROM asked CROSS JOIN LATERAL (
        SELECT * FROM metering_usagewindow w WHERE w.meter_id = asked.meter AND w.customer_id = asked.customer
           AND w.start >= asked.first_moment AND w.start < asked.end_moment AND w.event_count > 0 OFFSET 0
    ) AS w
    UNION ALL
    SELECT 'cursor', m.id, NULL, NULL, NULL, m.rolled_up_to, NULL, NULL, NULL
    FROM metering_meter m WHERE m.id = ANY(%(meters)s::bigint[])
    UNION ALL
    SELECT 'archived', asked.place, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    FROM asked WHERE EXISTS (
        SELECT FROM metering_unsettledhour w WHERE w.meter_id = asked.meter AND w.customer_id = asked.customer
           AND w.start < asked.end_moment AND w.start > asked.first_moment - interval '1 hour'
    )
"""


class Moment(Loader):
    """Read what PostgreSQL writes of a moment, in UTC, as each of the product's sessions is; hours come by the thousand."""

    def load(self, data: Buffer) -> datetime:
        """Return the moment that PostgreSQL wrote as text."""
        return datetime.fromisoformat(str(data, "ascii"))


def counted_in_windows(*, spans: Sequence[tuple[Meter, str, Period]]) -> list[Counted]:
    """Count periods that begin and end with whole hours, up to each meter's cursor.

    Raises EventsArchived where windows of one cannot be right without raw events that are purged.
    """
    if not spans:
        return []
    with connection.cursor() as cursor:
        cursor.cursor.adapters.register_loader("timestamptz", Moment)
        cursor.execute(
            _WINDOWS,
            {
                "meters": as_array(meter.pk for meter, _, _ in spans),
                "customers": as_array(customer for _, customer, _ in spans),
                "starts": as_array(period.start for _, _, period in spans),
                "ends": as_array(period.end for _, _, period in spans),
            },
        )
        rows = cursor.fetchall()
    through: dict[int, int] = {}
    hours: dict[int, list[Hour]] = {}
    for kind, place, *hour in rows:
        if kind == "archived":
            raise EventsArchived(purged_months_of(period=spans[place - 1][2]))
        if kind == "cursor":
            through[place] = hour[3]
        else:
            hours.setdefault(place, []).append(Hour(*hour))
    return [
        Counted(
            aggregation=meter.aggregation,
            period=period,
            hours=tuple(sorted(hours.get(place, ()), key=lambda hour: (hour.start, hour.grouping or ""))),
            through=through[meter.pk],
        )
        for place, (meter, _, period) in enumerate(spans, start=1)
    ]
