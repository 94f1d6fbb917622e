"""Give up what is open of an invoice, and take that back: the record, the books, the invoice, and Stripe's copy of it."""

from datetime import datetime

from django.db import transaction

from billing_site.kernel.errors import Conflict
from billing_site.kernel.money import from_minor_units
from billing_site.kernel.reasons import checked_reason
from invoicing.approvals.models import Approval, ApprovedDeed
from invoicing.approvals.operations import check_approved
from invoicing.core.invoice_life import stage_words
from invoicing.core.posting import postings_for_recovery, postings_for_write_off
from invoicing.credit_notes.models import CreditNote
from invoicing.invoices.giving_up import expect_again, give_up
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.invoices.operations import locked_invoice
from invoicing.ledger.models import JournalEntry
from invoicing.ledger.operations import post_entry
from invoicing.payments.models import Payment
from invoicing.payments.withdrawing import plan_withdrawal
from invoicing.top_ups.models import TopUp, TopUpStatus
from invoicing.write_offs.models import Recovery, WriteOff
from invoicing.write_offs.operations import record_recovery, record_write_off
from invoicing.write_offs.queries import write_off_in_force


@transaction.atomic
def write_off_invoice(
    *, invoice_id: int, at: datetime, actor: str, reason: str, approval: Approval | None = None
) -> WriteOff:
    """Give up all that is open of an issued invoice; one that is written off already stays as it is, and its write-off is returned.

    The loss is booked with the tax in it. At Stripe the invoice becomes uncollectible; it can be paid all the same. Raises InvalidInput at `reason`,
    Conflict for a draft, a paid or void invoice, for one that sells credit (code `sells_credit`: it is declared void, nothing was
    delivered), and for a moment before the issue; NeedsApproval from the limit of its currency on: `ask_first.py` asks for the second person.
    """
    said = checked_reason(reason=reason)
    invoice = locked_invoice(invoice_id=invoice_id)
    if invoice.status == InvoiceStatus.WRITTEN_OFF:
        return write_off_in_force(invoice=invoice)
    check_can_be_written_off(invoice=invoice)
    if invoice.issued_at is None or at < invoice.issued_at:
        raise Conflict(f"invoice {invoice} is not issued yet at that moment", field="at")
    check_approved(
        deed=ApprovedDeed.WRITE_OFF,
        amount=invoice.amount_due,
        alone=from_minor_units(0, invoice.currency),
        approval=approval,
    )
    write_off = record_write_off(invoice=invoice, at=at, actor=actor, reason=said, approval=approval)
    give_up(invoice=invoice, actor=actor, reason=f"write-off {write_off}: {said}"[:300])
    post_entry(
        kind=JournalEntry.Kind.WRITE_OFF,
        reference=write_off.reference,
        postings=postings_for_write_off(amount=write_off.amount),
        description=f"Write-off of invoice {invoice.number}, {invoice.customer_name}"[:300],
        occurred_at=at,
        entity=invoice.customer.seller_key,
    )
    plan_withdrawal(invoice_id=invoice.pk, at=at)
    return write_off


def check_can_be_written_off(*, invoice: Invoice) -> None:
    """Raise Conflict where nothing of an invoice can be given up."""
    if invoice.status != InvoiceStatus.ISSUED:
        message = (
            f"invoice {invoice} is {stage_words(invoice.status)}: only what is open of an issued one is written off"
        )
        raise Conflict(message, field="status")
    if TopUp.objects.filter(invoice=invoice, status=TopUpStatus.OPEN).exists():
        message = f"invoice {invoice} sells credit that is granted once it is paid: declare it void, nothing is lost"
        raise Conflict(message, field="kind", code="sells_credit")


@transaction.atomic
def take_back_write_off(*, invoice_id: int, at: datetime, actor: str, reason: str) -> Invoice:
    """Expect what was given up of an invoice again: what is left of the write-off is open as before. A second time changes nothing.

    At Stripe an uncollectible invoice stays so: it can be paid there, and is charged no more by itself. Raises InvalidInput at `reason`, Conflict
    for an invoice that was never written off, is paid or void.
    """
    said = checked_reason(reason=reason)
    invoice = locked_invoice(invoice_id=invoice_id)
    if invoice.status == InvoiceStatus.ISSUED and invoice.write_offs.exists():
        return invoice
    if invoice.status != InvoiceStatus.WRITTEN_OFF:
        raise Conflict(f"invoice {invoice} is {stage_words(invoice.status)}: nothing is given up of it", field="status")
    recover(invoice=invoice, at=at, actor=actor, reason=said)
    return expect_again(invoice=invoice, actor=actor, reason=said)


def recover(
    *,
    invoice: Invoice,
    at: datetime,
    actor: str,
    reason: str,
    payment: Payment | None = None,
    credit_note: CreditNote | None = None,
) -> Recovery:
    """Record and book what of a written-off invoice, whose row is locked, is no loss any more; the caller applies the payment or credit note to it."""
    recovery = record_recovery(
        invoice=invoice, at=at, actor=actor, reason=reason, payment=payment, credit_note=credit_note
    )
    post_entry(
        kind=JournalEntry.Kind.RECOVERY,
        reference=recovery.reference,
        postings=postings_for_recovery(amount=recovery.amount),
        description=f"Recovery of invoice {invoice.number}: {recovery.get_cause_display().lower()}, {invoice.customer_name}"[
            :300
        ],
        occurred_at=recovery.recovered_at,
        entity=invoice.customer.seller_key,
    )
    return recovery
