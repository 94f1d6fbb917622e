"""Declare an invoice void: nothing of it is owed, the books are as before, Stripe forgets it."""

from datetime import datetime

from django.db import transaction

from billing_site.kernel.errors import Conflict
from billing_site.kernel.money import from_minor_units
from billing_site.kernel.reasons import checked_reason
from invoicing.approvals.models import Approval, ApprovedDeed
from invoicing.approvals.operations import check_approved
from invoicing.core.posting import PostingLine, postings_for_reversal
from invoicing.invoices.models import Invoice, InvoiceKind, InvoiceStatus
from invoicing.invoices.operations import check_can_be_void, locked_invoice, void
from invoicing.invoices.queries import taking_off
from invoicing.ledger.models import JournalEntry
from invoicing.ledger.operations import post_entry
from invoicing.payments.withdrawing import plan_withdrawal
from invoicing.top_ups.models import TopUp, TopUpStatus


@transaction.atomic
def void_invoice(
    *, invoice_id: int, at: datetime, actor: str, reason: str, approval: Approval | None = None
) -> Invoice:
    """Declare an unpaid one-off or progressive invoice void and reverse its journal entry; a second time changes nothing.

    A top-up is closed by it: its credit never comes. A progressive invoice is not taken off by that of its period then; once an issued one takes it off,
    it stays (code `built_on`): a credit note corrects it. Raises Conflict for an invoice of a period, which is made
    again (`reissue_invoice`), and for one that has received money; NeedsApproval from the limit of its currency on (`ask_to_void.py`).
    """
    checked_reason(reason=reason)
    invoice = locked_invoice(invoice_id=invoice_id)
    if invoice.status == InvoiceStatus.VOID:
        return invoice
    if TopUp.objects.filter(invoice=invoice, status=TopUpStatus.PAID).exists():
        message = f"invoice {invoice} sold credit that was granted when it was paid: it is owed, or written off"
        raise Conflict(message, field="invoice", code="credit_granted")
    if invoice.kind == InvoiceKind.PERIOD:
        raise Conflict(
            f"invoice {invoice} bills a period: void and re-issue it, so that its period is billed", field="kind"
        )
    if (final := taking_off(invoice=invoice).exclude(status=InvoiceStatus.DRAFT).first()) is not None:
        message = f"invoice {final} takes {invoice} off: it stays as it is, and a credit note corrects it"
        raise Conflict(message, field="invoice", code="built_on")
    # Before a second person is asked: what cannot be done is not asked for.
    check_can_be_void(invoice=invoice)
    check_void_approved(invoice=invoice, approval=approval)
    return reverse_invoice(invoice_id=invoice.pk, at=at, actor=actor, reason=reason)


def check_void_approved(*, invoice: Invoice, approval: Approval | None) -> None:
    """Raise NeedsApproval where an invoice of this size is declared void by two, and nobody else has approved it. The database asks once more."""
    none = from_minor_units(0, invoice.currency)
    check_approved(deed=ApprovedDeed.VOID, amount=invoice.total, alone=none, approval=approval)


@transaction.atomic
def reverse_invoice(*, invoice_id: int, at: datetime, actor: str, reason: str) -> Invoice:
    """Declare an unpaid invoice void, take it out of the books and withdraw it at Stripe; whoever calls this has looked at what follows from it."""
    invoice = void(invoice_id=invoice_id, at=at, actor=actor, reason=reason)
    issue = JournalEntry.objects.get(kind=JournalEntry.Kind.ISSUE, reference=invoice.number)
    post_entry(
        kind=JournalEntry.Kind.REVERSAL,
        reference=str(invoice.number),
        postings=postings_for_reversal(
            postings=[
                PostingLine(posting.account.code, posting.amount)
                for posting in issue.postings.select_related("account").order_by("id")
            ]
        ),
        description=f"Invoice {invoice.number} is void, {invoice.customer_name}"[:300],
        occurred_at=at,
        entity=invoice.customer.seller_key,
    )
    plan_withdrawal(invoice_id=invoice.pk, at=at)
    return invoice
