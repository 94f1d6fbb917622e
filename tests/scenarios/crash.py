"""kill -9 of web, worker and database at random while a month is billed and pushed; afterwards nothing is lost or doubled.

    python -m tests.scenarios.crash --rounds 20 [--seed 1]

Each round bills one more month of thirty customers. While `manage.py bill` runs and while the worker pushes, processes
are killed: whole programs, single processes of theirs, the postmaster, one of its sessions, `bill` itself. `serve`
restarts what it looks after; `bill` is repeated until it succeeds, as a person or a timer would. Then must hold: one
issued invoice for each customer and period, numbers without gap, each invoice once at Stripe's twin, everything paid
once, `verify` content. Only processes that were started here are killed. Prints a line for each round.
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).resolve().parents[2]
CUSTOMERS = 30
FIRST_YEAR = 2024
ROUND_SECONDS_MAX = 150
KILLS_WHILE_BILLING = 2
KILLS_WHILE_PUSHING = 2
# A job whose worker was killed comes again after this; it must be more than twice the timeout.
JOB_TIMEOUT_SECONDS, JOB_RETRY_SECONDS = "4", "9"

CATALOG = {
    "meters": [{"key": "actions", "name": "Actions", "event_type": "action", "unit": "action"}],
    "products": [{"key": "platform", "name": "Platform"}],
    "plans": [
        {
            "key": "pro",
            "name": "Pro",
            "product": "platform",
            "prices": [
                {"key": "base", "name": "Pro", "currency": "EUR", "model": "flat", "unit_amount": "99"},
                {
                    "key": "actions",
                    "name": "Actions",
                    "currency": "EUR",
                    "meter": "actions",
                    "model": "per_unit",
                    "unit_amount": "0.013",
                    "free_units": "50",
                },
            ],
        }
    ],
}


def month_start(number: int) -> datetime:
    """Return the first moment of a month, counted from January of the first year."""
    return datetime(FIRST_YEAR + number // 12, number % 12 + 1, 1, tzinfo=UTC)


def processes() -> list[tuple[int, int, int]]:
    """Return pid, parent and session of every process that runs (no zombies)."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent, _group, session = status.read_text(errors="replace").rpartition(")")[2].split()[:4]
            if state not in "ZX":
                found.append((int(status.parent.name), int(parent), int(session)))
    return found


class House:
    """The running product of this scenario and the ways to harm it."""

    def __init__(self, *, data_dir: Path, dice: random.Random) -> None:
        from billing_site.serving.programs import Address

        self.dice = dice
        self.data_dir = data_dir
        self.web, self.sandbox = Address.free(), Address.free()
        self.log = (data_dir / "serve.log").open("a")
        self.serve: subprocess.Popen[str] | None = None
        self.bill: subprocess.Popen[str] | None = None

    def manage(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a management command; its output goes to the log."""
        environment = {**os.environ, "SANDBOX_BIND": str(self.sandbox)}
        command = [sys.executable, str(ROOT / "manage.py"), *arguments]
        return subprocess.Popen(command, env=environment, stdout=self.log, stderr=subprocess.STDOUT, text=True)

    def start(self) -> None:
        """Start `serve` and wait until it is well."""
        from billing_site.serving.readiness import wait_until_healthy

        self.serve = self.manage("serve", "--bind", str(self.web))
        alive = wait_until_healthy(url=self.web.url, seconds=90, go_on=lambda: self.serve.poll() is None)
        assert alive, f"serve does not come up; see {self.log.name}"

    def stop(self) -> None:
        """Stop what we started; it takes its time or is killed."""
        for process in (self.bill, self.serve):
            if process is not None and process.poll() is None:
                process.terminate()
                try:
                    process.wait(timeout=60)
                except subprocess.TimeoutExpired:
                    process.kill()
        self.log.close()

    def program(self, word: str) -> int | None:
        """Return the pid of the child of `serve` whose command line holds a word."""
        assert self.serve is not None
        for pid, parent, _session in processes():
            with contextlib.suppress(OSError):
                if parent == self.serve.pid and word in Path(f"/proc/{pid}/cmdline").read_bytes().decode():
                    return pid
        return None

    def kill_something(self) -> str:
        """Kill one process of ours, chosen by the dice; returns what it was."""
        victim = self.dice.choice(("web", "worker", "worker", "database", "database", "bill"))
        if victim == "bill" and (self.bill is None or self.bill.poll() is not None):
            victim = "worker"
        pid = {"web": self._web, "worker": self._worker, "database": self._database, "bill": self._bill}[victim]()
        if pid is None:
            return f"{victim} (was down)"
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return victim

    def _web(self) -> int | None:
        return self._one_of_session(self.program("granian"))

    def _worker(self) -> int | None:
        return self._one_of_session(self.program("\0work\0"))

    def _bill(self) -> int | None:
        return self.bill.pid if self.bill else None

    def _one_of_session(self, leader: int | None) -> int | None:
        """Return the leader half of the time, otherwise any process of its session."""
        members = [pid for pid, _parent, session in processes() if session == leader]
        return leader if leader is None or self.dice.random() < 0.5 else self.dice.choice(members or [leader])

    def _database(self) -> int | None:
        """Return the postmaster, or any process of its server."""
        from billing_site.database.postmaster import read_postmaster

        postmaster = read_postmaster(cluster=self.data_dir / "postgresql" / "cluster")
        if postmaster is None or not postmaster.is_alive():
            return None
        sessions = [pid for pid, parent, _session in processes() if parent == postmaster.pid]
        return postmaster.pid if self.dice.random() < 0.6 or not sessions else self.dice.choice(sessions)


@contextlib.contextmanager
def fresh_connection() -> Iterator[None]:
    """Ask the database over a new connection: the one before may be dead."""
    from django.db import connection

    connection.close()
    try:
        yield
    finally:
        connection.close()


def found_company() -> str:
    """Create catalog, customers and subscriptions; returns an API key."""
    from billing_site.api.operations import create_api_key
    from invoicing.catalog.operations import load_catalog
    from invoicing.catalog.queries import published_version
    from invoicing.customers.operations import create_customer
    from invoicing.subscriptions.start import start_subscription

    first = month_start(0)
    load_catalog(document=CATALOG, at=first, actor="crash", reason="set up")
    for number in range(CUSTOMERS):
        customer = create_customer(
            key=f"cust_{number:02d}",
            name=f"Customer {number:02d}",
            email=f"c{number:02d}@example.com",
            currency="EUR",
            payment_method="pm_card_visa",
            actor="crash",
            reason="set up",
        )
        start_subscription(
            key=f"sub_{number:02d}",
            customer=customer,
            plan_version=published_version(plan_key="pro"),
            started_at=first,
            actor="crash",
            reason="set up",
        )
    return create_api_key(name="crash", scopes=["events:write"])


def send_usage(house: House, *, key: str, month: int) -> None:
    """Send a month of events, again until they are accepted."""
    events = [
        {
            "event_id": f"{month}-{number}-{count}",
            "idempotency_key": f"{month}-{number}-{count}",
            "event_type": "action",
            "timestamp": (month_start(month) + timedelta(days=count, hours=number % 24)).isoformat(),
            "customer_id": f"cust_{number:02d}",
            "quantity": str(10 + number + count),
        }
        for number in range(CUSTOMERS)
        for count in range(12)
    ]
    for _attempt in range(40):
        with contextlib.suppress(requests.RequestException):
            answer = requests.post(
                f"{house.web.url}/api/v1/events",
                json={"events": events},
                headers={"Authorization": f"Bearer {key}"},
                timeout=20,
            )
            if answer.status_code == 202:
                told = answer.json()
                assert told["accepted"] + told["duplicates"] == len(events), told
                return
        time.sleep(0.5)
    raise AssertionError("the web took no events")


def bill_under_fire(house: House, *, month: int) -> list[str]:
    """Bill a month while processes are killed, repeating `bill` until it succeeds, then go on killing while it pushes."""
    end = month_start(month + 1)
    at = end + timedelta(hours=6)
    command = ("bill", "--as-of", end.isoformat(), "--at", at.isoformat(), "--issue")
    killed: list[str] = []
    for _attempt in range(12):
        house.bill = house.manage(*command)
        while house.bill.poll() is None:
            time.sleep(house.dice.uniform(0.3, 2.2))
            if len(killed) < KILLS_WHILE_BILLING and house.bill.poll() is None:
                killed.append(house.kill_something())
        if house.bill.returncode == 0:
            break
        time.sleep(0.5)
    assert house.bill.returncode == 0, "bill succeeds in the end"
    for _kill in range(KILLS_WHILE_PUSHING):
        time.sleep(house.dice.uniform(0.0, 1.5))
        killed.append(house.kill_something())
    return killed


def wait_until_paid(*, expected: int) -> None:
    """Wait until the worker has pushed everything and every invoice is paid."""
    from django.db import Error

    from invoicing.invoices.models import Invoice
    from invoicing.payments.queries import payment_health
    from invoicing.tasks import sweep_payments

    until = time.monotonic() + ROUND_SECONDS_MAX
    while time.monotonic() < until:
        with contextlib.suppress(Error), fresh_connection():
            # The scheduler does this once a minute; the scenario does not wait for the minute.
            sweep_payments()
            health = payment_health()
            paid = Invoice.objects.filter(status="paid").count()
            if paid == expected and not health.pushes_pending and not health.notices_waiting:
                return
        time.sleep(0.5)
    with fresh_connection():
        statuses = Counter(Invoice.objects.values_list("status", flat=True))
        raise AssertionError(f"not finished in time: {dict(statuses)}, {payment_health()}")


def twin_invoices(house: House) -> list[dict[str, Any]]:
    """Return every invoice that Stripe's twin holds."""
    from django.conf import settings

    found: list[dict[str, Any]] = []
    while True:
        answer = requests.get(
            f"{house.sandbox.url}/v1/invoices",
            params={"limit": 100, **({"starting_after": found[-1]["id"]} if found else {})},
            headers={"Authorization": f"Bearer {settings.SANDBOX_SECRET_KEY}"},
            timeout=30,
        )
        answer.raise_for_status()
        page = answer.json()
        found += page["data"]
        if not page["has_more"]:
            return found


def check(house: House, *, months: int) -> None:
    """Assert all that must hold after a round."""
    from invoicing.invoices.models import Invoice
    from invoicing.ledger.models import JournalEntry
    from invoicing.payments.models import Payment
    from invoicing.workflows.verify import verify

    expected = CUSTOMERS * months
    twins = twin_invoices(house)
    with fresh_connection():
        invoices = list(Invoice.objects.exclude(status="draft").order_by("number"))
        periods = Counter((invoice.customer_id, invoice.period_start) for invoice in invoices)
        assert len(invoices) == expected, f"{len(invoices)} invoices issued instead of {expected}"
        assert set(periods.values()) == {1}, "one invoice for each customer and period"
        by_series: dict[str, list[int]] = {}
        for invoice in invoices:
            prefix, _, ordinal = str(invoice.number).rpartition("-")
            by_series.setdefault(prefix, []).append(int(ordinal))
        assert all(sorted(found) == list(range(1, len(found) + 1)) for found in by_series.values()), by_series
        assert Payment.objects.count() == expected, "each invoice is paid once"
        assert JournalEntry.objects.count() == 2 * expected, "each issue and each payment is booked once"
        mine = {invoice.number: int(invoice.total.amount * 100) for invoice in invoices}
        findings = verify()
    assert Counter(twin["number"] for twin in twins) == Counter(mine.keys()), "the twin holds each invoice once"
    assert {twin["number"]: twin["amount_paid"] for twin in twins} == mine, "the twin was paid what we billed"
    assert findings == [], findings


def run(*, rounds: int, seed: int) -> None:
    """Play the rounds in a data folder of their own."""
    with tempfile.TemporaryDirectory(prefix="crash-") as folder:
        os.environ |= {
            "BILLING_DATA_DIR": folder,
            "DJANGO_SETTINGS_MODULE": "billing_site.settings",
            "JOB_TIMEOUT_SECONDS": JOB_TIMEOUT_SECONDS,
            "JOB_RETRY_SECONDS": JOB_RETRY_SECONDS,
            "PYTHONWARNINGS": "ignore",
        }
        for name in ("DATABASE_URL", "STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET", "PUBLIC_URL", "SANDBOX_WEBHOOK_URL"):
            os.environ.pop(name, None)
        import django

        django.setup()
        house = House(data_dir=Path(folder), dice=random.Random(seed))
        try:
            play(house, rounds=rounds)
        except BaseException:
            sys.stdout.write("".join(Path(house.log.name).read_text().splitlines(keepends=True)[-60:]))
            raise
        finally:
            house.stop()


def play(house: House, *, rounds: int) -> None:
    """Set up, then one month a round."""
    house.start()
    key = found_company()
    for month in range(rounds):
        began = time.monotonic()
        send_usage(house, key=key, month=month)
        killed = bill_under_fire(house, month=month)
        wait_until_paid(expected=CUSTOMERS * (month + 1))
        check(house, months=month + 1)
        seconds = time.monotonic() - began
        print(f"round {month + 1:2}: killed {', '.join(killed):<44} whole again after {seconds:4.1f} s", flush=True)
    assert house.serve is not None
    house.serve.terminate()
    assert house.serve.wait(timeout=60) == 0, "serve stops cleanly after all of this"
    verified = house.manage("verify")
    assert verified.wait(timeout=120) == 0, "`manage.py verify` is content"
    print(
        f"{rounds} rounds, {CUSTOMERS * rounds} invoices: each once, numbered without gap, paid, verified.", flush=True
    )


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    run(rounds=given.rounds, seed=given.seed)


if __name__ == "__main__":
    main()
