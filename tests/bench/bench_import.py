"""How fast files are imported, and in how much memory, against raw COPY of the same rows in the same run.

    python -m tests.bench.bench_import [--rows 500000] [--forms ndjson csv]

--rows 10000000 writes a file of 3 GB per form into the data folder.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from tests.bench import ground

# isort: split
from tests.bench.documents import documents
from tests.bench.floors import SAME_INDEXES, events, floor, lines

MEGABYTE = 1024 * 1024
FLOOR_ROWS_MAX = 200_000


def main() -> None:
    parser = ground.arguments(__doc__, minutes=60)
    parser.add_argument("--rows", type=int, default=500_000, help="(%(default)s)")
    parser.add_argument("--forms", nargs="+", choices=("ndjson", "csv"), default=["ndjson", "csv"])
    options = parser.parse_args()
    with ground.standing(minutes=options.minutes):
        count = min(options.rows, FLOOR_ROWS_MAX)
        under = floor(lines(found=events(series="floor", count=count)), parts=SAME_INDEXES, batch=count)
        rows: list[list[Any]] = [
            ["COPY, same columns and indexes (floor)", under.rate, under.microseconds, None, 1.0, None]
        ]
        rows += [imported(form, options.rows, under.microseconds) for form in options.forms]
        columns = ("rows/s", "PG us", "Python us", "PG/floor", "peak MB")
        ground.show(f"Importing {options.rows:,} rows (us: CPU per row)", columns, rows)


def imported(form: str, count: int, floor_microseconds: float) -> list[Any]:
    """Import a file in a process of its own and return a row of the table; the same file again adds nothing."""
    path = ground.FOLDER / f"events.{form}"
    write(path, form, series=f"{form}{ground.stored()}", count=count)
    before = ground.stored()
    ground.checkpoint()
    used, began = ground.postgresql(), perf_counter()
    # The base is what Python with Django takes before the first row.
    process = subprocess.Popen(
        [sys.executable, str(ground.ROOT / "manage.py"), "import_events", str(path)], stdout=subprocess.DEVNULL
    )
    peak = 0
    try:
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            peak = max(peak, peak_memory(process.pid))
            sleep(0.05)
        _, status, usage = ended
    finally:
        if process.returncode is None:
            process.kill()
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds, postgresql = perf_counter() - began, used.spent()
    path.unlink()
    assert process.returncode == 0 and ground.stored() - before == count, "every row is accepted"
    python = usage.ru_utime + usage.ru_stime
    return [
        f"import_events, {form}",
        count / seconds,
        postgresql / count * 1e6,
        python / count * 1e6,
        ground.ratio(postgresql / count * 1e6, floor_microseconds),
        peak / MEGABYTE,
    ]


def peak_memory(pid: int) -> int:
    """Return the most bytes that a process has had in memory; what wait4 tells begins with the memory of its parent."""
    try:
        told = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    # A process that has just ended has no memory left to tell of.
    return next((int(line.split()[1]) * 1024 for line in told.splitlines() if line.startswith("VmHWM:")), 0)


def write(path: Path, form: str, *, series: str, count: int) -> None:
    """Write events of the last two days to a file."""
    start = datetime.now(UTC) - timedelta(days=2)
    found = documents(series=series, count=count, start=start, step=timedelta(days=2) / count)
    with path.open("w") as file:
        file.writelines(csv_lines(found) if form == "csv" else (json.dumps(row) + "\n" for row in found))


def csv_lines(found: Iterator[dict[str, Any]]) -> Iterator[str]:
    names = ("event_id", "idempotency_key", "event_type", "timestamp", "customer_id", "quantity", "namespace_id")
    yield ",".join(names) + "\n"
    for row in found:
        yield ",".join([row[name] for name in names]) + "\n"


if __name__ == "__main__":
    main()
