"""Events that were stored before: months of them, made by PostgreSQL itself, with their keys remembered."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from time import perf_counter

from django.db import connections

from metering.partitions import consolidate_keys
from metering.rollup import roll_up
from tests.bench import ground
from tests.bench.documents import CUSTOMERS, REGIONS, TYPES

DAYS = 400
# The product refuses inserts into closed months, and moving the horizon back: both guards are off for the filling.
_HORIZON = """
    ALTER TABLE metering_keyhorizon DISABLE TRIGGER USER;
    UPDATE metering_keyhorizon SET consolidated_before = '{0}';
    ALTER TABLE metering_keyhorizon ENABLE TRIGGER USER;
"""
_ROWS = f"""
    INSERT INTO {{table}} (id, dedup_key, event_id, idempotency_key, event_type, customer_id, timestamp, quantity,
                           namespace_id, properties, received_at)
    SELECT %(first)s + n,
           encode(substring(sha256(convert_to(customer, 'UTF8') || '\\x00'::bytea || convert_to(key, 'UTF8')) FOR 16), 'hex')::uuid,
           'evt_' || key, key, event_type, customer, at, n %% 1000, 'ns-prod',
           jsonb_build_object('region', 'us-east-' || (n %% {REGIONS}), 'action_type', 'workflow_execution_started'),
           at
    FROM (
        SELECT n, 'ns-prod-wf-stored-' || lpad((%(first)s + n)::text, 12, '0') AS key,
               'action.' || (n %% {TYPES}) AS event_type,
               'cust_' || lpad(floor({CUSTOMERS} * power((n * 7919 %% 10007) / 10007.0::float8, 2))::int::text, 4, '0') AS customer,
               %(start)s::timestamptz + (%(end)s::timestamptz - %(start)s::timestamptz) * (n / %(count)s::float8) AS at
        FROM generate_series(0::bigint, %(count)s - 1) AS n
    ) AS made
"""


@dataclass(frozen=True)
class Span:
    """A part of a month, and the events that were received in it."""

    start: datetime
    end: datetime
    first: int
    count: int

    @property
    def is_closed(self) -> bool:
        return self.end < datetime.now(UTC) - timedelta(seconds=1)


def is_filled() -> bool:
    """Say whether the data folder was filled before: that is possible once."""
    return bool(ground.one("SELECT EXISTS (SELECT FROM metering_knownkey)"))


def fill(*, events: int, roll: bool = True) -> None:
    """Store so many events, received evenly in the last 400 days, and roll them up; nothing to do in a folder kept filled."""
    if is_filled():
        print("filled in an earlier run", flush=True)
        return
    if ground.one(
        "SELECT EXISTS (SELECT FROM metering_usageevent WHERE received_at < (SELECT open_from FROM metering_keyhorizon))"
    ):
        raise SystemExit(f"{ground.FOLDER} was left half filled: remove it")
    began = perf_counter()
    spans = _spans(events)
    with ThreadPoolExecutor(2) as pool:
        for _ in pool.map(_make, [span for span in spans if span.is_closed]):
            pass
    _insert(spans[-1], "metering_usageevent")
    ground.execute(_HORIZON.format(spans[0].start.replace(day=1).isoformat()))
    keys = consolidate_keys()
    made = perf_counter()
    print(f"stored {events:,} events, {keys:,} keys of closed months, in {made - began:.0f} s", flush=True)
    if roll:
        # Every one of them has a meter and a key of its own: what is looked at is what comes from now on.
        ground.execute(
            "INSERT INTO metering_rollupprogress (id, listed_up_to) VALUES (1, %s)"
            " ON CONFLICT (id) DO UPDATE SET listed_up_to = excluded.listed_up_to",
            spans[-1].first + spans[-1].count,
        )
        report = roll_up()
        print(f"rolled up {report.events:,} events in {perf_counter() - made:.0f} s", flush=True)
    ground.execute("VACUUM (ANALYZE)")
    ground.checkpoint()


def insert_recent(*, events: int, hours: float) -> int:
    """Store events in the open month, received until now; returns the number before the first."""
    end = datetime.now(UTC)
    start = max(end - timedelta(hours=hours), end.replace(day=1, hour=0, minute=0, second=0, microsecond=0))
    first = _draw(events)
    _insert(Span(start, end, first, events), "metering_usageevent")
    return first


def _draw(count: int) -> int:
    """Take numbers from the sequence of events; returns the one before the first."""
    last = ground.one("SELECT setval('metering_usageevent_id_seq', nextval('metering_usageevent_id_seq') + %s)", count)
    return int(last) - count


def _spans(count: int) -> list[Span]:
    """Divide 400 days at the months; numbers follow the order of receipt."""
    end = datetime.now(UTC)
    begin = (end - timedelta(days=DAYS)).replace(hour=0, minute=0, second=0, microsecond=0)
    bounds = [begin]
    while (following := _next_month(bounds[-1])) < end:
        bounds.append(following)
    bounds.append(end)
    first, spans = _draw(count), list[Span]()
    for start, stop in pairwise(bounds):
        done = sum(span.count for span in spans)
        here = round(count * ((stop - begin) / (end - begin))) - done
        spans.append(Span(start, stop, first + done, here))
    assert sum(span.count for span in spans) == count
    return spans


def _next_month(moment: datetime) -> datetime:
    return moment.replace(
        year=moment.year + moment.month // 12, month=moment.month % 12 + 1, day=1, hour=0, minute=0, second=0
    )


def _make(span: Span) -> None:
    """Make a closed month as the product makes its months: a table beside, then attached with its keys."""
    leaf = ground.one("SELECT metering_month_name(%s)", span.start)
    try:
        ground.execute(f"CREATE TABLE {leaf} (LIKE metering_usageevent INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
        _insert(span, leaf)
        ground.execute("SELECT metering_attach_month(%s)", span.start)
    finally:
        connections.close_all()


def _insert(span: Span, table: str) -> None:
    with ground.connection.cursor() as cursor:
        cursor.execute(
            _ROWS.format(table=table),
            {"first": span.first, "count": span.count, "start": span.start, "end": span.end},
        )
