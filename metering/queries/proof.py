"""How a billed quantity is proved: counted again from raw events, as they were known then.

Nothing here reads a window: it is the independent way to the same figure.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection

from billing_site.kernel.period import Period
from metering.core.aggregation import Stretch, working
from metering.counting import COUNTED_VALUE, IS_COUNTED, known_through, not_cancelled
from metering.models import Meter
from metering.queries.billing import MeterUsage, usage_of
from metering.queries.hours import counted_as_known
from metering.queries.usage import meter_by_key

_OF_PERIOD = """
    FROM metering_usageevent e JOIN metering_meter m ON m.event_type = e.event_type
    WHERE m.id = %(meter)s AND e.customer_id = %(customer)s
      AND e.timestamp >= %(start)s AND e.timestamp < %(end)s
"""
_EVENTS = f"{_OF_PERIOD} AND {known_through('%(known_through)s')}"


@dataclass(frozen=True)
class KnownWindow:
    """One hour of a period, counted again; the first may begin within its hour."""

    start: datetime
    value: Decimal
    event_count: int
    grouping: str = ""


@dataclass(frozen=True)
class KnownEvent:
    """One raw event and what it counts for the meter."""

    number: int
    event_id: str
    idempotency_key: str
    timestamp: datetime
    received_at: datetime
    counted: Decimal
    namespace_id: str


@dataclass(frozen=True)
class LateUsage:
    """Usage of a period that was accepted after it was billed."""

    quantity: Decimal
    event_count: int
    first_received_at: datetime | None


def usage_as_known(*, meter_key: str, customer_id: str, period: Period, known_through: int) -> MeterUsage:
    """Count a period again from its raw events as they were known through a number; raises NotFound.

    The result equals what `billing_usage` said when the meter stood there: an event that was cancelled by a later
    number still counts, and so does one under the effective date of that time. Raises EventsArchived where raw
    events of it are purged.
    """
    meter = meter_by_key(key=meter_key)
    counted = counted_as_known(meter=meter, customer_id=customer_id, period=period, through=known_through)
    return usage_of(counted=counted, meter=meter, customer_id=customer_id)


def windows_as_known(*, meter_key: str, customer_id: str, period: Period, known_through: int) -> list[KnownWindow]:
    """Return the hours of a period, counted again from raw events as they were known through a number."""
    counted = counted_as_known(
        meter=meter_by_key(key=meter_key), customer_id=customer_id, period=period, through=known_through
    )
    return [KnownWindow(hour.start, hour.value, hour.event_count, hour.grouping or "") for hour in counted.hours]


def working_as_known(*, meter_key: str, customer_id: str, period: Period, known_through: int) -> list[Stretch]:
    """Write a time-weighted sum out as it was known: which level was held from when to when; empty for others."""
    meter = meter_by_key(key=meter_key)
    if meter.aggregation != "time_weighted_sum":
        return []
    counted = counted_as_known(meter=meter, customer_id=customer_id, period=period, through=known_through)
    return working(hours=counted.hours, period=period, opening=counted.opening)


def events_as_known(
    *,
    meter_key: str,
    customer_id: str,
    period: Period,
    known_through: int,
    after: tuple[datetime, int] | None = None,
    limit: int = 100,
) -> list[KnownEvent]:
    """Return a page of the raw events behind a billed quantity, in the order of their time.

    The next page begins `after` the last event's (timestamp, number); a page shorter than `limit` is the last.
    """
    assert limit > 0, "a page has rows"
    meter = meter_by_key(key=meter_key)
    beyond = "AND e.timestamp >= %(after_time)s AND (e.timestamp, e.id) > (%(after_time)s, %(after_number)s)"
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT e.id, e.event_id, e.idempotency_key, e.timestamp, e.received_at, {COUNTED_VALUE}, e.namespace_id
            {_EVENTS} {beyond if after else ""}
            ORDER BY e.timestamp, e.id LIMIT %(limit)s
            """,
            {
                **_parameters(meter, customer_id, period, known_through),
                "after_time": after[0] if after else None,
                "after_number": after[1] if after else None,
                "limit": limit,
            },
        )
        return [KnownEvent(*row) for row in cursor.fetchall()]


def late_usage(*, meter_key: str, customer_id: str, period: Period, known_through: int) -> LateUsage:
    """Return what was accepted for a period after it was billed through the number `known_through`, and still counts.

    `quantity` is the sum of what those events count; for other aggregations than sums compare two `usage_as_known`.
    """
    meter = meter_by_key(key=meter_key)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT COALESCE(sum({COUNTED_VALUE}), 0), count(*), min(e.received_at)
            {_OF_PERIOD} AND e.id > %(known_through)s AND {IS_COUNTED} AND {not_cancelled(str(2**63 - 1))}
            """,
            _parameters(meter, customer_id, period, known_through),
        )
        return LateUsage(*cursor.fetchone())


def _parameters(meter: Meter, customer_id: str, period: Period, through: int) -> dict[str, Any]:
    return {
        "meter": meter.pk,
        "customer": customer_id,
        "start": period.start,
        "end": period.end,
        "known_through": through,
    }
