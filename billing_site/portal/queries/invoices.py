"""A customer's invoices: as rows of a list, in pages, and what of them is open or overdue."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from moneyed import Money

from billing_site.kernel.money import round_money, total
from billing_site.portal.queries.usage import days_of
from dunning.notices.facts import objected_of
from invoicing.bank.queries import on_account_of
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice, InvoiceKind, InvoiceStatus
from invoicing.invoices.queries import period_shown, with_service

INVOICES_PER_PAGE = 24
OVERDUE = "overdue"
WRITTEN_OFF = "written off"
CREDITED = "credited in full"

_STATES = {InvoiceStatus.WRITTEN_OFF.value: WRITTEN_OFF}


@dataclass(frozen=True)
class InvoiceRow:
    """An invoice with the word for its state, its days where the customer is, and what of it is open.

    A one-off invoice bills no period: its first and last day are the one on which it was made.
    """

    invoice: Invoice
    state: str
    first_day: date
    last_day: date
    open: Money
    is_in_advance: bool

    @property
    def is_one_off(self) -> bool:
        """Say whether it bills no period."""
        return self.invoice.kind == InvoiceKind.ONE_OFF

    @property
    def is_progressive(self) -> bool:
        """Say whether it charges what was used of a period that ran."""
        return self.invoice.kind == InvoiceKind.PROGRESSIVE

    @property
    def is_overdue(self) -> bool:
        """Say whether it should have been paid by now."""
        return self.state == OVERDUE

    @property
    def is_partly_paid(self) -> bool:
        """Say whether some of it has arrived and some has not."""
        return bool(self.open.amount) and self.open != self.invoice.total


@dataclass(frozen=True)
class OpenInvoices:
    """What a customer owes as our books have it, and what of the customer's money they hold for no invoice yet, by currency.

    `written_off` was open when it was given up, and is no longer asked for; `objected` is not asked for until that is decided.
    """

    count: int
    amount: Money
    overdue: tuple[InvoiceRow, ...]
    overdue_amount: Money
    on_account: tuple[Money, ...]
    written_off: Money
    objected: Money


@dataclass(frozen=True)
class InvoiceList:
    """One page of a customer's invoices, newest first."""

    rows: tuple[InvoiceRow, ...]
    page: "Page[Invoice]"


def issued_invoices(*, customer: Customer) -> QuerySet[Invoice]:
    """Return a customer's invoices, newest first; drafts are not the customer's yet."""
    invoices = customer.invoices.exclude(status=InvoiceStatus.DRAFT).order_by("-period_end", "-id")
    invoices = invoices.select_related("progressive")
    return with_service(invoices=invoices)


def invoice_list(*, customer: Customer, page_number: str, at: datetime) -> InvoiceList:
    """Return a page of the customer's invoices; a number that is no page gives the nearest one."""
    page = Paginator(issued_invoices(customer=customer), INVOICES_PER_PAGE).get_page(page_number)
    return InvoiceList(rows=tuple(invoice_row(invoice=invoice, at=at) for invoice in page.object_list), page=page)


def open_invoices(*, customer: Customer, at: datetime) -> OpenInvoices:
    """Return what the customer owes, which invoices should have been paid, longest overdue first, and what is on account."""
    owed = with_service(invoices=customer.invoices.filter(status=InvoiceStatus.ISSUED))
    rows = [invoice_row(invoice=invoice, at=at) for invoice in owed.order_by("due_date", "id")]
    given_up = customer.invoices.filter(status=InvoiceStatus.WRITTEN_OFF)
    overdue = tuple(row for row in rows if row.is_overdue)
    objected = objected_of(invoices=[row.invoice for row in rows]) if rows else {}
    return OpenInvoices(
        count=len(rows),
        amount=total((row.open for row in rows), customer.currency),
        overdue=overdue,
        overdue_amount=total((row.open for row in overdue), customer.currency),
        on_account=tuple(amount for _, amount in sorted(on_account_of(customer_id=customer.pk).items())),
        written_off=total((invoice.amount_unpaid for invoice in given_up), customer.currency),
        objected=total(
            (min(row.open, objected[row.invoice.pk]) for row in rows if row.invoice.pk in objected), customer.currency
        ),
    )


def invoice_row(*, invoice: Invoice, at: datetime) -> InvoiceRow:
    """Return an invoice as the customer sees it: it is overdue when its due date is over where the customer is.

    What was written off is not open, as in our books; it can still be paid. What credit notes alone have settled nobody has paid.
    """
    zone = ZoneInfo(invoice.timezone)
    first_day = last_day = invoice.period_start.astimezone(zone).date()
    period = period_shown(invoice=invoice)
    if period is not None:
        first_day, last_day = days_of(period=period, zone=zone)
    owed = invoice.status == InvoiceStatus.ISSUED
    state = _STATES.get(invoice.status, invoice.status)
    if invoice.status == InvoiceStatus.PAID and invoice.is_credited_alone:
        state = CREDITED
    is_overdue = owed and invoice.due_date is not None and invoice.due_date < at.astimezone(zone).date()
    return InvoiceRow(
        invoice=invoice,
        state=OVERDUE if is_overdue else state,
        first_day=first_day,
        last_day=last_day,
        is_in_advance=period is not None and period.start >= invoice.period_end,
        open=round_money(invoice.amount_unpaid.amount if owed else Decimal(0), invoice.currency),
    )
