"""Thousands of customers over years, turned by the clock: payments of all kinds, news of Stripe lost and out of order, outages, plan changes, holds, promises.

    python -m tests.scenarios.dunning_simulation --customers 10000 --months 24 --seed 1 [--chunk 2500] [--processes 2] [--only cust_17]
    python -m tests.scenarios.dunning_simulation --customers 10000 --months 24 --seed 1 --part 3/20 --results lives.jsonl
    python -m tests.scenarios.dunning_simulation --sum lives.jsonl

Real PostgreSQL and the product's own sweep, notices, pushes, billing run and life cycle; Stripe and the mail server are played in memory. Customers
live on their own, so each chunk has a database; the worker of a chunk sees all of it. What should happen to a customer is worked
out a second time from what happened to it (`dunning/oracle.py`). Differences are told with both timelines and how to live that customer again.
What takes too long for one evening is lived in parts, each a world of its own (`dunning/parts.py`).
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.scenarios.dunning.parts import Part, keep, summed

ROOT = Path(__file__).resolve().parents[2]
DIFFERENCES_SHOWN = 200


@dataclass(frozen=True)
class Lived:
    """A world that has lived: what differs from what should have happened, and its figures."""

    differences: list[str]
    figures: dict[str, Any]


def live(*, seed: int, customers: range, months: int, looks_a_day: int = 3, only: str = "") -> Lived:
    """Let a world live in the database of this process; prints what it was."""
    from django.db import connection

    from invoicing.workflows.verify import verify
    from tests.scenarios.dunning.compare import differences
    from tests.scenarios.dunning.tally import figures_of, tally
    from tests.scenarios.dunning.world import World

    logging.disable(logging.ERROR)
    began, cpu = time.monotonic(), time.process_time()
    world = World(seed=seed, customers=customers, months=months, looks_a_day=looks_a_day, only=only)
    world.live()
    lived, lived_cpu = time.monotonic() - began, time.process_time() - cpu
    found = list(differences(world))
    found += [f"verify: {finding}" for finding in verify()]
    logging.disable(logging.NOTSET)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_size_pretty(pg_database_size(current_database()))")
        size = cursor.fetchone()[0]
    print(tally(world, seconds=lived, cpu_seconds=lived_cpu, size=size), flush=True)
    return Lived(found, {"differences": len(found), **figures_of(world, seconds=lived, cpu_seconds=lived_cpu)})


def main() -> None:
    """Read the command line; live a chunk, or let each chunk live in a process and a database of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--customers", type=int, default=10_000)
    parser.add_argument("--months", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--chunk", type=int, default=2_500, help="customers in a database (%(default)s)")
    parser.add_argument("--looks", type=int, default=3, help="so often a day the worker looks (%(default)s)")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", default="", help="live this customer alone: cust_17")
    parser.add_argument("--first", type=int, default=0, help="the number of the first customer")
    parser.add_argument("--folder", default="", help="where the databases are kept; without it in a temporary one")
    parser.add_argument("--part", type=Part.read, default=None, help="live this part alone: 3/20")
    parser.add_argument("--results", default="", help="the file to which the result of a part is appended")
    parser.add_argument("--sum", default="", help="say what the results in this file come to, and live nothing")
    parser.add_argument("--database", default="", help=argparse.SUPPRESS)
    parser.add_argument("--lived", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.sum:
        print(summed(Path(given.sum).read_text().splitlines()))
        return
    if given.part:
        _live_part(given)
        return
    if given.database:
        _live_in(given)
        return
    with tempfile.TemporaryDirectory(prefix="dunning-simulation-") as folder:
        failed = _live_all(given, Path(given.folder or folder).resolve())
    raise SystemExit(f"{failed} chunks differ" if failed else 0)


def _stand(folder: Path) -> None:
    os.environ |= {
        "BILLING_DATA_DIR": str(folder),
        "DATABASE_URL": "",
        "DJANGO_SETTINGS_MODULE": "billing_site.settings",
        "PYTHONWARNINGS": "ignore",
    }
    import django

    from billing_site.kernel.garbage import look_seldom

    # As a worker does it (`manage.py`).
    look_seldom()
    django.setup()


def _live_in(given: argparse.Namespace) -> None:
    """Live one chunk in a database that is there."""
    _stand(Path(given.folder))
    from django.db import connection

    connection.settings_dict["NAME"] = given.database
    numbers = range(given.first, given.first + given.customers)
    lived = live(seed=given.seed, customers=numbers, months=given.months, looks_a_day=given.looks, only=given.only)
    for one in lived.differences[:DIFFERENCES_SHOWN]:
        print(one, flush=True)
    if given.lived:
        Path(given.lived).write_text(json.dumps(lived.figures))
    raise SystemExit(f"{len(lived.differences)} differences" if lived.differences else 0)


def _live_part(given: argparse.Namespace) -> None:
    """Live one part as a world of its own, and keep its result."""
    part, whole = given.part, {name: getattr(given, name) for name in ("seed", "customers", "months", "looks")}
    numbers = part.customers(given.customers)
    given.first, given.customers, given.chunk, given.seed = (
        numbers.start,
        len(numbers),
        len(numbers),
        part.seed(given.seed),
    )
    with tempfile.TemporaryDirectory(prefix="dunning-simulation-") as folder:
        given.lived = str(Path(folder) / "lived.json")
        failed = _live_all(given, Path(given.folder or folder).resolve())
        if given.results:
            lived = json.loads(Path(given.lived).read_text())
            keep(Path(given.results), whole=whole, part=part, lived={"own_seed": given.seed, **lived})
    raise SystemExit(f"part {part.number} differs" if failed else 0)


def _live_all(given: argparse.Namespace, folder: Path) -> int:
    """Make a database for each chunk, and let some of them live at a time; returns how many differ."""
    _stand(folder)
    from django.core.management import call_command
    from django.db import connection

    from billing_site.database.embedded import embedded_server

    print(f"seed {given.seed}: {given.customers} customers from {given.first}, {given.months} months", flush=True)
    began = time.monotonic()
    try:
        call_command("migrate", interactive=False, verbosity=0)
        connection.close()
        chunks = range(given.first, given.first + given.customers, given.chunk)
        if given.only:
            chunks = range(1)
        waiting = [_order(given, folder, first) for first in chunks]
        failed = _run(waiting, processes=given.processes)
    finally:
        connection.close()
        embedded_server(data_dir=folder).leave()
    days = given.customers * given.months * 30
    seconds = time.monotonic() - began
    print(
        f"seed {given.seed}: {days:,} days of customers in {seconds:,.0f} s, {days / seconds:,.0f} a second", flush=True
    )
    return failed


def _order(given: argparse.Namespace, folder: Path, first: int) -> list[str]:
    """Make the database of a chunk, and return the command that lives it."""
    from django.db import connection

    name = f"lives_{first}"
    connection.settings_dict["NAME"] = "postgres"
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {name}")
        cursor.execute(f"CREATE DATABASE {name} TEMPLATE billing")
        # A crash of the machine ends the simulation anyway.
        cursor.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    connection.close()
    last = given.first + given.customers
    options = {
        "first": given.only.removeprefix("cust_") if given.only else first,
        "customers": 1 if given.only else min(given.chunk, last - first),
        "months": given.months,
        "seed": given.seed,
        "looks": given.looks,
        "folder": folder,
        "database": name,
        "lived": given.lived,
    }
    told = [f"--{option}={value}" for option, value in options.items()]
    told += [f"--only={given.only}"] if given.only else []
    return [sys.executable, "-m", "tests.scenarios.dunning_simulation", *told]


def _run(waiting: list[list[str]], *, processes: int) -> int:
    """Run commands, so many at a time; returns how many failed."""
    failed, running = 0, []
    while waiting or running:
        while waiting and len(running) < processes:
            running.append(subprocess.Popen(waiting.pop(0), cwd=ROOT))
        ended = [one for one in running if one.poll() is not None]
        failed += sum(1 for one in ended if one.returncode)
        running = [one for one in running if one not in ended]
        time.sleep(0.2)
    return failed


if __name__ == "__main__":
    main()
