"""Merkle roots over the events that meters count: what an invoice says of its events, made of the events themselves.

The leaves are the lines of `event_lines`, in the order of the events' numbers. So a tree only grows at its end as more is
known, until a cancellation or an earlier effective date changes what it held.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction

from billing_site.kernel.among import as_array
from billing_site.kernel.errors import BillingError, NotFound
from billing_site.kernel.merkle import MerkleTree
from billing_site.kernel.period import Period
from metering.counting import known_through
from metering.event_lines import EVENT_LINE
from metering.models import EventTree, Meter

# PostgreSQL hashes the leaves, Python the nodes above them: so many leaves travel as one row.
LEAVES_A_ROW = 4096
READ_AT_ONCE_MAX = 100_000
# Of so many numbers all events are looked at by their number, whosever they are; of more the customer's by their time.
NEWEST_MAX = 1_000_000
_SPANS = """
    unnest(
        %(meters)s::bigint[], %(customers)s::text[], %(starts)s::timestamptz[], %(ends)s::timestamptz[],
        %(afters)s::bigint[], %(throughs)s::bigint[]
    ) WITH ORDINALITY AS span(meter, customer, first_moment, end_moment, known_after, known_through, place)
"""


def counted_events(*, source: str) -> str:
    """Return the FROM and WHERE of the events `e`, of a table or query, that the meter of `span` counts in it."""
    return f"""
        metering_meter m JOIN {source} e ON e.event_type = m.event_type
        WHERE m.id = span.meter AND e.customer_id = span.customer
          AND e.timestamp >= span.first_moment AND e.timestamp < span.end_moment
          AND e.id > span.known_after AND {known_through("span.known_through")}
    """


def _leaves_of(*, source: str) -> str:
    """Return the query for the hashes of the events of spans, so many a row; `source` holds the events that come into question."""
    return f"""
        SELECT place, string_agg(leaf, ''::bytea ORDER BY number)
        FROM (
            SELECT place, number, leaf,
                   (row_number() OVER (PARTITION BY place ORDER BY number) - 1) / {LEAVES_A_ROW} AS part
            FROM (
                SELECT span.place, e.id AS number, sha256('\\x00'::bytea || convert_to({EVENT_LINE}, 'UTF8')) AS leaf
                FROM {_SPANS}
                CROSS JOIN LATERAL (SELECT e.* FROM {counted_events(source=source)}) AS e
                OFFSET 0
            ) AS hashed
        ) AS parted
        GROUP BY place, part ORDER BY place, part
    """


_GOOD_TREES = f"""
    SELECT span.place, tree.id FROM {_SPANS}
    JOIN metering_eventtree tree ON tree.meter_id = span.meter AND tree.customer_id = span.customer
     AND tree.start = span.first_moment AND tree."end" = span.end_moment
    WHERE tree.known_through <= span.known_through
      AND NOT EXISTS (
        SELECT FROM metering_eventcancellation c
        WHERE c.customer_id = span.customer AND c.event_number <= tree.known_through
          AND c.number > tree.known_through AND c.number <= span.known_through
      )
      AND NOT EXISTS (
        SELECT FROM metering_meterbackdating b
        WHERE b.meter_id = span.meter AND b.number > tree.known_through AND b.number <= span.known_through
      )
"""
_LEAVES = _leaves_of(source="metering_usageevent")
_NEWEST_LEAVES = _leaves_of(
    source="(SELECT * FROM metering_usageevent WHERE id > %(first)s AND id <= %(last)s OFFSET 0)"
)


@dataclass(frozen=True)
class EventSpan:
    """The events that a meter counts of a customer in a period, as known through a number: what an invoice line counts."""

    meter_key: str
    customer_id: str
    period: Period
    known_through: int


@dataclass(frozen=True)
class EventRoot:
    """How many events a span holds, and the root of the Merkle tree over them, as 64 hexadecimal digits."""

    count: int
    root: str


class ManyEventsToHash(BillingError):
    """So many events are not hashed yet that nobody should be locked meanwhile; `grow_trees(spans=...)` comes first."""

    code = "events_to_hash"

    def __init__(self, spans: Sequence[EventSpan]) -> None:
        self.spans = tuple(spans)
        super().__init__(f"the events of {len(spans)} lines have to be hashed first: try again")


def event_roots(*, spans: Sequence[EventSpan], expected_count: int) -> list[EventRoot]:
    """Return the roots over the events of spans, all hashed again from the events: one query for all of them.

    `expected_count` is about how many events there are: very many are read piece by piece.
    """
    trees = [MerkleTree() for _ in spans]
    grow(spans=spans, trees=trees, afters=[0] * len(spans), expected_count=expected_count)
    return [EventRoot(tree.count, tree.root().hex()) for tree in trees]


def event_roots_for_billing(
    *, spans: Sequence[EventSpan], counts: Sequence[int], hashed_max: int | None
) -> list[EventRoot]:
    """Return the roots over spans that hold `counts` events, going on from what `grow_trees` has hashed.

    Raises ManyEventsToHash where more than `hashed_max` events of them are left to hash; it names the longest spans.
    """
    many = hashed_max is not None and sum(counts) > hashed_max
    kept = good_trees(spans=spans) if many else [None for _ in spans]
    left = [count - (tree.leaf_count if tree else 0) for count, tree in zip(counts, kept, strict=True)]
    if hashed_max is not None and sum(left) > hashed_max:
        raise ManyEventsToHash(_longest(spans, left, rest=hashed_max // 2))
    trees = [MerkleTree(count=tree.leaf_count, peaks=bytes(tree.peaks)) if tree else MerkleTree() for tree in kept]
    afters = [tree.known_through if tree else 0 for tree in kept]
    grow(spans=spans, trees=trees, afters=afters, expected_count=sum(left))
    return [EventRoot(tree.count, tree.root().hex()) for tree in trees]


def _longest(spans: Sequence[EventSpan], left: Sequence[int], *, rest: int) -> list[EventSpan]:
    """Return the spans with the most events to hash, as many as leave no more than `rest` to the others."""
    to_hash, longest = sum(left), []
    for place in sorted(range(len(spans)), key=lambda place: -left[place]):
        if to_hash <= rest:
            break
        longest.append(spans[place])
        to_hash -= left[place]
    return longest


def grow(
    *, spans: Sequence[EventSpan], trees: Sequence[MerkleTree], afters: Sequence[int], expected_count: int
) -> None:
    """Add to each span's tree the leaves of its events after a number."""
    if not spans:
        return
    first, last = min(afters), max(span.known_through for span in spans)
    query = _NEWEST_LEAVES if first and last - first <= NEWEST_MAX else _LEAVES
    read = _read_piecewise if expected_count > READ_AT_ONCE_MAX else _read_at_once
    for place, leaves in read(query, _parameters(spans, afters) | {"first": first, "last": last}):
        trees[place - 1].add(bytes(leaves))


def good_trees(*, spans: Sequence[EventSpan]) -> list[EventTree | None]:
    """Return what is kept of the tree of each span where the span's tree grows out of it: nothing that it holds was taken back, and nothing came before.

    The number of queries does not grow with the spans. Raises NotFound for a meter that there is not.
    """
    with connection.cursor() as cursor:
        cursor.execute(_GOOD_TREES, _parameters(spans, [0] * len(spans)))
        found = dict(cursor.fetchall())
    trees = EventTree.objects.in_bulk(found.values())
    return [trees.get(found.get(place)) for place in range(1, len(spans) + 1)]


def _parameters(spans: Sequence[EventSpan], afters: Sequence[int]) -> dict[str, Any]:
    meters = dict(Meter.objects.filter(key__in={span.meter_key for span in spans}).values_list("key", "pk"))
    for span in spans:
        if span.meter_key not in meters:
            raise NotFound(f"there is no meter {span.meter_key!r}", field="meter")
    return {
        "meters": as_array(meters[span.meter_key] for span in spans),
        "customers": as_array(span.customer_id for span in spans),
        "starts": as_array(span.period.start for span in spans),
        "ends": as_array(span.period.end for span in spans),
        "afters": as_array(afters),
        "throughs": as_array(span.known_through for span in spans),
    }


def _read_at_once(query: str, parameters: dict[str, Any]) -> Iterable[tuple[int, bytes]]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return cursor.fetchall()


def _read_piecewise(query: str, parameters: dict[str, Any]) -> Iterator[tuple[int, bytes]]:
    """Yield the same rows; memory does not grow with their number."""
    with transaction.atomic(), connection.chunked_cursor() as cursor:
        cursor.execute(query, parameters)
        yield from cursor
