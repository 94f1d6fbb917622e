"""How many documents a minute `verify --chains` walks, against one SHA-256 over each of the same rows.

    python -m tests.bench.bench_verify [--invoices 2000]

One invoice is made by the product and copied with numbers, seals, lines, history, journal entry and postings of its own.
"""

from collections.abc import Callable, Iterator
from copy import copy
from datetime import timedelta
from time import perf_counter, process_time
from typing import Any

from tests.bench import ground

# isort: split
from django.db import connection, models, transaction

from invoicing.evidence.chain import extend_chain
from invoicing.evidence.tables import carved_tables, steady_texts
from invoicing.invoices.models import Invoice, InvoiceLine, InvoiceSeries
from invoicing.invoices.numbering import number_of
from invoicing.invoices.sealing import invoice_seal
from invoicing.ledger.models import JournalEntry, Posting
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.verify import verify_chains
from tests.factories import AUGUST, JULY, SEPTEMBER, a_customer, a_plan, a_subscription, usd_fee, use
from tests.factories import usd_per_action as per_action

BATCH = 500


def main() -> None:
    parser = ground.arguments(__doc__, minutes=10)
    parser.add_argument("--invoices", type=int, default=2000, help="with three lines each (%(default)s)")
    options = parser.parse_args()
    with ground.standing(minutes=options.minutes):
        fill(options.invoices)
        filled = Invoice.objects.count()
        floor = timed(hash_every_row)
        taken = timed(lambda: extend_chain(at=SEPTEMBER))
        ground.execute("ANALYZE")
        findings: list[Any] = []
        walked = timed(lambda: findings.extend(verify_chains()))
        assert not findings, findings[:3]
        ground.show(
            f"{filled:,} invoices with their lines, history, entries and postings",
            ("per minute", "seconds", "per CPU min", "CPU s", "x floor"),
            [
                [name, filled / wall * 60, wall, filled / busy * 60, busy, busy / floor[1]]
                for name, (wall, busy) in {
                    "one SHA-256 over each carved row (floor)": floor,
                    "take all rows into the chain": taken,
                    "verify --chains": walked,
                }.items()
            ],
        )


def fill(count: int) -> None:
    """Make one invoice and copy it until there are so many."""
    if not Invoice.objects.exists():
        a_plan("pro", usd_fee(), per_action(), per_action(key="more", name="More"))
        a_subscription(a_customer())
        use("cust_acme", "1500", at=JULY + timedelta(days=3))
        issue_billing(as_of=AUGUST, at=AUGUST)
    for begin in range(Invoice.objects.count(), count, BATCH):
        with transaction.atomic():
            ground.execute("SET LOCAL session_replication_role = replica")
            copy_invoices(range(begin + 1, min(begin + BATCH, count) + 1))


def copy_invoices(ordinals: range) -> None:
    """Copy the first invoice once for each ordinal, sealed one after another."""
    first = Invoice.objects.order_by("pk").first()
    assert first is not None
    lines = list(first.lines.order_by("position"))
    past: Any = first.history.latest()
    entry = JournalEntry.objects.get(kind="issue", reference=first.number)
    series = InvoiceSeries.objects.get()
    made: dict[type[models.Model], list[Any]] = {}
    highest = {model: model.objects.latest("pk").pk for model in (Invoice, InvoiceLine, JournalEntry, Posting)}
    for ordinal in ordinals:
        invoice = anew(first, made, highest)
        invoice.number = number_of(series=series, ordinal=ordinal)
        invoice.period_start += ordinal * timedelta(hours=1)
        invoice.period_end += ordinal * timedelta(hours=1)
        invoice.previous_seal = series.last_seal
        invoice.seal = invoice_seal(invoice=invoice, line_digests=[line.digest for line in lines], taxes=[])
        series.next_number, series.last_seal = ordinal + 1, invoice.seal
        for line in lines:
            anew(line, made, highest).invoice_id = invoice.pk
        told = copy(past)
        told.pk = None
        for field in Invoice._meta.concrete_fields:
            setattr(told, field.attname, getattr(invoice, field.attname))
        made.setdefault(type(past), []).append(told)
        booked = anew(entry, made, highest)
        booked.reference = invoice.number
        for posting in entry.postings.order_by("pk"):
            anew(posting, made, highest).entry_id = booked.pk
    for model, rows in made.items():
        model._default_manager.bulk_create(rows)
    series.save()
    for model in highest:
        table = model._meta.db_table
        ground.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))")


def anew(row: Any, made: dict[type[models.Model], list[Any]], highest: dict[Any, int]) -> Any:
    """Return a copy of the row under the next number, to be stored."""
    highest[type(row)] += 1
    other = copy(row)
    other.pk = highest[type(row)]
    made.setdefault(type(row), []).append(other)
    return other


def hash_every_row() -> None:
    """Read each carved row as JSON and hash it, nothing else."""
    with transaction.atomic(), connection.cursor() as cursor:
        steady_texts()
        for name in tables_with_rows():
            cursor.execute(f"SELECT max(sha256(convert_to(to_jsonb(carved)::text, 'UTF8'))) FROM {name} carved")


def tables_with_rows() -> Iterator[str]:
    """The carved tables."""
    yield from (table.name for table in carved_tables())


def timed(act: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that it takes, by the clock and of CPU time (ours and the server's)."""
    began, used, served = perf_counter(), process_time(), ground.postgresql()
    act()
    return perf_counter() - began, process_time() - used + served.spent()


if __name__ == "__main__":
    main()
