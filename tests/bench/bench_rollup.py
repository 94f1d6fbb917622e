"""How fast stored events become hourly windows, against a pure scan with GROUP BY of the same events in the same run.

python -m tests.bench.bench_rollup [--events 1000000] [--step 5000]
"""

from collections.abc import Callable
from time import perf_counter
from typing import Any

from tests.bench import ground

# isort: split
from metering.rolling import is_behind
from metering.rollup import roll_up
from tests.bench.filling import insert_recent

SCAN = """
    SELECT count(*) FROM (
        SELECT event_type, customer_id, date_bin('1 hour', timestamp, '2000-01-01 00:00:00+00'),
               sum(quantity), count(*), max(id)
        FROM metering_usageevent WHERE id > %s GROUP BY 1, 2, 3
    ) AS hours
"""


def main() -> None:
    parser = ground.arguments(__doc__, minutes=15)
    parser.add_argument("--events", type=int, default=1_000_000, help="(%(default)s)")
    parser.add_argument("--step", type=int, default=5_000, help="events that come between two looks (%(default)s)")
    parser.add_argument("--steps", type=int, default=40, help="looks (%(default)s)")
    options = parser.parse_args()
    with ground.standing(minutes=options.minutes):
        roll_up()
        first = insert_recent(events=options.events, hours=24)
        rows: list[list[Any]] = []
        floor = row("scan and GROUP BY (floor)", lambda: ground.one(SCAN, first), options.events, None)
        rows.append(floor)
        rows.append(row("roll_up, all at once", lambda: counted(options.events), options.events, floor))
        spent = [0.0, 0.0]
        for _ in range(options.steps):
            insert_recent(events=options.step, hours=options.step / 10_000 / 3600)
            used, began = ground.postgresql(), perf_counter()
            counted(options.step)
            spent[0] += perf_counter() - began
            spent[1] += used.spent()
        all_of_them = options.step * options.steps
        rows.append(
            [
                f"roll_up, {options.step:,} new events at a time",
                all_of_them / spent[0],
                spent[1] / all_of_them * 1e6,
                ground.ratio(spent[1] / all_of_them * 1e6, floor[2]),
            ]
        )
        ground.show("Rolling up (us: PostgreSQL's CPU per event)", ("events/s", "PG us", "of floor"), rows)
        idle()


def row(name: str, act: Callable[[], object], events: int, floor: list[Any] | None) -> list[Any]:
    ground.checkpoint()
    used, began = ground.postgresql(), perf_counter()
    act()
    seconds, microseconds = perf_counter() - began, used.spent() / events * 1e6
    return [name, events / seconds, microseconds, ground.ratio(microseconds, floor[2]) if floor else 1.0]


def counted(events: int) -> None:
    report = roll_up()
    # One of the four meters reads a property that every event has; each event counts for one meter.
    assert report.events == events, (report, events)


def idle(looks: int = 2000) -> None:
    """Print what a look costs that finds nothing."""
    used, began = ground.postgresql(), perf_counter()
    for _ in range(looks):
        assert not is_behind()
    seconds, cpu = perf_counter() - began, used.spent()
    print(
        f"\nA look that finds nothing: {seconds / looks * 1e6:,.0f} us, {cpu / looks * 1e6:,.0f} us of it PostgreSQL's CPU;"
        f" at two a second {2 * cpu / looks:.3%} of a core"
    )


if __name__ == "__main__":
    main()
