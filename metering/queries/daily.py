"""What many customers used by day, at once: one read of the windows, each customer's days where it is."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.db import connection

# Of these the hours of a day add up to it, whatever the levels before.
_ADDITIVE = ("sum", "count")
_DAILY = """
    SELECT w.customer_id, m.key, (w.start AT TIME ZONE given.zone)::date AS day, sum(w.value)
    FROM unnest(%(customers)s::text[], %(zones)s::text[]) AS given(customer, zone)
    JOIN metering_usagewindow w ON w.customer_id = given.customer AND w.start >= %(start)s AND w.start < %(end)s
    JOIN metering_meter m ON m.id = w.meter_id AND m.aggregation = ANY(%(additive)s)
    GROUP BY w.customer_id, m.key, day
"""


def usage_by_day_of_many(
    *, zones: Mapping[str, str], start: datetime, end: datetime
) -> dict[tuple[str, str], dict[date, Decimal]]:
    """Return by customer and meter what was counted on each local date; dates without usage are left out. Roll up first.

    `zones` are the customers with their time zones; only meters whose hours add up (sum, count) are read. An hour
    belongs to the date on which it begins; the first and last date may be cut by the bounds.
    """
    found: dict[tuple[str, str], dict[date, Decimal]] = {}
    parameters: dict[str, Any] = {
        "customers": list(zones),
        "zones": list(zones.values()),
        "start": start,
        "end": end,
        "additive": list(_ADDITIVE),
    }
    with connection.cursor() as cursor:
        cursor.execute(_DAILY, parameters)
        for customer, meter, day, quantity in cursor.fetchall():
            found.setdefault((customer, meter), {})[day] = quantity
    return found
