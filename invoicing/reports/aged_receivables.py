"""What customers owe, by how long it is overdue: each customer in five buckets, and each open invoice behind them."""

from collections.abc import Callable, Sequence
from datetime import date

from moneyed import Money

from billing_site.kernel.money import total
from invoicing.core.posting import RECEIVABLE
from invoicing.ledger.queries import balance_of
from invoicing.reports.asking import Question
from invoicing.reports.receivables import OWED, OpenItem, booked_for, open_items
from invoicing.reports.report import Column, ColumnKind, Door, DoorKind, Report, Row, Section, Tie, sums_of

# Each bucket holds what is overdue by at most so many days; the last one what is overdue by more.
BUCKETS: tuple[tuple[str, str, int | None], ...] = (
    ("current", "Current", 0),
    ("days_1_30", "1–30 days", 30),
    ("days_31_60", "31–60 days", 60),
    ("days_61_90", "61–90 days", 90),
    ("over_90", "Over 90 days", None),
)
AGED_COLUMNS = (
    Column("customer", "Customer", is_name=True),
    Column("customer_id", "Key"),
    *(Column(key, title, ColumnKind.MONEY) for key, title, _ in BUCKETS),
    Column("open", "Open", ColumnKind.MONEY),
)
OPEN_COLUMNS = (
    Column("customer", "Customer", is_name=True),
    Column("customer_id", "Key"),
    Column("invoice", "Invoice"),
    Column("due_date", "Due", ColumnKind.DAY),
    Column("days_overdue", "Days overdue", ColumnKind.NUMBER),
    Column("open", "Open", ColumnKind.MONEY),
)
RowsOf = Callable[[Sequence[OpenItem], str, date], list[Row]]
DEFINITION = (
    "What was open at the end of the day (UTC) of each invoice issued by then: its total less what was paid, credited or written off of it by then. "
    "Days count from the due date: on it an invoice is current, the day after it is overdue by one day."
)


def aged_receivables_report(*, question: Question) -> Report:
    """Return what each customer owes as of a day, by days overdue."""
    return _report(
        question, name="aged-receivables", title="Aged receivables", columns=AGED_COLUMNS, rows_of=_by_customer
    )


def open_invoices_report(*, question: Question) -> Report:
    """Return each invoice that is open as of a day, with the days that it is overdue."""
    return _report(question, name="open-invoices", title="Open invoices", columns=OPEN_COLUMNS, rows_of=_by_invoice)


def bucket_of(*, due_date: date | None, as_of: date) -> str:
    """Return the bucket of what is due on a day; what has no due date is current."""
    overdue = 0 if due_date is None else (as_of - due_date).days
    return next(key for key, _, most in BUCKETS if most is None or overdue <= most)


def _report(question: Question, *, name: str, title: str, columns: Sequence[Column], rows_of: RowsOf) -> Report:
    customer = question.customer
    items = open_items(
        before=question.before,
        currency=question.currency,
        customer_id=customer.pk if customer else None,
        entity=question.books,
    )
    if customer is not None and question.books in ("", customer.legal_entity_id):
        booked = booked_for(subledger=OWED, customer_id=customer.pk, before=question.before)
    elif customer is not None:
        # It owes another company, and nothing to this one.
        booked = {}
    else:
        booked = balance_of(account=RECEIVABLE, before=question.before, entity=question.books)
    sections = []
    for currency in sorted(
        {item.open.currency.code for item in items} | {code for code, one in booked.items() if one.amount}
    ):
        if question.currency not in ("", currency):
            continue
        rows = rows_of([item for item in items if item.open.currency.code == currency], currency, question.as_of)
        totals = sums_of(rows=rows, columns=columns, currency=currency)
        nothing = total((), currency)
        tie = Tie("open", totals["open"], booked.get(currency, nothing), f"account {RECEIVABLE} Receivable")
        sections.append(Section(currency, rows, totals, (tie,)))
    about = f" of {customer.name}" if customer else ""
    return Report(
        name=name,
        title=title + about,
        asked=f"as of the end of {question.as_of}{question.of_whom}",
        columns=columns,
        sections=sections,
        definition=DEFINITION,
    )


def _by_customer(items: Sequence[OpenItem], currency: str, as_of: date) -> list[Row]:
    nothing = total((), currency)
    buckets: dict[str, dict[str, Money]] = {}
    names: dict[str, str] = {}
    for item in items:
        names[item.customer_key] = item.customer_name
        mine = buckets.setdefault(item.customer_key, {key: nothing for key, _, _ in BUCKETS})
        mine[bucket_of(due_date=item.due_date, as_of=as_of)] += item.open
    rows = []
    for key, mine in buckets.items():
        doors = {"customer": Door(DoorKind.CUSTOMER, key), "open": Door(DoorKind.STATEMENT, key)}
        shown = {name: amount if amount.amount else None for name, amount in mine.items()}
        rows.append(
            Row({"customer": names[key], "customer_id": key, **shown, "open": total(mine.values(), currency)}, doors)
        )
    return rows


def _by_invoice(items: Sequence[OpenItem], currency: str, as_of: date) -> list[Row]:
    return [
        Row(
            {
                "customer": item.customer_name,
                "customer_id": item.customer_key,
                "invoice": item.invoice_number,
                "due_date": item.due_date,
                "days_overdue": None if item.due_date is None else max((as_of - item.due_date).days, 0),
                "open": item.open,
            },
            {
                "customer": Door(DoorKind.CUSTOMER, item.customer_key),
                **({"invoice": Door(DoorKind.INVOICE, item.invoice_number)} if item.invoice_number else {}),
            },
        )
        for item in items
    ]
