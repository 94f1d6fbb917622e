"""Eight clients send the same events over HTTP, each in an order and in batch sizes of its own: each is accepted once.

    python -m tests.scenarios.ingest_storm --events 100000 [--seed 1]

The product is served as in production, on a database of its own. Afterwards: exactly as many rows as events, each
answered `accepted` exactly once over all clients, no error, no deadlock; the rollup runs meanwhile and agrees.
"""

import json
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import requests

from tests.bench import ground
from tests.bench.documents import documents

CLIENTS = 8
SIZES = (1, 7, 100, 1_000, 5_000)
START = datetime(2026, 7, 1, tzinfo=UTC)


def batches(found: list[dict[str, Any]], *, dice: random.Random) -> Iterator[list[dict[str, Any]]]:
    """Cut events, in another order, into batches of several sizes; the tiny ones are few, or they would take all day."""
    order = list(found)
    dice.shuffle(order)
    begin = 0
    while begin < len(order):
        size = dice.choices(SIZES, weights=(2, 2, 3, 8, 4))[0]
        yield order[begin : begin + size]
        begin += size


def send_all(served: ground.Served, found: list[dict[str, Any]], seed: int) -> dict[str, int]:
    """Send every event once and add the answers up; NDJSON half of the time."""
    dice = random.Random(seed)
    told = {"accepted": 0, "duplicates": 0, "rejected": 0, "requests": 0}
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {served.key}"
        for batch in batches(found, dice=dice):
            lines = dice.random() < 0.5
            body = "\n".join(map(json.dumps, batch)) if lines else json.dumps({"events": batch})
            kind = "application/x-ndjson" if lines else "application/json"
            answer = session.post(
                f"{served.address.url}/api/v1/events", data=body, headers={"Content-Type": kind}, timeout=120
            )
            assert answer.status_code == 202, f"{answer.status_code}: {answer.text[:500]}"
            document = answer.json()
            told["accepted"] += document["accepted"]
            told["duplicates"] += document["duplicates"]
            told["rejected"] += len(document["rejected"])
            told["requests"] += 1
    return told


def deadlocks() -> int:
    """Return how many deadlocks PostgreSQL has resolved in this database."""
    return int(ground.one("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"))


def main() -> None:
    """Read the command line and run."""
    parser = ground.arguments(__doc__, minutes=20)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with ground.standing(minutes=options.minutes), ground.serving(rollup=True) as served:
        found = list(documents(series="storm", count=options.events, start=START, step=timedelta(seconds=1)))
        began = time.monotonic()
        with ThreadPoolExecutor(CLIENTS) as pool:
            futures = [pool.submit(send_all, served, found, options.seed * 100 + client) for client in range(CLIENTS)]
            told = [future.result() for future in futures]
        seconds = time.monotonic() - began
        total = {name: sum(one[name] for one in told) for name in told[0]}
        assert ground.stored() == options.events, f"{ground.stored()} rows of {options.events} events"
        assert total["accepted"] == options.events, total
        assert total["duplicates"] == (CLIENTS - 1) * options.events, total
        assert total["rejected"] == 0, total
        assert deadlocks() == 0, "PostgreSQL had to resolve deadlocks"
        check_windows(options.events)
        print(
            f"{CLIENTS} clients, {total['requests']:,} requests, {CLIENTS * options.events:,} events in {seconds:.1f} s: "
            f"{options.events:,} rows, each accepted once",
            flush=True,
        )


def check_windows(events: int) -> None:
    """Assert that the windows hold each event of a counting meter once."""
    from metering.doubles import doubled_keys
    from metering.listing import listing_faults
    from metering.queries import conservation
    from metering.rollup import roll_up

    roll_up()
    rows = conservation()
    assert all(row.balanced for row in rows), rows
    assert sum(row.aggregated + row.listed for row in rows) == events, rows
    assert listing_faults() == []
    assert doubled_keys() == []


if __name__ == "__main__":
    main()
