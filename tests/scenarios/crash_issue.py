"""kill -9 of a billing run at random points; run again, nothing is lost, doubled or skipped.

    python -m tests.scenarios.crash_issue [--kills 200] [--invoices 2000] [--seconds 0.5] [--seed 1] [--processes 1]

Each try is a process of its own that bills whatever is due, and is killed at a random moment after its first batch has begun: while it
locks, reads, computes, writes drafts, takes numbers, posts or commits. With more `--processes`, of which each begins its own, it is killed
after the first batch that is done, with all of its processes or alone: they end with it. The last one is let live. Then must hold: one issued invoice for each customer, numbers
without gap, one entry and one proof of each, each row of the history there, `verify` content. A kept BENCH_DATA_DIR is of no use.
"""

import os
import random
import signal
import sys
import time
from datetime import timedelta
from typing import NoReturn

from tests.bench import ground

# isort: split
from django.db import connection, connections

from invoicing.invoices.models import Invoice, InvoiceSeries, InvoiceStatus
from invoicing.ledger.models import JournalEntry
from invoicing.workflows import run_billing
from invoicing.workflows.verify import verify
from tests.bench.bench_issue import AS_OF, fill

# Small batches: more kills hit each step of one.
AT_ONCE = 5
AT = AS_OF + timedelta(days=3)


def main() -> None:
    parser = ground.arguments(__doc__, minutes=30)
    parser.add_argument("--kills", type=int, default=200, help="how often it is killed (%(default)s)")
    parser.add_argument("--invoices", type=int, default=2000, help="with three lines each (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments (%(default)s)")
    parser.add_argument("--seconds", type=float, default=0.5, help="it lives at most so long (%(default)s)")
    parser.add_argument("--processes", type=int, default=1, help="that bill at a time (%(default)s)")
    options = parser.parse_args()
    dice = random.Random(options.seed)
    run_billing.BATCH_INVOICES = AT_ONCE
    with ground.standing(minutes=options.minutes):
        fill(options.invoices)
        killed, within = 0, []
        while killed < options.kills and (left := options.invoices - issued()):
            before = issued()
            seconds, alone = dice.uniform(0, options.seconds), dice.random() < 0.5
            if not killed_while_billing(seconds=seconds, processes=options.processes, alone=alone):
                break
            killed += 1
            within.append(issued() - before)
        left = options.invoices - issued()
        report = run_billing.issue_billing(as_of=AS_OF, at=AT)
        assert not report.failures, report.failures[:3]
        check(options.invoices)
        print(
            f"seed {options.seed}, {options.processes} at a time: killed {killed} times, {sum(1 for one in within if not one)} of them before anything was"
            f" committed, after up to {max(within, default=0)} invoices in the others; {left} were left for the last run:"
            f" {options.invoices} invoices, each once, without gap, verified"
        )


def issued() -> int:
    """Return how many invoices are issued; nobody else is at work."""
    return Invoice.objects.filter(status=InvoiceStatus.ISSUED).count()


def killed_while_billing(*, seconds: float, processes: int, alone: bool) -> bool:
    """Bill in a process of its own and kill it after so long, `alone` or with those that it began; False where it was done before."""
    connections.close_all()
    begun, begins = os.pipe()
    pid = os.fork()
    if pid == 0:
        _bill(begins, processes)
    os.close(begins)
    # Ends, too, where the process ends before its first batch.
    os.read(begun, 1)
    os.close(begun)
    time.sleep(seconds)
    done, _ = os.waitpid(pid, os.WNOHANG)
    if done == 0:
        (os.kill if alone else os.killpg)(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        _wait_for_its_session()
        return os.WIFSIGNALED(status)
    return False


def _bill(begins: int, processes: int) -> NoReturn:
    os.setpgid(0, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    plan_anew = run_billing._plan_anew

    def tell(*_: int) -> None:
        os.write(begins, b"!")

    def tell_and_plan() -> None:
        tell()
        plan_anew()

    if processes == 1:
        run_billing._plan_anew = tell_and_plan
    progress = tell if processes > 1 else None
    code = 1
    try:
        report = run_billing.issue_billing(as_of=AS_OF, at=AT, processes=processes, progress=progress)
        code = 1 if report.failures else 0
    finally:
        sys.stdout.flush()
        os._exit(code)


def _wait_for_its_session() -> None:
    """Return when PostgreSQL has noticed: what the killed one had not committed is gone, its locks are free."""
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    while ground.one(others):
        time.sleep(0.01)


def check(invoices: int) -> None:
    """Assert that each invoice is there once, whole, and proven."""
    assert not Invoice.objects.exclude(status=InvoiceStatus.ISSUED).exists(), "no draft is left"
    assert Invoice.objects.count() == Invoice.objects.values("customer").distinct().count() == invoices
    numbers = sorted(Invoice.objects.values_list("number", flat=True))
    assert numbers == [f"INV-2026-{ordinal:05d}" for ordinal in range(1, invoices + 1)], "gapless"
    assert InvoiceSeries.objects.get().next_number == invoices + 1
    assert set(JournalEntry.objects.values_list("kind", "reference")) == {("issue", number) for number in numbers}
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*), count(DISTINCT id) FROM invoicing_historicalinvoice")
        assert cursor.fetchone() == (2 * invoices, invoices), "drafted once and issued once"
    findings = verify()
    assert not findings, findings[:3]


if __name__ == "__main__":
    main()
