"""How fast events come in, against the floor of this machine in the same run.

    python tests/bench/bench_ingest.py [EVENTS]

Works in a database of its own, which is dropped afterwards. Floor: COPY of the same rows into a
bare table without index, constraint or trigger.
"""

# ruff: noqa: E402  (Django must be set up before its models are imported)

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_site.settings")

import django

django.setup()

from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import setup_databases, teardown_databases

from billing_site.api.operations import create_api_key
from metering.core.batch import read_json_batch
from metering.ingest import accept_events
from metering.operations import create_meter
from metering.rollup import roll_up

START = datetime(2026, 7, 1, tzinfo=UTC)
ENOUGH = 10_000


def documents(series: str, count: int) -> list[dict[str, Any]]:
    """Events of 200 customers and 4 types, in the order of time."""
    return [
        {
            "event_id": f"evt_{series}_{number:012d}",
            "idempotency_key": f"ns-prod-wf-{series}-{number:012d}",
            "event_type": f"action.{number % 4}",
            "timestamp": (START + timedelta(milliseconds=257 * number)).isoformat(),
            "customer_id": f"cust_{number * 7919 % 200:04d}",
            "quantity": str(number % 1000),
            "namespace_id": "ns-prod",
            "properties": {"region": "us-east-1", "action_type": "workflow_execution_started"},
        }
        for number in range(count)
    ]


def seconds(act: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


def batches(rows: list[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    for begin in range(0, len(rows), size):
        yield rows[begin : begin + size]


def floor(rows: list[dict[str, Any]]) -> None:
    columns = ("event_id", "idempotency_key", "event_type", "timestamp", "customer_id", "quantity", "namespace_id")
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE bare (event_id text, idempotency_key text, event_type text, timestamp timestamptz,"
            " customer_id text, quantity numeric(38, 12), namespace_id text, properties jsonb)"
        )
        with cursor.copy("COPY bare FROM STDIN") as copy:
            for row in rows:
                copy.write_row([*(row[column] for column in columns), json.dumps(row["properties"])])


def over_http(client: Client, key: str, bodies: list[bytes], content_type: str) -> None:
    for body in bodies:
        response = client.generic(
            "POST", "/api/v1/events", body, content_type, headers={"Authorization": f"Bearer {key}"}
        )
        assert response.status_code == 202, response.content
        assert json.loads(response.content)["rejected"] == []


def from_file(rows: list[dict[str, Any]], form: str) -> float:
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"events.{form}"
        if form == "csv":
            names = [name for name in rows[0] if name != "properties"]
            lines = [",".join(names), *(",".join(str(row[name]) for name in names) for row in rows)]
        else:
            lines = [json.dumps(row) for row in rows]
        path.write_text("\n".join(lines))
        with redirect_stdout(StringIO()):
            return seconds(lambda: call_command("import_events", str(path)))


def parse_only(bodies: list[bytes]) -> None:
    for body in bodies:
        assert not read_json_batch(body=body, events_max=ENOUGH, received_at=START + timedelta(days=99)).rejections


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    settings.API_RATE_LIMIT = ""
    old = setup_databases(verbosity=0, interactive=False)
    try:
        measure(count)
    finally:
        teardown_databases(old, verbosity=0)


def measure(count: int) -> None:
    for number in range(4):
        create_meter(key=f"m{number}", name="M", event_type=f"action.{number}", actor="bench", reason="bench")
    key = create_api_key(name="bench", scopes=["events:write", "usage:read"])
    client = Client()
    results: list[tuple[str, float]] = [
        ("floor: COPY into a bare table", seconds(lambda: floor(documents("f", count))))
    ]

    bodies = [json.dumps({"events": batch}).encode() for batch in batches(documents("a", count), 1000)]
    results.append(("parse and validate only", seconds(lambda: parse_only(bodies))))
    results.append(("HTTP, JSON batches of 1,000", seconds(lambda: over_http(client, key, bodies, "application/json"))))
    results.append(("the same again: duplicates", seconds(lambda: over_http(client, key, bodies, "application/json"))))
    lines = ["\n".join(map(json.dumps, batch)).encode() for batch in batches(documents("b", count), 10_000)]
    results.append(("HTTP, NDJSON of 10,000", seconds(lambda: over_http(client, key, lines, "application/x-ndjson"))))
    results.append(("import_events, NDJSON file", from_file(documents("c", count), "ndjson")))
    results.append(("import_events, CSV file", from_file(documents("d", count), "csv")))
    read = [
        read_json_batch(body=body, events_max=ENOUGH, received_at=START + timedelta(days=99)).events for body in bodies
    ]
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM metering_usageevent")
        stored = cursor.fetchone()[0]
    assert stored == 4 * count, "each series once"
    assert sum(accept_events(events=batch).accepted for batch in read) == 0
    began = time.perf_counter()
    report = roll_up()
    spent = time.perf_counter() - began
    assert report.events == stored, "each event in one window"
    results.append(("rollup, per event", spent * count / stored))

    best = count / results[0][1]
    print(f"{count:,} events each; {stored:,} stored at the end")
    for name, taken in results:
        rate = count / taken
        print(f"{name:<32} {rate:>10,.0f} events/s  {100 * rate / best:>5.0f} % of the floor")


if __name__ == "__main__":
    main()
