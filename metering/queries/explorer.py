"""Find events among very many: each page is a bounded walk along an index, never a count or a scan.

What no index answers (a state, an event id, a time without a customer) is looked for in the newest events, as many as
one page may cost; the page says how far it looked, and goes on from there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from metering.models import UnappliedReason, UsageEvent
from metering.queries.control import PAIRS
from metering.queries.events import STATE_OF_EVENT, EventState
from metering.queries.search import events_with_key

PAGE = 50
# So many rows a page may look at (of a list that has the state itself fewer), and so many pairs of customer and type.
WALK = 20_000
LISTED_WALK = 1_000
PAIRS_MAX = 500
# Along so many pairs the walk may leave rows out: it looks at that many times as much.
PAIRS_FILTERED_MAX = 10
NUMBER_MAX = 2**63 - 1
CORRECTED = ("cancelled", "replaced")
_COLUMNS = "e.id, e.timestamp, e.received_at, e.customer_id, e.event_type, e.event_id"


@dataclass(frozen=True)
class EventQuestion:
    """What somebody looks for. Times are half-open; `before` is where the page before this one ended."""

    customer_id: str = ""
    event_type: str = ""
    event_id: str = ""
    happened_from: datetime | None = None
    happened_before: datetime | None = None
    received_from: datetime | None = None
    received_before: datetime | None = None
    state: str = ""
    before: tuple[datetime, int] | None = None

    @property
    def filters(self) -> bool:
        """Say whether rows on the way may be left out, so that a page may look at more than it shows."""
        return bool(self.event_id or self.state or self.received_from or self.received_before)

    @property
    def leaves_out(self) -> bool:
        """Say whether a walk in the order of acceptance may leave rows out."""
        return self.filters or bool(self.customer_id or self.event_type or self.happened_from or self.happened_before)


@dataclass(frozen=True)
class FoundEvent:
    """One event of the list with its state."""

    event: UsageEvent
    state: EventState


@dataclass(frozen=True)
class EventPage:
    """A page of events; `by_time` says whether they are ordered by when they happened, or by their acceptance.

    `next` is where the next page begins, None at the end. `looked_back_to` is set where the page ends because it has
    looked at as many events as a page may: there may be more.
    """

    events: tuple[FoundEvent, ...]
    by_time: bool
    next: tuple[datetime, int] | None = None
    looked_back_to: datetime | None = None


def events_by_term(*, term: str) -> EventPage | None:
    """Return the events with this number or idempotency key, whoever sent them; None where there are none."""
    if not term or "\x00" in term:
        return None
    try:
        term.encode()
    except UnicodeEncodeError:
        return None
    numbers = list(events_with_key(events=UsageEvent.objects.all(), key=term).values_list("id", flat=True)[:PAGE])
    if term.isascii() and term.isdigit() and len(term) < 19:
        numbers += UsageEvent.objects.filter(pk=int(term)).values_list("id", flat=True)
    return EventPage(events=_found(sorted(set(numbers), reverse=True)), by_time=False) if numbers else None


def find_events(*, question: EventQuestion) -> EventPage:
    """Return a page of events, newest first: of a customer or a type by their time, others by their acceptance."""
    if question.state in CORRECTED or question.state in UnappliedReason.values:
        return _walk(question, _listed(question), by_time=False, walk=LISTED_WALK)
    if question.state != "waiting" and (question.customer_id or question.event_type):
        pairs = _pairs(question)
        if pairs is not None and (len(pairs) <= PAIRS_FILTERED_MAX or not question.filters):
            walk = WALK if question.filters else PAGE + 1
            return _walk(question, _along_pairs(question), by_time=True, walk=walk, pairs=pairs)
    return _walk(question, _along_numbers(question), by_time=False, walk=WALK if question.leaves_out else PAGE + 1)


def is_customer_of_events(*, customer_id: str) -> bool:
    """Say whether any event names this customer."""
    return "\x00" not in customer_id and UsageEvent.objects.filter(customer_id=customer_id).exists()


def _walk(
    question: EventQuestion, source: str, *, by_time: bool, walk: int, pairs: Sequence[tuple[str, str]] = ()
) -> EventPage:
    """Look at no more than `walk` rows of `source` (the events as `_COLUMNS`), keep those that fit, newest first."""
    order = "timestamp DESC, id DESC" if by_time else "id DESC"
    low, high = _numbers_received(question) if not by_time else (0, NUMBER_MAX)
    parameters: dict[str, Any] = {
        "customer": question.customer_id,
        "type": question.event_type,
        "event_id": question.event_id,
        "happened_from": question.happened_from,
        "happened_before": question.happened_before,
        "received_from": question.received_from,
        "received_before": question.received_before,
        "state": question.state,
        "before_at": question.before[0] if question.before else None,
        "before_number": question.before[1] if question.before else NUMBER_MAX,
        "low": low,
        "high": high,
        "walk": walk,
        "shown": PAGE + 1,
        "customers": [customer for customer, _ in pairs],
        "types": [event_type for _, event_type in pairs],
    }
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH walked AS MATERIALIZED ({source}),
            kept AS (SELECT w.id, w.timestamp FROM walked w WHERE {_conditions(question)} ORDER BY {order} LIMIT %(shown)s),
            last AS (SELECT id, timestamp, received_at FROM walked ORDER BY {order.replace("DESC", "ASC")} LIMIT 1)
            SELECT (SELECT array_agg(id ORDER BY {order}) FROM kept), (SELECT count(*) FROM walked),
                   last.id, last.timestamp, last.received_at
            FROM (SELECT) AS one LEFT JOIN last ON TRUE
            """,
            parameters,
        )
        kept, walked, last_number, last_at, last_received_at = cursor.fetchone()
    events = _found((kept or [])[:PAGE])
    if len(kept or []) > PAGE:
        last = events[-1].event
        return EventPage(events, by_time, next=(last.timestamp, last.pk))
    if walked >= walk:
        back_to = last_at if by_time else last_received_at
        return EventPage(events, by_time, next=(last_at, last_number), looked_back_to=back_to)
    return EventPage(events, by_time)


def _conditions(question: EventQuestion) -> str:
    """Return SQL for what an event `w` of the walk must meet; its state is asked last, by its number."""
    wanted = {
        "w.customer_id = %(customer)s": question.customer_id,
        "w.event_type = %(type)s": question.event_type,
        "w.event_id = %(event_id)s": question.event_id,
        "w.timestamp >= %(happened_from)s": question.happened_from,
        "w.timestamp < %(happened_before)s": question.happened_before,
        "w.received_at >= %(received_from)s": question.received_from,
        "w.received_at < %(received_before)s": question.received_before,
        f"(SELECT {STATE_OF_EVENT} FROM metering_usageevent e WHERE e.id = w.id LIMIT 1) = %(state)s": question.state,
    }
    return " AND ".join(["TRUE", *(condition for condition, value in wanted.items() if value)])


def _along_numbers(question: EventQuestion) -> str:
    """Walk back in the order of acceptance; what waits is newer than the slowest cursor."""
    newest = (
        """AND e.id > least((SELECT min(m.rolled_up_to) FROM metering_meter m),
                            (SELECT COALESCE(max(p.listed_up_to), 0) FROM metering_rollupprogress p))"""
        if question.state == "waiting"
        else ""
    )
    return f"""
        SELECT {_COLUMNS} FROM metering_usageevent e
        WHERE e.id < %(before_number)s AND e.id <= %(high)s AND e.id >= %(low)s {newest}
        ORDER BY e.id DESC LIMIT %(walk)s
    """


def _along_pairs(question: EventQuestion) -> str:
    """Walk back in the order of time, along the index of each customer and type."""
    bounds = "".join(
        (
            "AND (e.timestamp, e.id) < (%(before_at)s, %(before_number)s) AND e.timestamp <= %(before_at)s "
            if question.before
            else "",
            "AND e.timestamp >= %(happened_from)s " if question.happened_from else "",
            "AND e.timestamp < %(happened_before)s" if question.happened_before else "",
        )
    )
    return f"""
        SELECT {_COLUMNS}
        FROM unnest(%(customers)s::text[], %(types)s::text[]) AS pair(customer_id, event_type)
        CROSS JOIN LATERAL (
            SELECT {_COLUMNS} FROM metering_usageevent e
            WHERE e.customer_id = pair.customer_id AND e.event_type = pair.event_type {bounds}
            ORDER BY e.timestamp DESC, e.id DESC LIMIT %(walk)s
        ) AS e
        ORDER BY e.timestamp DESC, e.id DESC LIMIT %(walk)s
    """


def _listed(question: EventQuestion) -> str:
    """Walk back along the list of cancellations, or of unapplied events, that has the state."""
    if question.state in CORRECTED:
        found, table = "l.event_number", "metering_eventcancellation"
        condition = f"l.replacement_number IS {'' if question.state == 'cancelled' else 'NOT '}NULL"
        # The list is in the order of cancellation; the page is in that of the events.
        order = "l.event_number"
    else:
        found, table, condition, order = "l.number", "metering_unappliedevent", "l.reason = %(state)s", "l.number"
        if question.event_type:
            condition += " AND l.event_type = %(type)s"
    if question.customer_id:
        condition += " AND l.customer_id = %(customer)s"
    return f"""
        SELECT {_COLUMNS}
        FROM (SELECT {found} AS number FROM {table} l
              WHERE {condition} AND {order} < %(before_number)s AND {order} <= %(high)s AND {order} >= %(low)s
              ORDER BY {order} DESC LIMIT %(walk)s) AS l
        CROSS JOIN LATERAL (SELECT {_COLUMNS} FROM metering_usageevent e WHERE e.id = l.number LIMIT 1) AS e
    """


def _pairs(question: EventQuestion) -> list[tuple[str, str]] | None:
    """Return the customers and types that the question is about; None where they are too many to walk along each."""
    with connection.cursor() as cursor:
        if question.customer_id and question.event_type:
            return [(question.customer_id, question.event_type)]
        if question.customer_id:
            cursor.execute(
                f"WITH RECURSIVE {_PAIRS_OF_CUSTOMER} SELECT customer_id, event_type FROM pairs",
                {"customer": question.customer_id},
            )
            return cursor.fetchall()
        cursor.execute(
            f"WITH RECURSIVE {PAIRS} SELECT customer_id, event_type FROM (SELECT * FROM pairs LIMIT %s) AS pairs",
            [PAIRS_MAX],
        )
        pairs = cursor.fetchall()
    if len(pairs) == PAIRS_MAX:
        return None
    return [(customer, event_type) for customer, event_type in pairs if event_type == question.event_type]


_PAIRS_OF_CUSTOMER = """
    pairs AS (
        (SELECT customer_id, event_type FROM metering_usageevent
         WHERE customer_id = %(customer)s ORDER BY customer_id, event_type LIMIT 1)
        UNION ALL
        SELECT pairs.customer_id, following.event_type
        FROM pairs CROSS JOIN LATERAL (
            SELECT e.event_type FROM metering_usageevent e
            WHERE e.customer_id = pairs.customer_id AND e.event_type > pairs.event_type
            ORDER BY e.customer_id, e.event_type LIMIT 1
        ) AS following
    )
"""


def _numbers_received(question: EventQuestion) -> tuple[int, int]:
    """Return bounds for the numbers of events that were received in the question's time, found by halving.

    Numbers and times of receipt go together but for transactions at the same moment: a minute is added on both sides.
    """
    low = _first_received(question.received_from, "- interval '1 minute'") if question.received_from else 0
    high = (
        _first_received(question.received_before, "+ interval '1 minute'") if question.received_before else NUMBER_MAX
    )
    return low, high


def _first_received(moment: datetime, slack: str) -> int:
    """Return a number before which all events were received earlier; the greatest number where none was later."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH RECURSIVE halved(low, high) AS (
                SELECT 0::bigint, COALESCE(pg_sequence_last_value('metering_usageevent_id_seq'), 0) + 1
                UNION ALL
                SELECT CASE WHEN probe.earlier THEN middle + 1 ELSE low END, CASE WHEN probe.earlier THEN high ELSE middle END
                FROM halved CROSS JOIN LATERAL (SELECT (low + high) / 2 AS middle) AS half
                CROSS JOIN LATERAL (
                    SELECT COALESCE((SELECT e.received_at < %(moment)s::timestamptz {slack} FROM metering_usageevent e
                                     WHERE e.id >= middle ORDER BY e.id LIMIT 1), FALSE) AS earlier
                ) AS probe
                WHERE low < high
            )
            SELECT max(low) FROM halved
            """,
            {"moment": moment},
        )
        return int(cursor.fetchone()[0])


def _found(numbers: Sequence[int]) -> tuple[FoundEvent, ...]:
    """Return the events with these numbers and their states, in this order."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT e.id, {STATE_OF_EVENT} FROM metering_usageevent e WHERE e.id = ANY(%s)", [list(numbers)]
        )
        states = dict(cursor.fetchall())
    events = {event.pk: event for event in UsageEvent.objects.filter(pk__in=numbers)}
    return tuple(FoundEvent(events[number], states[number]) for number in numbers if number in events)
