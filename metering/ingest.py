"""Accept usage events: each idempotency key of a customer once, whoever sends it how often."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from django.db import Error, IntegrityError, connection, transaction

from billing_site.kernel.text import is_storable
from metering.conflicts import Conflict, list_conflicts
from metering.core.parsing import Event
from metering.models.events import INGEST_LOCK, MONTH_IS_NOT_OPEN, KnownKey, UsageEvent
from metering.partitions import open_present_month

ATTEMPTS = 5
DEADLOCK = "40P01"


@dataclass(frozen=True)
class Receipt:
    """What became of a batch: events that are new and committed, repetitions, and those that contradict an accepted one."""

    accepted: int
    duplicates: int
    conflicts: tuple[Conflict, ...] = ()

    def __add__(self, other: "Receipt") -> "Receipt":
        return Receipt(
            self.accepted + other.accepted, self.duplicates + other.duplicates, self.conflicts + other.conflicts
        )


_encoder = msgspec.json.Encoder(decimal_format="number")

_COLUMNS = (
    "dedup_key, event_id, idempotency_key, event_type, customer_id, timestamp, quantity, namespace_id, properties"
)
_COPY = f"COPY metering_usageevent ({_COLUMNS}) FROM STDIN"
_COPY_NUMBERED = f"COPY metering_usageevent (id, {_COLUMNS}) FROM STDIN"

# The keys of closed months are asked for row by row (a scalar subquery is one probe of an index, whatever the
# planner thinks); the open month's own index decides about the rest.
_INSERT_UNKNOWN = f"""
    INSERT INTO metering_usageevent (id, {_COLUMNS})
    SELECT COALESCE((%s::bigint[])[place + 1], nextval('metering_usageevent_id_seq')), k, e, i, t, c, at, q, n, p
    FROM jsonb_to_recordset(%s::jsonb) AS given(
        k uuid, e text, i text, t text, c text, at timestamptz, q numeric, n text, p jsonb, place int
    )
    WHERE (SELECT TRUE FROM metering_knownkey known WHERE known.dedup_key = given.k LIMIT 1) IS NULL
      AND (SELECT TRUE FROM metering_usageevent stored WHERE stored.dedup_key = given.k LIMIT 1) IS NULL
    ON CONFLICT DO NOTHING
"""


def accept_events(*, events: Sequence[Event]) -> Receipt:
    """Store events in one transaction; a key seen before, or earlier in the batch, is not stored again (S0-110, S0-111).

    A repetition with the same content (type, quantity, namespace, properties) is a duplicate, whatever its
    timestamp; one with another content is a conflict, which is listed. When this returns outside of a
    transaction, what it counts as accepted is committed.
    """
    if not events:
        return Receipt(0, 0)
    keys = [dedup_key(customer_id=event.customer_id, idempotency_key=event.idempotency_key) for event in events]
    # Concurrent batches with common keys wait for each other in the same order, so they cannot deadlock.
    # The sort is stable: of equal keys the first in the batch wins.
    order = sorted(range(len(events)), key=keys.__getitem__)
    if len(set(keys)) == len(keys) and _copy_new(events, keys, order):
        return Receipt(accepted=len(events), duplicates=0)
    return _insert_unknown(events, keys, order)


def dedup_key(*, customer_id: str, idempotency_key: str) -> str:
    """Return what makes an event unique, as the digits of a UUID: half of SHA-256 over customer, NUL, idempotency key."""
    return hashlib.sha256(f"{customer_id}\x00{idempotency_key}".encode()).hexdigest()[:32]


def number_of_key(*, customer_id: str, idempotency_key: str) -> int | None:
    """Return the number of the event that was accepted with a key, also of a month that is purged; None without one."""
    if not is_storable(idempotency_key):
        return None
    key = dedup_key(customer_id=customer_id, idempotency_key=idempotency_key)
    found = UsageEvent.objects.filter(dedup_key=key).values_list("pk", flat=True).first()
    return found or KnownKey.objects.filter(dedup_key=key).values_list("number", flat=True).first()


def _copy_new(events: Sequence[Event], keys: list[str], order: list[int]) -> bool:
    """Store a batch of new events at the cost of a COPY; False, and nothing stored, where one of the keys is known."""
    lines = [_line(keys[place], events[place]) for place in order]
    is_ordered = _order_matters(events)
    for _ in range(ATTEMPTS):
        try:
            with transaction.atomic(), connection.cursor() as cursor, connection.wrap_database_errors:
                if is_ordered:
                    numbers = _draw_numbers(len(events))
                    given = [f"{numbers[place]}\t{line}" for place, line in zip(order, lines, strict=True)]
                else:
                    given = lines
                with cursor.copy(_COPY_NUMBERED if is_ordered else _COPY) as copy:
                    copy.write("".join(given))
            return True
        except IntegrityError as refused:
            if not _means_closed_month(refused):
                return False
        except Error as refused:
            if _means_deadlock(refused):
                continue
            if not _means_closed_month(refused):
                raise
        open_present_month()
    return False


def _order_matters(events: Sequence[Event]) -> bool:
    """Say whether two events of a batch share customer, type and time: of these the one that is stated later holds."""
    return len({(event.timestamp, event.customer_id, event.event_type) for event in events}) < len(events)


def _draw_numbers(count: int) -> list[int]:
    """Draw numbers for a batch in its own order; rows are written in the order of their keys.

    The ingest lock comes first: a rollup does not pass a number that is drawn and not committed.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", [INGEST_LOCK])
        cursor.execute("SELECT nextval('metering_usageevent_id_seq') FROM generate_series(1, %s)", [count])
        return sorted(number for (number,) in cursor.fetchall())


def _insert_unknown(events: Sequence[Event], keys: list[str], order: list[int]) -> Receipt:
    """Store the events of a batch whose keys are new, and tell repetitions from contradictions."""
    is_ordered = _order_matters(events)
    rows = _encoder.encode([_row(keys[place], events[place], place) for place in order]).decode()
    for attempt in range(ATTEMPTS):
        try:
            with transaction.atomic():
                numbers = _draw_numbers(len(events)) if is_ordered else []
                with connection.cursor() as cursor:
                    cursor.execute(_INSERT_UNKNOWN, [numbers, rows])
                    accepted = cursor.rowcount
                conflicts = list_conflicts(rows=rows) if accepted < len(events) else ()
            break
        except Error as refused:
            # A month was closed, or another batch committed, between what this statement saw and its end.
            is_passing = isinstance(refused, IntegrityError) or _means_closed_month(refused) or _means_deadlock(refused)
            if attempt == ATTEMPTS - 1 or not is_passing:
                raise
            open_present_month()
    assert 0 <= accepted + len(conflicts) <= len(events), "a batch cannot store more events than it has"
    return Receipt(accepted, len(events) - accepted - len(conflicts), conflicts)


def _means_closed_month(refused: Error) -> bool:
    """Say whether the month of receipt has no partition yet, or is not the open one."""
    diagnostic = getattr(refused.__cause__, "diag", None)
    if diagnostic is None:
        return False
    # Only the missing partition is a check violation that names no constraint.
    return diagnostic.sqlstate == MONTH_IS_NOT_OPEN or (
        diagnostic.sqlstate == "23514" and not diagnostic.constraint_name
    )


def _means_deadlock(refused: Error) -> bool:
    """Say whether PostgreSQL chose this batch to end a deadlock: batches do not make one, a transaction of several may."""
    return getattr(getattr(refused.__cause__, "diag", None), "sqlstate", None) == DEADLOCK


def _line(key: str, event: Event) -> str:
    """Return an event as a row in PostgreSQL's text format."""
    text = f"{event.event_id}\t{event.idempotency_key}\t{event.event_type}\t{event.customer_id}\t"
    namespace_id = event.namespace_id
    # Four tabs are ours; a text without control characters and backslashes stands for itself.
    if "\\" in text or "\\" in namespace_id or not text.replace("\t", "").isprintable() or text.count("\t") != 4:
        text = "".join(
            f"{_escaped(part)}\t"
            for part in (event.event_id, event.idempotency_key, event.event_type, event.customer_id)
        )
    if not namespace_id.isprintable() or "\\" in namespace_id:
        namespace_id = _escaped(namespace_id)
    # JSON has no raw control characters.
    properties = _encoder.encode(event.properties).decode().replace("\\", "\\\\") if event.properties else "{}"
    return f"{key}\t{text}{event.timestamp.isoformat()}\t{event.quantity}\t{namespace_id}\t{properties}\n"


_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES)


def _row(key: str, event: Event, place: int) -> dict[str, Any]:
    return {
        "k": key,
        "e": event.event_id,
        "i": event.idempotency_key,
        "t": event.event_type,
        "c": event.customer_id,
        "at": event.timestamp,
        "q": event.quantity,
        "n": event.namespace_id,
        "p": event.properties,
        "place": place,
    }
