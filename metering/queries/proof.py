"""How a billed quantity is proved: counted again from raw events, as they were known then.

Nothing here reads a window: it is the independent way to the same figure.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection

from billing_site.kernel.period import Period
from metering.counting import COUNTED_VALUE, HOUR_OF_EVENT, IS_COUNTED
from metering.models import Meter
from metering.queries.billing import MeterUsage, usage_of_hours
from metering.queries.usage import meter_by_key

_EVENTS = f"""
    FROM metering_usageevent e JOIN metering_meter m ON m.event_type = e.event_type
    WHERE m.id = %(meter)s AND e.customer_id = %(customer)s
      AND e.timestamp >= %(start)s AND e.timestamp < %(end)s AND {IS_COUNTED}
"""


@dataclass(frozen=True)
class KnownWindow:
    """One hour of a period, counted again; the first may begin within its hour."""

    start: datetime
    value: Decimal
    event_count: int


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
    """Count a period again from its raw events with numbers up to `known_through`; raises NotFound.

    Windows digest and events digest come from the same snapshot. The result equals what
    `billing_usage` said when the meter stood there.
    """
    meter = meter_by_key(key=meter_key)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH known AS MATERIALIZED (
                SELECT e.id, e.dedup_key, {_hour_within_period()} AS start, {COUNTED_VALUE} AS value
                {_EVENTS} AND e.id <= %(known_through)s
            )
            SELECT start, sum(value), count(*), NULL FROM known GROUP BY start
            UNION ALL
            SELECT NULL, NULL, NULL,
                   encode(sha256(COALESCE(string_agg(uuid_send(dedup_key), ''::bytea ORDER BY id), ''::bytea)), 'hex')
            FROM known
            """,
            _parameters(meter, customer_id, period) | {"known_through": known_through},
        )
        rows = cursor.fetchall()
    digests = [row[3] for row in rows if row[0] is None]
    assert len(digests) == 1, "one digest covers all events"
    hours = [(row[0], row[1], row[2]) for row in rows if row[0] is not None]
    return usage_of_hours(hours=hours, known_through=known_through, events_digest=digests[0])


def windows_as_known(*, meter_key: str, customer_id: str, period: Period, known_through: int) -> list[KnownWindow]:
    """Return the hours of a period, counted again from raw events with numbers up to `known_through`."""
    meter = meter_by_key(key=meter_key)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT {_hour_within_period()}, sum({COUNTED_VALUE}), count(*)
            {_EVENTS} AND e.id <= %(known_through)s GROUP BY 1 ORDER BY 1
            """,
            _parameters(meter, customer_id, period) | {"known_through": known_through},
        )
        return [KnownWindow(*row) for row in cursor.fetchall()]


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
            {_EVENTS} AND e.id <= %(known_through)s {beyond if after else ""}
            ORDER BY e.timestamp, e.id LIMIT %(limit)s
            """,
            {
                **_parameters(meter, customer_id, period),
                "known_through": known_through,
                "after_time": after[0] if after else None,
                "after_number": after[1] if after else None,
                "limit": limit,
            },
        )
        return [KnownEvent(*row) for row in cursor.fetchall()]


def late_usage(*, meter_key: str, customer_id: str, period: Period, known_through: int) -> LateUsage:
    """Return what was accepted for a period after it was billed through the event `known_through`."""
    meter = meter_by_key(key=meter_key)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT COALESCE(sum({COUNTED_VALUE}), 0), count(*), min(e.received_at)
            {_EVENTS} AND e.id > %(known_through)s
            """,
            _parameters(meter, customer_id, period) | {"known_through": known_through},
        )
        return LateUsage(*cursor.fetchone())


def _parameters(meter: Meter, customer_id: str, period: Period) -> dict[str, Any]:
    return {"meter": meter.pk, "customer": customer_id, "start": period.start, "end": period.end}


def _hour_within_period() -> str:
    return f"greatest({HOUR_OF_EVENT}, %(start)s)"
