"""The ground that benchmarks stand on: a PostgreSQL of their own, the product served as in production, a limit of time.

Import it before anything that needs Django: it chooses the data folder and sets Django up. `BENCH_DATA_DIR`
names a folder that is kept between runs, with what is stored in it; without it a temporary one is made and removed.
"""

import atexit
import json
import logging
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_kept = os.environ.get("BENCH_DATA_DIR")
FOLDER = Path(_kept or tempfile.mkdtemp(prefix="billing-bench-")).resolve()
# Processes that a benchmark begins stand on the same ground.
os.environ.update(BENCH_DATA_DIR=str(FOLDER), BILLING_DATA_DIR=str(FOLDER), DATABASE_URL="", API_RATE_LIMIT="")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_site.settings")

import django  # noqa: E402

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection, connections  # noqa: E402

from billing_site.api.operations import create_api_key  # noqa: E402
from billing_site.database.embedded import embedded_server  # noqa: E402
from billing_site.serving.child import Child, Program  # noqa: E402
from billing_site.serving.programs import ROLLUP, WEB, Address, programs  # noqa: E402
from billing_site.serving.readiness import wait_until_healthy  # noqa: E402
from metering.operations import create_meter  # noqa: E402
from tests.bench.processor import Meter, of_postgresql, of_trees  # noqa: E402

METERS = (
    {"aggregation": "sum"},
    {"aggregation": "count"},
    {"aggregation": "sum", "dimensions": ["region"]},
    {"aggregation": "max"},
)


class TimeIsUp(Exception):
    """The benchmark took longer than it may: it stops by itself."""


def arguments(description: str | None, *, minutes: int) -> ArgumentParser:
    """Return a parser that knows what every benchmark knows."""
    parser = ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument(
        "--minutes", type=float, default=minutes, help="stop after so long, whatever is left (%(default)s)"
    )
    return parser


@contextmanager
def standing(*, minutes: float) -> Iterator[None]:
    """Make tables and meters, and take everything away in the end, also where time is up."""

    def stop(number: int, frame: object) -> None:
        raise TimeIsUp(f"stopped after {minutes:g} minutes")

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, minutes * 60)
    try:
        call_command("migrate", interactive=False, verbosity=0)
        for number, definition in enumerate(METERS):
            create_meter(
                key=f"m{number}", name="M", event_type=f"action.{number}", actor="bench", reason="bench", **definition
            )
        # Warnings of refused requests would be measured with them.
        logging.getLogger("django.request").setLevel(logging.ERROR)
        show_machine()
        yield
    except TimeIsUp as up:
        raise SystemExit(str(up)) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        connections.close_all()
        embedded_server(data_dir=FOLDER).leave()


@atexit.register
def _clean() -> None:
    if not _kept:
        shutil.rmtree(FOLDER, ignore_errors=True)


def show_machine() -> None:
    """Say on what is measured: other load makes wall-clock figures worth little, CPU figures much less so."""
    load = ", ".join(f"{number:.1f}" for number in os.getloadavg())
    # One that was compiled without a profile (pyenv) is a third slower than Debian's.
    python = f"Python {platform.python_version()} of {sys.base_prefix}"
    print(f"{time.strftime('%Y-%m-%d %H:%M')}  {os.cpu_count()} CPUs, load before {load}, {python}")
    print(f"{stored():,} events stored")


def stored() -> int:
    """Return how many events there are."""
    return int(one("SELECT count(*) FROM metering_usageevent"))


def one(statement: str, *parameters: Any) -> Any:
    """Return the first value of the first row."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        row = cursor.fetchone()
        return row[0] if row else None


def execute(statement: str, *parameters: Any) -> None:
    """Execute a statement."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


def checkpoint() -> None:
    """Start like after a checkpoint: pages are written as a whole when they are touched first."""
    execute("CHECKPOINT")


def postgresql() -> Meter:
    """Return a meter of the CPU time of the whole server: backends, checkpointer, WAL writer, what has ended included."""
    pid = int((FOLDER / "postgresql" / "cluster" / "postmaster.pid").read_text().splitlines()[0])
    return of_postgresql(postmaster=pid)


class Served:
    """The product's programs as `manage.py serve` starts them."""

    def __init__(self, *, rollup: bool) -> None:
        self.address = Address.free()
        self.key = create_api_key(name="bench", scopes=["events:write", "usage:read", "access:read"])
        served = programs(web=self.address, web_workers=2, sandbox=None, public_url=self.address.url)
        self._programs: dict[str, Program] = {program.name: program for program in served}
        self._children = {name: Child(program=self._programs[name]) for name in ([WEB, ROLLUP] if rollup else [WEB])}

    @contextmanager
    def rolling_up(self) -> Iterator[None]:
        """Let the continuous rollup run, too."""
        rollup = Child(program=self._programs[ROLLUP])
        self._children[ROLLUP] = rollup
        try:
            yield
        finally:
            rollup.ask_to_end()
            rollup.wait(until=time.monotonic() + 20)
            rollup.sweep()
            del self._children[ROLLUP]

    def processor(self, name: str = WEB) -> Meter:
        """Return a meter of the CPU time of one program with its children."""
        return of_trees(roots=[self._children[name].pid])

    def wait(self) -> None:
        """Return when the web answers."""
        assert wait_until_healthy(url=self.address.url, seconds=60, go_on=lambda: True), "the web does not answer"

    def stop(self) -> None:
        """End the programs."""
        for child in self._children.values():
            child.ask_to_end()
        for child in self._children.values():
            child.wait(until=time.monotonic() + 20)
            child.sweep()


@contextmanager
def serving(*, rollup: bool = False) -> Iterator[Served]:
    """Serve the product on a free port of loopback."""
    served = Served(rollup=rollup)
    try:
        served.wait()
        yield served
    finally:
        served.stop()


class Sender:
    """A client in a process of its own; it has encoded everything when this returns."""

    def __init__(self, served: Served, *, module: str = "tests.bench.sending", **order: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._say({"port": served.address.port, "key": served.key, **order})
        assert self._hear() == {"ready": True}

    def send(self) -> dict[str, Any]:
        """Let it send, and return what it tells: seconds, accepted, cpu_seconds, latencies in milliseconds, probes."""
        self._say({"go": True})
        try:
            return self._hear()
        finally:
            self.end()

    def end(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.kill()
        self._process.wait()

    def _say(self, document: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(document) + "\n")
        self._process.stdin.flush()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the client has ended; what it said stands above"
        return dict(json.loads(line))


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str | float | None]]) -> None:
    """Print a table; numbers get a comma per thousand, small ones two decimals."""
    widths = [max(48, *(len(str(row[0])) for row in rows)), *(max(10, len(column)) for column in columns)]
    print(
        f"\n{title}\n{'':{widths[0]}}"
        + "".join(f"  {column:>{width}}" for column, width in zip(columns, widths[1:], strict=True))
    )
    for name, *cells in rows:
        print(
            f"{name:{widths[0]}}"
            + "".join(f"  {_cell(cell):>{width}}" for cell, width in zip(cells, widths[1:], strict=False))
        )
    sys.stdout.flush()


def _cell(cell: str | float | None) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, str):
        return cell
    return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:,.2f}"


def ratio(value: float, floor: float) -> float | None:
    """Return how many times the floor; None where so little was measured that the floor is nothing."""
    return value / floor if floor else None


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
