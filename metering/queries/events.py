"""The life of an event: accepted, waiting or counted or listed, contradicted, cancelled, replaced."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from django.db import connection
from django.db.models import TextField
from django.db.models.functions import Cast

from billing_site.kernel.errors import NotFound
from metering.core.decoding import decode_json
from metering.counting import (
    COUNTED_VALUE,
    GROUPING,
    HAS_VALUE,
    HOUR_OF_EVENT,
    IS_COUNTED,
    IS_IN_EFFECT,
    PASSES_FILTERS,
)
from metering.models import EventCancellation, EventConflict, Meter, UnappliedReason, UsageEvent, UsageWindow
from metering.queries.chains import EventChain, chain_of

MeterState = Literal["waiting", "applied", "cancelled", "before_meter", "filtered_out", "no_value"]
EventState = Literal[
    "waiting", "applied", "cancelled", "replaced", "no_meter", "before_meter", "filtered_out", "no_value"
]

# What an event's state means, as a sentence begins after its pill.
STATES: dict[str, str] = {
    "applied": "it is in a window",
    "waiting": "accepted, and counted at the next rollup",
    "cancelled": "it counts no more",
    "replaced": "another event counts in its place",
    **{reason.value: str(reason.label) for reason in UnappliedReason},
}

# For an event `e`. A meter that counts it beats one that does not; the list is complete up to `listed_up_to`.
STATE_OF_EVENT = f"""(CASE
    WHEN (SELECT c.replacement_number IS NULL FROM metering_eventcancellation c WHERE c.event_number = e.id) THEN 'cancelled'
    WHEN EXISTS (SELECT FROM metering_eventcancellation c WHERE c.event_number = e.id) THEN 'replaced'
    WHEN EXISTS (SELECT FROM metering_meter m WHERE m.event_type = e.event_type AND e.id <= m.rolled_up_to
                    AND {IS_COUNTED}) THEN 'applied'
    WHEN EXISTS (SELECT FROM metering_meter m WHERE m.event_type = e.event_type AND {IS_COUNTED})
      OR e.id > COALESCE((SELECT max(p.listed_up_to) FROM metering_rollupprogress p), 0) THEN 'waiting'
    ELSE COALESCE((SELECT min(u.reason) FROM metering_unappliedevent u WHERE u.number = e.id), 'waiting')
END)"""


@dataclass(frozen=True)
class MeterPart:
    """What one meter makes of an event: its state, and where it is or will be counted."""

    meter: Meter
    state: MeterState
    hour: datetime
    grouping: str
    counted: Decimal | None
    window: UsageWindow | None


@dataclass(frozen=True)
class EventLife:
    """Everything that happened to an event, from its acceptance on; `properties` hold no float."""

    event: UsageEvent
    properties: dict[str, Any]
    properties_text: str
    state: EventState
    parts: tuple[MeterPart, ...]
    chain: EventChain
    conflicts: tuple[EventConflict, ...]

    @property
    def cancellation(self) -> EventCancellation | None:
        """By what the event counts no more, if anything."""
        return self.chain.cancellations.get(self.event.pk)

    @property
    def replaced_by(self) -> int | None:
        """The number of the event that counts in its place, if there is one."""
        return self.cancellation.replacement_number if self.cancellation else None

    @property
    def replaces(self) -> EventCancellation | None:
        """The correction by which this event came in the place of another, if it did."""
        for one in self.chain.cancellations.values():
            if one.replacement_number == self.event.pk:
                return one
        return None


def event_life(*, number: int) -> EventLife:
    """Return what became of an event; raises NotFound for a number that no present event has."""
    event = UsageEvent.objects.annotate(properties_text=Cast("properties", TextField())).filter(pk=number).first()
    if event is None:
        raise NotFound(f"there is no event {number}, or its month is archived", field="number")
    chain = chain_of(number=number)
    cancelled = number in chain.cancellations
    return EventLife(
        event=event,
        properties=decode_json(event.properties_text.encode()),
        properties_text=event.properties_text,
        state=states_of(numbers=[number])[number],
        parts=tuple(_parts(number, cancelled=cancelled)),
        chain=chain,
        conflicts=tuple(EventConflict.objects.filter(dedup_key=event.dedup_key).order_by("id")),
    )


def states_of(*, numbers: Sequence[int]) -> dict[int, EventState]:
    """Return the states of events by their numbers, in one statement; numbers without an event are left out."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT e.id, {STATE_OF_EVENT} FROM metering_usageevent e WHERE e.id = ANY(%s)", [list(numbers)]
        )
        return dict(cursor.fetchall())


def _parts(number: int, *, cancelled: bool) -> list[MeterPart]:
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT m.id, {HOUR_OF_EVENT}, {GROUPING}, {COUNTED_VALUE}, w.id,
                   CASE WHEN NOT {IS_IN_EFFECT} THEN 'before_meter' WHEN NOT {PASSES_FILTERS} THEN 'filtered_out'
                        WHEN NOT {HAS_VALUE} THEN 'no_value' WHEN e.id > m.rolled_up_to THEN 'waiting' ELSE 'applied' END
            FROM metering_usageevent e JOIN metering_meter m ON m.event_type = e.event_type
            LEFT JOIN metering_usagewindow w ON w.meter_id = m.id AND w.customer_id = e.customer_id
                AND w.start = {HOUR_OF_EVENT} AND w.grouping = {GROUPING}
            WHERE e.id = %s ORDER BY m.key
            """,
            [number],
        )
        rows = cursor.fetchall()
    meters = Meter.objects.in_bulk([row[0] for row in rows])
    windows = UsageWindow.objects.in_bulk([row[4] for row in rows if row[4] is not None])
    return [
        MeterPart(
            meter=meters[meter],
            state="cancelled" if cancelled and state in ("waiting", "applied") else state,
            hour=hour,
            grouping=grouping,
            counted=counted if state in ("waiting", "applied") else None,
            window=windows.get(window),
        )
        for meter, hour, grouping, counted, window, state in rows
    ]
