"""How fast events come in over HTTP, against raw COPY in the same run, and where the rest goes.

    python -m tests.bench.bench_ingest [--events 200000] [--stored 10000000]

The product is served as in production (granian, two workers); the client is a process of its own, with bodies that
were encoded before. All of it shares the machine. With --stored it measures again on top of that many events, whose
keys are those of 400 days. Figures of PostgreSQL are CPU time of the whole server, checkpointer and WAL writer included.
"""

from dataclasses import dataclass
from statistics import median
from time import process_time
from typing import Any

from tests.bench import ground

# isort: split
from datetime import UTC, datetime

from metering.core.batch import read_json_batch
from metering.core.decoding import decode_json
from metering.ingest import accept_events
from metering.rollup import roll_up
from tests.bench.documents import bodies, documents
from tests.bench.filling import fill
from tests.bench.floors import Cost, events, full_floor, lines, measure_floors


@dataclass(frozen=True)
class Shape:
    """Requests of one form; `share` of the events are sent in it, since small requests are slow."""

    name: str
    size: int
    share: float
    repeats: int = 1
    ndjson: bool = False


FULL = "COPY, one such table that holds as many events"
THOUSAND = Shape("HTTP, requests of 1,000", 1000, 1, repeats=3)
# What is asked for most comes first: at nothing stored it is measured at nothing stored.
SHAPES = (
    THOUSAND,
    Shape("HTTP, requests of 100", 100, 0.5),
    Shape("HTTP, requests of 1", 1, 0.02),
    Shape("HTTP, NDJSON of 10,000", 10_000, 1, ndjson=True),
)


@dataclass(frozen=True)
class Run:
    """What one run took: events a second, and microseconds of CPU per event of server, web and client."""

    rate: float
    postgresql: float
    web: float
    client: float
    milliseconds: float


def main() -> None:
    parser = ground.arguments(__doc__, minutes=30)
    parser.add_argument("--events", type=int, default=200_000, help="events per run of 1,000 a request (%(default)s)")
    parser.add_argument("--stored", type=int, default=0, help="measure again on top of so many stored events")
    parser.add_argument("--floor-rows", type=int, default=200_000, help="rows per floor (%(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="floors are medians of so many (%(default)s)")
    options = parser.parse_args()
    with ground.standing(minutes=options.minutes), ground.serving() as served:
        before = ground.stored()
        at_nothing = measure(served, options.events)
        floors = measure_floors(count=options.floor_rows, repeats=options.repeats)
        show(f"On top of {before:,} stored events", at_nothing, floors)
        show_rest(served, floors, at_nothing, options.floor_rows)
        if options.stored:
            fill(events=options.stored)
            now_stored = ground.stored()
            at_much = measure(served, options.events)
            fresh = lines(found=events(series="full", count=options.events))
            floors = {FULL: full_floor(fresh), **floors}
            show(f"On top of {now_stored:,} stored events, with the keys of 400 days", at_much, floors)
            show_decay(at_nothing, at_much, floors[FULL])


def measure(served: ground.Served, count: int) -> dict[str, Run]:
    """Send all shapes; then 1,000 a request once more while the rollup runs beside."""
    taken: dict[str, Run] = {}
    for shape in SHAPES:
        taken[shape.name] = middle([run(served, shape, count) for _ in range(shape.repeats)])
    roll_up()
    with served.rolling_up():
        taken[f"{THOUSAND.name}, rollup beside"] = run(served, THOUSAND, count)
    return taken


def run(served: ground.Served, shape: Shape, count: int) -> Run:
    wanted = max(shape.size, int(count * shape.share) // shape.size * shape.size)
    before = ground.stored()
    sender = ground.Sender(served, series=f"s{before}", size=shape.size, count=wanted, ndjson=shape.ndjson)
    ground.checkpoint()
    postgresql, web = ground.postgresql(), served.processor()
    told = sender.send()
    used_postgresql, used_web = postgresql.spent(), web.spent()
    assert told["accepted"] == wanted == ground.stored() - before, "each event is accepted once"
    return Run(
        rate=wanted / told["seconds"],
        postgresql=used_postgresql / wanted * 1e6,
        web=used_web / wanted * 1e6,
        client=told["cpu_seconds"] / wanted * 1e6,
        milliseconds=ground.percentile(told["latencies"], 0.5),
    )


def middle(runs: list[Run]) -> Run:
    """Return the medians."""
    return Run(*(median(getattr(run, name) for run in runs) for name in Run.__dataclass_fields__))


def show(title: str, runs: dict[str, Run], floors: dict[str, Cost]) -> None:
    same, bare = floors["same indexes, one transaction"], floors["bare table, one transaction"]
    rows: list[list[Any]] = []
    if FULL in floors:
        full = floors[FULL]
        rows.append(
            [FULL, full.rate, full.microseconds, None, None, ground.ratio(full.microseconds, same.microseconds), None]
        )
    rows += [
        ["COPY, same columns and indexes (floor)", same.rate, same.microseconds, None, None, 1.0, None],
        [
            "COPY, bare table",
            bare.rate,
            bare.microseconds,
            None,
            None,
            ground.ratio(bare.microseconds, same.microseconds),
            None,
        ],
    ]
    for name, one in runs.items():
        ratio = ground.ratio(one.postgresql, same.microseconds)
        rows.append([name, one.rate, one.postgresql, one.web, one.client, ratio, one.milliseconds])
    columns = ("events/s", "PG us", "web us", "client us", "PG/floor", "median ms")
    ground.show(f"{title} (us: CPU per event)", columns, rows)


def show_decay(before: dict[str, Run], after: dict[str, Run], full: Cost) -> None:
    """Print what is left of the rate: by the clock, and by CPU alone, which other load on the machine changes less."""
    rows = []
    for name, then in before.items():
        now = after[name]
        by_cpu = (then.postgresql + then.web + then.client) / (now.postgresql + now.web + now.client)
        of_full = ground.ratio(now.postgresql, full.microseconds)
        rows.append([name, f"{now.rate / then.rate:.0%}", f"{by_cpu:.0%}", of_full])
    ground.show("On top of them, of the rate before", ("by clock", "by CPU", "PG/full"), rows)


def show_rest(served: ground.Served, floors: dict[str, Cost], runs: dict[str, Run], count: int) -> None:
    """Print what each part adds, in microseconds of CPU per event, for requests of 1,000."""
    order = (
        "bare table",
        "+ CHECKs",
        "+ unique number",
        "+ unique key",
        "+ index by customer",
        "same indexes",
        "+ triggers",
        "product's table",
    )
    names = {
        "bare table": "COPY of 1,000 into a bare table",
        "same indexes": "+ BRIN index by receipt",
        "+ triggers": "+ triggers: keys of closed months, the ingest lock",
        "product's table": "+ months: the product's table, as full as it is",
    }
    rows: list[list[Any]] = []
    then = 0.0
    for name in order:
        cost = floors[name]
        rows.append([names.get(name, name), cost.microseconds - then, cost.microseconds, cost.rate])
        then = cost.microseconds
    overhead = runs[THOUSAND.name].postgresql
    rows.append(["+ questions and transactions of a request, two at a time", overhead - then, overhead, None])
    for name, label in (
        ("same indexes, one transaction", "floor: same indexes, one COPY and one commit"),
        ("same indexes, commit not awaited", "same indexes, by 1,000, commits not awaited"),
    ):
        rows.append([label, None, floors[name].microseconds, floors[name].rate])
    ground.show("Where it goes in PostgreSQL", ("more us", "us", "rows/s"), rows)

    sender = ground.Sender(served, series="spoilt", size=1000, count=count, spoilt=True, expected=400)
    web = served.processor()
    told = sender.send()
    http = web.spent() / count * 1e6
    client = told["cpu_seconds"] / count * 1e6
    decode, read, store = python_costs(count)
    whole = runs[THOUSAND.name].web
    ground.show(
        "Where it goes in Python",
        ("us",),
        [
            ["HTTP with Django and the key: the body received, and refused", http],
            ["JSON decoded, nothing twice in an object", decode],
            ["validated, field by field", read - decode],
            ["keys, order, lines of COPY, sent to PostgreSQL", store],
            ["sum of these", http + read + store],
            ["web workers, measured as a whole", whole],
            ["client", client],
        ],
    )


def python_costs(count: int) -> tuple[float, float, float]:
    """Return microseconds of CPU per event: decode, decode and validate, store."""
    at = datetime.now(UTC)
    found = list(documents(series="python", count=count, start=at, step=at - at))
    sent = bodies(found=found, size=1000, ndjson=False)
    began = process_time()
    for body in sent:
        decode_json(body)
    decode = process_time() - began
    began = process_time()
    for body in sent:
        assert not read_json_batch(body=body, events_max=10_000, received_at=at).rejections
    read = process_time() - began
    stored = events(series=f"store{ground.stored()}", count=count)
    began = process_time()
    for begin in range(0, count, 1000):
        accept_events(events=stored[begin : begin + 1000])
    store = process_time() - began
    return decode / count * 1e6, read / count * 1e6, store / count * 1e6


if __name__ == "__main__":
    main()
