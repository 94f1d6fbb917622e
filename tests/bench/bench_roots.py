"""How many events a second get under a Merkle root, against a bare SELECT of the same rows; and how long a bill waits for it.

python -m tests.bench.bench_roots [--events 1000000] [--invoices 20000] [--minutes 10]

One customer has `--events` events of one meter in a month; as many others as `--invoices` have ten each.
"""

import resource
from datetime import UTC, datetime
from time import perf_counter

from tests.bench import ground

# isort: split
from django.db import connection, transaction

from billing_site.kernel.period import Period
from metering.queries.roots import EventSpan, event_roots, event_roots_for_billing
from metering.trees import grow_trees

FEW = 10
SPANS_AT_ONCE = 500
MONTH = Period(datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 8, 1, tzinfo=UTC))
COUNTED = """
    FROM metering_usageevent e WHERE e.customer_id = 'whale' AND e.event_type = 'action.0'
     AND e.timestamp >= '2026-07-01 00:00+00' AND e.timestamp < '2026-08-01 00:00+00'
"""


def main() -> None:
    parser = ground.arguments(__doc__, minutes=10)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--invoices", type=int, default=20_000)
    options = parser.parse_args()
    with ground.standing(minutes=options.minutes):
        fill("'whale'", options.events)
        fill(f"'minnow_' || (n / {FEW})", options.invoices * FEW)
        ground.execute("VACUUM ANALYZE metering_usageevent")
        measure_one(options.events)
        measure_many(options.invoices)
    print(f"greatest memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB")


def fill(customer: str, count: int) -> None:
    """Store events of July, whichever of them were accepted first; the guards look for their keys nowhere."""
    ground.execute(
        f"""
        INSERT INTO metering_usageevent (dedup_key, event_id, idempotency_key, event_type, customer_id, timestamp,
                                         quantity, namespace_id, properties)
        SELECT gen_random_uuid(), 'evt_' || n, 'ns-prod-wf-stored-' || n, 'action.0', {customer},
               '2026-07-01 00:00+00'::timestamptz + interval '30 days' * ((n * 7919 %% 1000003) / 1000003.0::float8), n %% 1000,
               'ns-prod', jsonb_build_object('region', 'us-east-' || n %% 5, 'action_type', 'workflow_execution_started')
        FROM generate_series(0::bigint, %s - 1) AS n
        """,
        count,
    )


def measure_one(count: int) -> None:
    span = EventSpan("m0", "whale", MONTH, ground.one("SELECT max(id) FROM metering_usageevent"))
    floor = taken(lambda: ground.one(f"SELECT count(*), sum(e.quantity), max(e.properties::text) {COUNTED}"))
    streamed = taken(bare_select)
    hashed = taken(lambda: event_roots(spans=[span], expected_count=count))
    print(f"\none line of {count:,} events, wall clock")
    for name, seconds in (
        ("SELECT that reads the rows (floor)", floor),
        ("SELECT that hands the rows to Python", streamed),
        ("their root, hashed anew", hashed),
    ):
        print(f"{name:44}{count / seconds:14,.0f} events/s {seconds / count * 1e6:8.2f} us")
    grow_trees(spans=[span], at=datetime.now(UTC))
    fill("'whale'", 1000)
    later = EventSpan("m0", "whale", MONTH, ground.one("SELECT max(id) FROM metering_usageevent"))
    locked = taken(
        lambda: event_roots_for_billing(spans=[later], counts=[count + 1000], hashed_max=max(1001, count // 2))
    )
    print(f"its bill, hashed ahead but for 1,000 events: {locked * 1000:,.0f} ms under the lock of the customer")


def bare_select() -> None:
    """Read the same rows, piece by piece."""
    with transaction.atomic(), connection.chunked_cursor() as cursor:
        cursor.execute(f"SELECT e.* {COUNTED}")
        for _ in cursor:
            pass


def measure_many(count: int) -> None:
    spans = [EventSpan("m0", f"minnow_{number}", MONTH, 2**62) for number in range(count)]
    counted = taken(
        lambda: ground.one(
            "SELECT count(*) FROM (SELECT customer_id, sum(quantity), max(properties::text) FROM metering_usageevent"
            " WHERE customer_id LIKE 'minnow%%' GROUP BY 1) AS of_each"
        )
    )

    def in_batches() -> None:
        for first in range(0, count, SPANS_AT_ONCE):
            event_roots(spans=spans[first : first + SPANS_AT_ONCE], expected_count=FEW * SPANS_AT_ONCE)

    batched = taken(in_batches)
    some = spans[: max(1, count // 20)]
    single = taken(lambda: [event_roots(spans=[span], expected_count=FEW) for span in some])
    print(f"\n{count:,} lines of {FEW} events")
    print(f"{'one SELECT over all of them (floor)':44}{count / counted:14,.0f} lines/s")
    print(f"{f'their roots, {SPANS_AT_ONCE} lines a question':44}{count / batched:14,.0f} lines/s")
    print(f"{'their roots, one line a question':44}{len(some) / single:14,.0f} lines/s")
    assert event_roots(spans=spans[:1], expected_count=FEW)[0].count == FEW


def taken(work: object) -> float:
    """Return the seconds that something takes."""
    assert callable(work)
    began = perf_counter()
    work()
    return max(perf_counter() - began, 1e-9)


if __name__ == "__main__":
    main()
