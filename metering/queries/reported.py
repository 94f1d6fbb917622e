"""What one meter counted for a customer, hour by hour or event by event, where something has changed since it was looked at last."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.models import Q, Sum

from billing_site.kernel.period import Period, as_utc
from metering.counting import COUNTED_VALUE, HAS_VALUE, PASSES_FILTERS, in_effect_as_known, not_cancelled
from metering.models import Meter, UsageWindow

_EVENTS = f"""
    SELECT e.id, e.timestamp, e.idempotency_key,
           CASE WHEN {HAS_VALUE} AND {PASSES_FILTERS} AND {in_effect_as_known("%(through)s")}
                     AND {not_cancelled("%(through)s")}
                THEN {COUNTED_VALUE} ELSE 0 END
    FROM metering_usageevent e JOIN metering_meter m ON m.event_type = e.event_type
    WHERE m.id = %(meter)s AND e.customer_id = %(customer)s AND e.id <= %(through)s
      AND e.timestamp >= %(start)s AND e.timestamp < %(end)s
"""
_CHANGED = """
    (e.id > %(after)s OR e.id IN (
        SELECT c.event_number FROM metering_eventcancellation c
        WHERE c.customer_id = %(customer)s AND c.number > %(after)s AND c.number <= %(through)s
    ))
"""


@dataclass(frozen=True)
class CountedEvent:
    """What one event counts for a meter: nothing where it was cancelled, or the meter does not count it."""

    number: int
    timestamp: datetime
    idempotency_key: str
    value: Decimal


def hours_changed(
    *, meter: Meter, customer_id: str, period: Period, after: int, since: datetime
) -> dict[datetime, Decimal]:
    """Return the value of each hour in a period that an event beyond the number `after` touched, or that begins from `since` on.

    An hour of which nothing counts any more is 0. For meters whose windows add up: sum and count.
    """
    windows = UsageWindow.objects.filter(
        meter=meter, customer_id=customer_id, start__gte=period.start, start__lt=period.end
    )
    touched = windows.filter(Q(last_event__gt=after) | Q(start__gte=since)).values("start")
    summed = windows.filter(start__in=touched).values("start").annotate(counted=Sum("value")).order_by("start")
    return {as_utc(row["start"]): row["counted"] for row in summed}


def hours_of(*, meter: Meter, customer_id: str, period: Period) -> dict[datetime, Decimal]:
    """Return the value of every hour of a period that has a window."""
    return hours_changed(meter=meter, customer_id=customer_id, period=period, after=-1, since=period.start)


def events_changed(*, meter: Meter, customer_id: str, period: Period, after: int, through: int) -> list[CountedEvent]:
    """Return the events of a period that were accepted or cancelled under the numbers `(after, through]`, as known then."""
    return _events(meter, customer_id, period, _CHANGED, after=after, through=through)


def events_numbered(*, meter: Meter, customer_id: str, period: Period, numbers: Sequence[int]) -> list[CountedEvent]:
    """Return what events of a period count up to the meter's cursor, by their numbers."""
    return _events(
        meter, customer_id, period, "e.id = ANY(%(numbers)s)", numbers=list(numbers), through=meter.rolled_up_to
    )


def _events(meter: Meter, customer_id: str, period: Period, condition: str, **given: Any) -> list[CountedEvent]:
    asked: dict[str, Any] = {"meter": meter.pk, "customer": customer_id, "start": period.start, "end": period.end}
    with connection.cursor() as cursor:
        cursor.execute(f"{_EVENTS} AND {condition} ORDER BY e.id", asked | given)
        return [CountedEvent(number, as_utc(at), key, value) for number, at, key, value in cursor.fetchall()]
