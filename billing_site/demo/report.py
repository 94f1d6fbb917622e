"""What the demo shows at its end: the invoices by month and currency, the open ones, and where to look."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from django.conf import settings
from django.db.models import Count, Sum
from django.db.models.functions import TruncMonth
from moneyed import Money
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from billing_site.demo.company import CUSTOMERS
from billing_site.demo.keepsake import APPROVER_LOGIN, FINANCE_LOGIN, LEGAL_LOGIN, LOGIN, PASSWORD, Completion
from invoicing.closing.queries import closes_in_force
from invoicing.customers.portal_links import link_for
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.invoices.printed_text import money_text
from invoicing.payments.models import PaymentFailure
from invoicing.write_offs.queries import write_off_in_force

PORTALS = ("cust_northwind", "cust_lippe", "cust_kumo_systems")


@dataclass(frozen=True)
class _Sum:
    """How many invoices of one currency, by status, and what they amount to."""

    statuses: Counter[str] = field(default_factory=Counter)
    billed: Decimal = Decimal(0)
    received: Decimal = Decimal(0)

    def __add__(self, other: "_Sum") -> "_Sum":
        return _Sum(
            statuses=self.statuses + other.statuses,
            billed=self.billed + other.billed,
            received=self.received + other.received,
        )

    def add_to(self, table: Table, *, label: str, currency: str) -> None:
        """Add itself to the table as a row."""
        table.add_row(
            label,
            str(self.statuses.total()),
            str(self.statuses[InvoiceStatus.PAID]),
            str(self.statuses[InvoiceStatus.ISSUED]),
            str(self.statuses[InvoiceStatus.WRITTEN_OFF]),
            money_text(money=Money(self.billed, currency)),
            money_text(money=Money(self.received, currency)),
        )


def show_invoices(*, console: Console) -> None:
    """Print the issued invoices by the month of their issue and currency, then each that is not paid, with the reason."""
    found: defaultdict[tuple[datetime, str], _Sum] = defaultdict(_Sum)
    totals: defaultdict[str, _Sum] = defaultdict(_Sum)
    issued = Invoice.objects.exclude(status=InvoiceStatus.DRAFT)
    for row in (
        issued.annotate(month=TruncMonth("issued_at"))
        .values("month", "currency", "status")
        .annotate(count=Count("id"), billed=Sum("total"), received=Sum("amount_paid"))
        .order_by("month", "currency")
    ):
        part = _Sum(Counter({row["status"]: row["count"]}), row["billed"], row["received"])
        found[row["month"], row["currency"]] += part
        totals[row["currency"]] += part

    table = Table(title="Invoices", title_justify="left")
    for heading in ("Issued in", "Invoices", "Paid", "Open", "Lost", "Billed", "Received"):
        table.add_column(heading, justify="left" if heading == "Issued in" else "right", no_wrap=True)
    for (month, currency), summed in found.items():
        summed.add_to(table, label=f"{month:%b %Y}", currency=currency)
    table.add_section()
    for currency, summed in sorted(totals.items()):
        summed.add_to(table, label="Total", currency=currency)
    console.print(table)
    _show_unpaid(console=console)


def show_where_to_look(*, console: Console, url: str, api_key: str, noted: Completion, is_served: bool) -> None:
    """Print addresses and logins."""
    lines = [
        f"Back office  {url}/admin/      login [bold]{LOGIN}[/bold], password [bold]{PASSWORD}[/bold]"
        " (made by the demo: for this machine only)",
        f"API          {url}/api/docs/   key [bold]{api_key}[/bold]",
    ]
    names = {customer.key: customer.name for customer in CUSTOMERS}
    for key in PORTALS:
        lines.append(
            f"Portal       {names[key][:60]}\n             {link_for(customer_key=key).replace(settings.PUBLIC_URL, url, 1)}"
        )
    closed = closes_in_force().first()
    if closed is not None:
        finance = f"login [bold]{FINANCE_LOGIN}[/bold], password [bold]{PASSWORD}[/bold]: Finance"
        lines.insert(
            1,
            f"             {finance}, who closed {closed.month:%B %Y}; [bold]{APPROVER_LOGIN}[/bold], same password: approves;"
            f" [bold]{LEGAL_LOGIN}[/bold]: Legal, approves the words of notices",
        )
    lines.append(f"In it        {len(CUSTOMERS)} customers, {noted.events:,} events ({noted.duplicates:,} sent twice)")
    if not is_served:
        lines.append("Nothing is served now: `make demo` or `manage.py serve` does.")
    # No box: an address that is broken by a frame cannot be clicked or copied.
    console.print(Panel.fit("The demo company is ready.", style="green"))
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)


def _show_unpaid(*, console: Console) -> None:
    unpaid = Invoice.objects.filter(status__in=(InvoiceStatus.ISSUED, InvoiceStatus.WRITTEN_OFF)).order_by("number")
    reasons = dict(PaymentFailure.objects.order_by("occurred_at").values_list("invoice_id", "message"))
    table = Table(title="Not paid, as planned", title_justify="left")
    for heading in ("Number", "Customer", "Unpaid", "Why"):
        table.add_column(heading, no_wrap=heading in ("Number", "Unpaid"))
    for invoice in unpaid:
        waiting = "waits for the bank transfer" if invoice.settlement_channel == "manual" else "waits for Stripe"
        why = reasons.get(invoice.pk, waiting).partition(". ")[0].rstrip(".")
        if invoice.status == InvoiceStatus.WRITTEN_OFF:
            why = f"given up: {write_off_in_force(invoice=invoice).reason}"
        table.add_row(invoice.number, invoice.customer_name, money_text(money=invoice.amount_unpaid), why)
    if table.row_count:
        console.print(table)
