"""How soon an accepted event is in the billing windows while events are offered at a steady rate over HTTP.

    python -m tests.bench.bench_freshness [--rate 10000] [--seconds 60] [--stored 0]

The continuous rollup runs as `manage.py serve` starts it. A sample of events is watched, one in every tenth request:
from the answer 202 to the moment another session sees its window. At the next request after the 202, on the
same connection, GET /usage has to include the event, always.
"""

import threading
import time
from typing import Any

from tests.bench import ground

# isort: split
from django.db import connections

from tests.bench.filling import fill
from tests.bench.processor import Meter

LOOK_SECONDS = 0.01
PATIENCE_SECONDS = 15


class Watcher:
    """Looks for the windows of the sampled events, about a hundred times a second, in a session of its own."""

    def __init__(self) -> None:
        self.seen: dict[str, float] = {}
        self.stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def stop(self) -> None:
        self.stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        number = ground.one("SELECT COALESCE(max(id), 0) FROM metering_usagewindow")
        try:
            while not self.stopped.wait(LOOK_SECONDS):
                with ground.connection.cursor() as cursor:
                    cursor.execute("SELECT id, customer_id FROM metering_usagewindow WHERE id > %s", [number])
                    rows = cursor.fetchall()
                at = time.monotonic()
                # Numbers are drawn by one rollup at a time, so no later commit has a smaller one.
                number = max((row[0] for row in rows), default=number)
                self.seen.update({customer: at for _, customer in rows if customer.startswith("probe-")})
        finally:
            connections.close_all()


def main() -> None:
    parser = ground.arguments(__doc__, minutes=30)
    parser.add_argument("--rate", type=int, default=10_000, help="events a second (%(default)s)")
    parser.add_argument("--seconds", type=float, default=60, help="(%(default)s)")
    parser.add_argument("--size", type=int, default=100, help="events per request (%(default)s)")
    parser.add_argument("--stored", type=int, default=0, help="on top of so many stored events")
    parser.add_argument("--idle", type=float, default=20, help="seconds without events before, for the cost of looking")
    options = parser.parse_args()
    with ground.standing(minutes=options.minutes):
        if options.stored:
            fill(events=options.stored)
        with ground.serving(rollup=True) as served:
            idle(served, options.idle)
            freshness(served, options.rate, options.seconds, options.size)


def idle(served: ground.Served, seconds: float) -> None:
    """Print what the rollup costs while nothing is accepted."""
    time.sleep(3)
    postgresql, rollup = ground.postgresql(), served.processor("rollup")
    time.sleep(seconds)
    print(
        f"\nIdle for {seconds:g} s: rollup {rollup.spent() / seconds:.2%} of a core, PostgreSQL {postgresql.spent() / seconds:.2%}",
        flush=True,
    )


def freshness(served: ground.Served, rate: int, seconds: float, size: int) -> None:
    count = int(rate * seconds) // size * size
    sender = ground.Sender(
        served, series=f"f{ground.stored()}", size=size, count=count, rate=rate, probe_every=10, connections=8
    )
    watcher = Watcher()
    try:
        meters: dict[str, Meter] = {
            "PostgreSQL": ground.postgresql(),
            "web": served.processor(),
            "rollup": served.processor("rollup"),
        }
        told = sender.send()
        cpu = {name: meter.spent() for name, meter in meters.items()}
        until = time.monotonic() + PATIENCE_SECONDS
        while len(watcher.seen) < len(told["probes"]) and time.monotonic() < until:
            time.sleep(0.1)
    finally:
        watcher.stop()
    assert told["accepted"] == count, "each event is accepted once"
    show(told, watcher.seen, cpu, count)


def show(told: dict[str, Any], seen: dict[str, float], cpu: dict[str, float], count: int) -> None:
    unseen = [probe for probe, _ in told["probes"] if probe not in seen]
    lags = [(seen[probe] - at) * 1000 for probe, at in told["probes"] if probe in seen]
    rows = [
        ["from 202 to the billing windows", lags],
        ["the request itself, from when it was due", told["latencies"]],
        ["GET /usage right after it", told["usage_latencies"]],
    ]
    ground.show(
        f"{count:,} events offered in {told['seconds']:.1f} s ({count / told['seconds']:,.0f} events/s), {len(lags)} watched",
        ("p50 ms", "p99 ms", "max ms"),
        [[name, *(ground.percentile(values, share) for share in (0.5, 0.99)), max(values)] for name, values in rows],
    )
    print(
        f"GET /usage included the event at the next request: {len(lags) + len(unseen) - len(told['missed'])} of {len(told['probes'])}"
    )
    for problem in (*told["missed"][:3], *(f"{probe}: in no window" for probe in unseen[:3])):
        print(f"  MISSING {problem}")
    shares = ", ".join(f"{name} {used / told['seconds']:.0%}" for name, used in cpu.items())
    print(f"Meanwhile, of one core: {shares}, client {told['cpu_seconds'] / told['seconds']:.0%}")
    if unseen or told["missed"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
