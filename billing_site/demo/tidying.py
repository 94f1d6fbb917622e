"""What the company's finance does with what is old: a credit note after an outage, a debt given up, the first months closed."""

from datetime import datetime
from decimal import Decimal

from billing_site.demo.keepsake import FINANCE_LOGIN
from billing_site.demo.settling import never_paid_invoice
from billing_site.kernel.money import round_money
from invoicing.closing.models import MonthClose
from invoicing.closing.queries import Month, month_of, months_to_close
from invoicing.credit_notes.creditable import creditable_of
from invoicing.credit_notes.models import CreditNote, Disposition
from invoicing.credit_notes.operations import CreditAsked
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.workflows.ask_first import credit_or_ask, write_off_or_ask
from invoicing.workflows.close_month import checklist_of, close_month, sign_off
from invoicing.write_offs.models import WriteOff

# Gets a twentieth of its largest line back, as credit; it accounts for its VAT itself.
CREDITED = "cust_polder"
SHARE = Decimal("0.05")


def tidy_up(*, first_day: datetime, at: datetime) -> None:
    """Credit an old invoice, give up another, and close the books up to the demo's first month; a second time changes nothing."""
    _credit_an_outage(at=at)
    _give_up(at=at)
    first = month_of(moment=first_day)
    # What was paid before the first day where that begins early stands in the month before it.
    for month in months_to_close(at=at):
        if month.first_day <= first.first_day:
            _close(month, at=at)


def _credit_an_outage(*, at: datetime) -> None:
    issued = Invoice.objects.filter(customer__key=CREDITED).exclude(status=InvoiceStatus.DRAFT)
    invoice = issued.order_by("issued_at", "id")[0]
    lines = [one for one in creditable_of(invoice=invoice).lines if not one.refusal]
    largest = max(lines, key=lambda one: (one.net.amount, -one.line.position))
    note = credit_or_ask(
        invoice_id=invoice.pk,
        key=f"outage-{invoice.number}",
        asked=[
            CreditAsked(
                largest.line.position, amount=round_money(largest.net.amount * SHARE, largest.net.currency.code)
            )
        ],
        disposition=Disposition.BALANCE.value,
        at=at,
        actor=FINANCE_LOGIN,
        reason="two hours without answers in that month, agreed on the phone",
    )
    assert isinstance(note, CreditNote), "the demo sets no limit from which on it takes two"


def _give_up(*, at: datetime) -> None:
    written_off = write_off_or_ask(
        invoice_id=never_paid_invoice().pk,
        at=at,
        actor=FINANCE_LOGIN,
        reason="disputes the opening fee, and a suit would cost more",
    )
    assert isinstance(written_off, WriteOff), "the demo sets no limit from which on it takes two"


def _close(month: Month, *, at: datetime) -> MonthClose:
    checklist = checklist_of(month=month, at=at)
    for one in checklist.open_checks:
        checklist = sign_off(
            month=month,
            check=one.checked.name,
            digest=one.checked.digest,
            at=at,
            actor=FINANCE_LOGIN,
            reason="looked into: it belongs to no invoice of the month",
        )
    return close_month(
        month=month,
        digest=checklist.digest,
        at=at,
        actor=FINANCE_LOGIN,
        reason=f"{month.first_day:%B %Y} is complete",
    )
