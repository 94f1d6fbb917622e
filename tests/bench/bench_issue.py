"""How many invoices of three lines a second a billing run issues, end to end, against INSERT ... SELECT of the same rows.

    python -m tests.bench.bench_issue [--invoices 1000] [--processes 1]

Every customer has a fee and two meters with usage of one month. Issued means: rolled up, computed, looked at by the gate, numbered
without a gap, sealed, posted, queued for collection. The first floor copies the rows that this made (invoices, lines, history, entries,
postings) into tables with the same columns and primary keys, and without a trigger. The second writes them into the tables themselves,
emptied, by nine statements of one transaction: as drafts, with their lines, then issued and posted, under all indexes, constraints and
triggers. That is what PostgreSQL alone takes for what it guarantees.
"""

import resource
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from time import perf_counter, process_time

from tests.bench import ground

# isort: split
from django.apps import apps
from django.db import transaction

from invoicing.catalog.operations import load_catalog
from invoicing.entities.operations import first_entity
from invoicing.invoices.models import Invoice, InvoiceSeries
from invoicing.workflows.run_billing import issue_billing
from metering.core.parsing import Event
from metering.ingest import accept_events
from tests.bench.bench_preview import CUSTOMERS, SUBSCRIPTIONS

STARTED_AT, AS_OF = datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 8, 1, tzinfo=UTC)
PRICES = [
    {"key": "base", "name": "Base fee", "currency": "USD", "model": "flat", "unit_amount": "29"},
    {"key": "m0", "name": "Actions", "currency": "USD", "meter": "m0", "model": "per_unit", "unit_amount": "0.01"},
    {"key": "m1", "name": "Calls", "currency": "USD", "meter": "m1", "model": "per_unit", "unit_amount": "0.02"},
]
BATCH = 500
# What issuing an invoice writes.
WRITTEN = ("Invoice", "InvoiceLine", "HistoricalInvoice", "JournalEntry", "Posting")
TABLES = tuple(apps.get_model("invoicing", name)._meta.db_table for name in WRITTEN)
SET_AT_ISSUE = ("status", "series_id", "number", "issued_at", "due_date", "previous_seal", "seal")


def main() -> None:
    parser = ground.arguments(__doc__, minutes=10)
    parser.add_argument("--invoices", type=int, default=1000, help="with three lines each (%(default)s)")
    parser.add_argument("--processes", type=int, default=1, help="that bill at a time (%(default)s)")
    options = parser.parse_args()
    with ground.standing(minutes=options.minutes):
        fill(options.invoices)
        postgresql = ground.postgresql()
        began, busy = perf_counter(), spent()
        report = issue_billing(as_of=AS_OF, at=AS_OF + timedelta(days=3), processes=options.processes)
        wall, own, database = perf_counter() - began, spent() - busy, postgresql.spent()
        issued = Invoice.objects.filter(status="issued").count()
        assert not report.failures, report.failures[:3]
        assert issued == options.invoices == InvoiceSeries.objects.get().next_number - 1, (
            "all are issued, without a gap"
        )
        floor, guarded = measured(copied), measured(written_again)
        ground.show(
            f"{issued:,} invoices of three lines, issued",
            ("per second", "seconds", "own CPU s", "PostgreSQL CPU s", "% of bare", "% of guarded"),
            [
                _row("INSERT ... SELECT into bare tables (floor)", issued, floor[0], None, floor[1], floor, guarded),
                _row("INSERT ... SELECT, guarded (floor)", issued, guarded[0], None, guarded[1], floor, guarded),
                _row("issue_billing", issued, wall, own, database, floor, guarded),
            ],
        )
        print(f"peak memory of the process: {_peak(resource.RUSAGE_SELF):,.0f} MB")
        if options.processes > 1:
            print(f"of the largest of the {options.processes} that bill: {_peak(resource.RUSAGE_CHILDREN):,.0f} MB")


def spent() -> float:
    """Return the CPU seconds of this process and of those that it began and that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return process_time() + children.ru_utime + children.ru_stime


def _peak(whose: int) -> float:
    return resource.getrusage(whose).ru_maxrss / 1024


def fill(invoices: int) -> None:
    """Store customers, subscriptions and their usage; everything is issued once, so that a kept folder is of no use."""
    if ground.one("SELECT count(*) FROM invoicing_customer"):
        raise SystemExit("there are customers already: give BENCH_DATA_DIR a folder of its own")
    first_entity()
    document = {
        "products": [{"key": "platform", "name": "Platform"}],
        "plans": [{"key": "three", "name": "Three", "product": "platform", "prices": PRICES}],
    }
    load_catalog(document=document, at=datetime(2020, 1, 1, tzinfo=UTC), actor="bench", reason="bench")
    ground.execute(CUSTOMERS, invoices)
    ground.execute(SUBSCRIPTIONS, STARTED_AT, STARTED_AT)
    for begin in range(1, invoices + 1, BATCH):
        numbers = range(begin, min(begin + BATCH, invoices + 1))
        accept_events(events=[used(number, meter) for number in numbers for meter in range(2)])
    ground.execute("ANALYZE")


def used(number: int, meter: int) -> Event:
    """What a customer used of a meter."""
    key = f"evt_{number}_{meter}"
    return Event(
        event_id=key,
        idempotency_key=key,
        event_type=f"action.{meter}",
        timestamp=STARTED_AT + timedelta(days=3),
        customer_id=f"cust_{number}",
        quantity=Decimal(1000 + number % 977),
        namespace_id="",
        properties={},
    )


def _row(
    name: str,
    issued: int,
    wall: float,
    own: float | None,
    database: float,
    floor: tuple[float, float],
    guarded: tuple[float, float],
) -> list[str | float | None]:
    return [name, issued / wall, wall, own, database, 100 * floor[0] / wall, 100 * guarded[0] / wall]


def measured(deed: Callable[[], float]) -> tuple[float, float]:
    """Return the seconds that SQL takes and the CPU seconds of PostgreSQL, what comes before it included."""
    postgresql = ground.postgresql()
    return deed(), postgresql.spent()


def copied() -> float:
    """Return the seconds that plain copies of the rows take."""
    for table in TABLES:
        ground.execute(f"CREATE TABLE copy_of_{table} (LIKE {table} INCLUDING INDEXES INCLUDING DEFAULTS)")
    began = perf_counter()
    for table in TABLES:
        ground.execute(f"INSERT INTO copy_of_{table} SELECT * FROM {table}")
    return perf_counter() - began


def written_again() -> float:
    """Return the seconds in which SQL alone writes the copied rows again into the emptied tables, as a run does: nothing of this database is used after it."""
    series = InvoiceSeries.objects.get()
    with transaction.atomic():
        # Behind the back of all triggers: what is issued is carved in stone.
        ground.execute("SET LOCAL session_replication_role = replica")
        ground.execute(f"TRUNCATE {', '.join(TABLES)} CASCADE")
        ground.execute("UPDATE invoicing_invoiceseries SET next_number = 1, last_seal = ''")
    invoice, line, history, entry, posting = TABLES
    drafted = _columns(invoice, without=SET_AT_ISSUE)
    booked = _columns(entry, without=("recorded_in",))
    issue = ", ".join(f"{name} = issued.{name}" for name in SET_AT_ISSUE)
    began = perf_counter()
    with transaction.atomic():
        ground.execute(
            f"INSERT INTO {invoice} ({drafted}, status, previous_seal, seal) SELECT {drafted}, 'draft', '', '' FROM copy_of_{invoice}"
        )
        ground.execute(f"INSERT INTO {history} SELECT * FROM copy_of_{history} WHERE history_type = '+'")
        ground.execute(f"INSERT INTO {line} SELECT * FROM copy_of_{line}")
        ground.execute(
            f"UPDATE {invoice} AS stored SET {issue} FROM copy_of_{invoice} AS issued WHERE issued.id = stored.id"
        )
        ground.execute(f"INSERT INTO {history} SELECT * FROM copy_of_{history} WHERE history_type = '~'")
        ground.execute(
            "UPDATE invoicing_invoiceseries SET next_number = %s, last_seal = %s", series.next_number, series.last_seal
        )
        ground.execute(f"INSERT INTO {entry} ({booked}) SELECT {booked} FROM copy_of_{entry}")
        ground.execute(f"INSERT INTO {posting} SELECT * FROM copy_of_{posting}")
    return perf_counter() - began


def _columns(table: str, *, without: Sequence[str]) -> str:
    columns = ground.one(
        "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute"
        " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attname <> ALL(%s)",
        table,
        list(without),
    )
    return str(columns)


if __name__ == "__main__":
    main()
