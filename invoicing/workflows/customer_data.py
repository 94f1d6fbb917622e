"""What a customer takes along: its last statement, and all that we keep of its contract, invoices and payments as files of plain columns (S0-129)."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from django.db.models import QuerySet

from billing_site.kernel.archive import zipped
from billing_site.kernel.errors import NotFound
from billing_site.kernel.money import plain
from invoicing.customers.life_cycle import state_of
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice, InvoiceLine, InvoiceStatus
from invoicing.reports.asking import Question
from invoicing.reports.report import Cell
from invoicing.reports.statement import statement_report
from invoicing.reports.tabular import cell_text, csv_lines, report_as_csv
from invoicing.subscriptions.models import SubscriptionPhase

READ_ME = """\
All that we keep of {name} ({key}), as of {at} (UTC).

customer.csv       who you are to us, and since when
subscriptions.csv  which plan was in force from when to when
invoices.csv       every invoice that was issued
lines.csv          every line of these, with its quantity and the time it is for
payments.csv       every payment that we received
credit_notes.csv   every credit note
statement.csv      all of these in their order, and what is owed after each

Days and times are UTC. Amounts and quantities are exact, with a point. The invoices themselves (PDF, XML) and the usage events behind each of
them (NDJSON) are on the invoice's page in the portal. SHA256SUMS has a digest of each file.
"""
CUSTOMER = (
    "key",
    "name",
    "email",
    "address",
    "currency",
    "timezone",
    "tax_id",
    "state",
    "state_since",
    "registered_at",
)
SUBSCRIPTION = ("subscription", "plan", "version", "kind", "quantity", "starts_at", "ends_at")
INVOICE = (
    *("number", "kind", "status", "period_start", "period_end", "issued_at", "due_date", "paid_at", "currency"),
    *("subtotal", "tax", "total", "paid", "credited"),
)
LINE = (
    *("invoice", "position", "description", "subscription", "meter", "quantity", "unit", "currency", "amount"),
    *("service_start", "service_end"),
)
PAYMENT = ("invoice", "received_at", "channel", "reference", "currency", "amount", "taken_back_at")
CREDIT_NOTE = ("number", "invoice", "issued_at", "currency", "total")


def customer_data(*, customer: Customer, at: datetime) -> bytes:
    """Return all that is kept of a customer as a ZIP; of an account that another pays for only what is its own."""
    return zipped(parts=_parts(customer, at), at=at)


def last_statement(*, customer: Customer, at: datetime) -> str:
    """Return the statement of a customer since its first invoice, as CSV; raises NotFound for an account that another pays for."""
    if customer.billed_to_id is not None:
        raise NotFound("who pays for this account has the statement", field="customer")
    today = at.astimezone(UTC).date()
    first = _invoices(customer).order_by("issued_at").values_list("issued_at", flat=True).first()
    start = first.astimezone(UTC).date() if first is not None else today
    question = Question(as_of=today, start=start, end=today, currency="", customer=customer)
    return report_as_csv(report=statement_report(question=question))


def _parts(customer: Customer, at: datetime) -> Iterator[tuple[str, bytes]]:
    yield "README.txt", READ_ME.format(name=customer.name, key=customer.key, at=f"{at:%Y-%m-%d %H:%M}").encode()
    yield "customer.csv", _table(CUSTOMER, [_of_customer(customer)])
    yield "subscriptions.csv", _table(SUBSCRIPTION, _phases(customer))
    yield "lines.csv", _table(LINE, _lines(customer))
    if customer.billed_to_id is None:
        yield "invoices.csv", _table(INVOICE, map(_of_invoice, _invoices(customer).order_by("issued_at", "pk")))
        yield "payments.csv", _table(PAYMENT, _payments(customer))
        yield "credit_notes.csv", _table(CREDIT_NOTE, _credit_notes(customer))
        yield "statement.csv", last_statement(customer=customer, at=at).encode()


def _invoices(customer: Customer) -> "QuerySet[Invoice]":
    return customer.invoices.exclude(status=InvoiceStatus.DRAFT)


def _table(titles: tuple[str, ...], rows: Iterable[Iterable[Cell]]) -> bytes:
    cells = ([cell_text(cell) for cell in row] for row in rows)
    return "".join(csv_lines(rows=iter([list(titles), *cells]))).encode()


def _of_customer(customer: Customer) -> list[Cell]:
    since = customer.moves.order_by("-number").values_list("moved_at", flat=True).first()
    who = [customer.key, customer.name, customer.email, customer.address, customer.currency]
    return [
        *(*who, customer.timezone, customer.tax_id),
        *(state_of(customer=customer).value, since, customer.created_at),
    ]


def _phases(customer: Customer) -> Iterator[list[Cell]]:
    rows = SubscriptionPhase.objects.filter(subscription__customer=customer)
    for row in rows.select_related("subscription", "plan_version__plan").order_by("subscription", "starts_at"):
        version = row.plan_version
        named: list[Cell] = [row.subscription.key, version.plan.key, version.number, row.kind]
        yield [*named, row.quantity, row.starts_at, row.ends_at]


def _of_invoice(invoice: Invoice) -> list[Cell]:
    dates = [invoice.period_start, invoice.period_end, invoice.issued_at, invoice.due_date, invoice.paid_at]
    amounts = [invoice.subtotal, invoice.tax_amount, invoice.total, invoice.amount_paid, invoice.amount_credited]
    # That we have given it up is our affair: it is owed as before.
    is_given_up = invoice.status == InvoiceStatus.WRITTEN_OFF
    status = InvoiceStatus.ISSUED.value if is_given_up else invoice.status
    return [invoice.number or "", invoice.kind, status, *dates, invoice.currency, *amounts]


def _lines(customer: Customer) -> Iterator[list[Cell]]:
    rows = InvoiceLine.objects.exclude(invoice__status=InvoiceStatus.DRAFT).select_related("invoice", "subscription")
    if customer.billed_to_id is None:
        rows = rows.filter(invoice__customer=customer)
    else:
        rows = rows.filter(subscription__customer=customer)
    for row in rows.order_by("invoice__issued_at", "invoice", "position").iterator():
        named: list[Cell] = [row.invoice.number or "", row.position, row.description]
        counted: list[Cell] = [
            row.subscription.key if row.subscription else "",
            row.meter_key,
            plain(row.quantity),
            row.unit,
        ]
        yield [*named, *counted, row.currency, row.amount, row.service_start, row.service_end]


def _payments(customer: Customer) -> Iterator[list[Cell]]:
    rows = customer.payments.select_related("invoice", "reversal").order_by("received_at", "pk")
    for row in rows:
        reversal = getattr(row, "reversal", None)
        back = reversal.reversed_at if reversal is not None else None
        yield [row.invoice.number or "", row.received_at, row.channel, row.reference, row.currency, row.amount, back]


def _credit_notes(customer: Customer) -> Iterator[list[Cell]]:
    for row in customer.credit_notes.select_related("invoice").order_by("issued_at", "pk"):
        yield [row.number, row.invoice.number or "", row.issued_at, row.currency, row.total]
