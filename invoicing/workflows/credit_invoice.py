"""Credit an issued invoice: the only correction that it knows. Number, lines, what it gives back, and books, in one transaction."""

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from billing_site.kernel.errors import Conflict
from billing_site.kernel.reasons import checked_reason
from invoicing.approvals.models import Approval, ApprovedDeed
from invoicing.approvals.operations import check_approved
from invoicing.core.posting import DEFERRED, TAX_PAYABLE, postings_for_credit_note
from invoicing.credit_notes.creditable import creditable_of
from invoicing.credit_notes.models import CreditNote
from invoicing.credit_notes.operations import (
    AssembledCredit,
    CreditAsked,
    asked_digest,
    assemble_credit,
    note_of_key,
    write_credit_note,
)
from invoicing.credit_notes.queries import credited_alone
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.invoices.objecting import lower_objection
from invoicing.invoices.operations import apply_credit, locked_invoice
from invoicing.invoices.printed_text import money_text
from invoicing.ledger.models import JournalEntry
from invoicing.ledger.operations import post_entry
from invoicing.payments.disputes import held_back_of
from invoicing.payments.models import PushIntent, PushStatus
from invoicing.payments.queries import is_withdrawn
from invoicing.payments.refunds import plan_refunds
from invoicing.payments.withdrawing import plan_withdrawal
from invoicing.workflows.write_off_invoice import recover


def preview_credit(
    *, invoice: Invoice, asked: Sequence[CreditAsked], disposition: str, at: datetime
) -> AssembledCredit:
    """Return the credit note that `credit_invoice` would write, and refuse what it would refuse; nothing is written."""
    assembled = assemble_credit(invoice=invoice, asked=asked, disposition=disposition, at=at)
    _refuse_part_at_stripe(assembled)
    _refuse_what_is_disputed(assembled)
    return assembled


@transaction.atomic
def credit_invoice(
    *,
    invoice_id: int,
    key: str,
    asked: Sequence[CreditAsked] = (),
    disposition: str,
    at: datetime,
    actor: str,
    reason: str,
    digest: str = "",
    approval: Approval | None = None,
) -> CreditNote:
    """Issue a credit note over lines of an invoice, by quantity or amount, or over all that is left of it; the same key again is the note that exists.

    What is unpaid, also what was given up, is taken off first, and off what is objected to (`objecting.py`); the rest is kept as credit or paid back, as `disposition` says.
    With the `digest` of a preview it is written only if it is what was shown. Raises InvalidFields naming each field, Conflict (code `outdated`) where it would be another note now,
    NeedsApproval from the limit of its currency on: `ask_first.py` asks for the second person.
    """
    checked_reason(reason=reason)
    invoice = locked_invoice(invoice_id=invoice_id)
    wanted = asked_digest(invoice=invoice, asked=asked, disposition=disposition)
    if (existing := note_of_key(key=key, digest=wanted)) is not None:
        return existing
    assembled = preview_credit(invoice=invoice, asked=asked, disposition=disposition, at=at)
    if digest and digest != assembled.digest:
        raise Conflict("the credit note would not be the one that was shown: look at it again", code="outdated")
    check_approved(
        deed=ApprovedDeed.CREDIT_NOTE, amount=assembled.total, alone=credited_alone(invoice=invoice), approval=approval
    )
    note = write_credit_note(
        assembled=assembled, key=key, asked=wanted, at=at, actor=actor, reason=reason, approval=approval
    )
    if note.offset_amount.amount:
        if invoice.status == InvoiceStatus.WRITTEN_OFF:
            recover(invoice=invoice, credit_note=note, at=at, actor=actor, reason=f"credit note {note}: {reason}")
        why = f"credit note {note}: {reason}"[:300]
        apply_credit(invoice=invoice, amount=note.offset_amount, at=at, actor=actor, reason=why)
        lower_objection(invoice=invoice, by=note.offset_amount, at=at, actor=actor, reason=why)
        if invoice.status in (InvoiceStatus.PAID, InvoiceStatus.WRITTEN_OFF):
            plan_withdrawal(invoice_id=invoice.pk, at=at)
    if note.refund_amount.amount:
        plan_refunds(note=note, at=at)
    post_entry(
        kind=JournalEntry.Kind.CREDIT_NOTE,
        reference=note.number,
        postings=postings_for_credit_note(
            offset=assembled.offset,
            balance=assembled.balance,
            refund=assembled.refund,
            beside={DEFERRED: assembled.released, TAX_PAYABLE: assembled.tax_amount},
        ),
        description=f"Credit note {note.number} for invoice {invoice.number}, {invoice.customer_name}"[:300],
        occurred_at=at,
        entity=invoice.customer.seller_key,
    )
    return note


def _refuse_what_is_disputed(assembled: AssembledCredit) -> None:
    """Refuse to give money back, or credit for it, that the bank has taken back already: the customer would have it twice."""
    invoice, given = assembled.invoice, assembled.balance + assembled.refund
    held_back = held_back_of(invoice=invoice)
    if not held_back.amount or not given.amount:
        return
    there = creditable_of(invoice=invoice)
    left = invoice.amount_paid + there.paid_by_credit - there.returned - held_back
    in_money = invoice.amount_paid - there.refunded - held_back
    if given > left or assembled.refund > in_money:
        raise Conflict(
            f"{money_text(money=held_back)} of what was paid for invoice {invoice} are disputed: the bank has taken them back, and they are not"
            " given back once more",
            field="lines",
            code="payment_disputed",
        )


def _refuse_part_at_stripe(assembled: AssembledCredit) -> None:
    """Refuse to take a part off an invoice that Stripe is collecting, not one that is void there: it would collect the whole total."""
    if not assembled.offset.amount or assembled.offset == assembled.invoice.amount_unpaid:
        return
    if assembled.invoice.status == InvoiceStatus.WRITTEN_OFF:
        # It is collected no more: what Stripe has of it is declared void.
        return
    collecting = PushIntent.objects.filter(invoice=assembled.invoice).exclude(status=PushStatus.REFUSED)
    if collecting.exists() and not is_withdrawn(invoice=assembled.invoice):
        raise Conflict(
            f"Stripe is collecting the whole of invoice {assembled.invoice}: credit all that is open, or wait until it is paid"
            " and give a balance or a refund",
            field="lines",
            code="open_at_stripe",
        )
