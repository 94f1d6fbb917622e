"""What may happen to write-offs: all that is open of an invoice is given up, and recovered by payments, credit notes, or taking it back."""

from datetime import datetime
from decimal import Decimal

from django.db import connection
from django.db.models import Sum
from moneyed import Money

from billing_site.kernel.money import round_money
from invoicing.approvals.models import Approval
from invoicing.credit_notes.models import CreditNote
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.payments.models import Payment
from invoicing.write_offs.models import Recovery, RecoveryCause, WriteOff
from invoicing.write_offs.queries import write_off_in_force


def record_write_off(
    *, invoice: Invoice, at: datetime, actor: str, reason: str, approval: Approval | None = None
) -> WriteOff:
    """Write down that all that is open of a locked, issued invoice is given up; the caller tells the invoice and the books."""
    assert connection.in_atomic_block, "a write-off commits with its journal entry and its invoice, or not at all"
    assert invoice.status == InvoiceStatus.ISSUED and invoice.amount_due.amount > 0, "only what is open is given up"
    number = invoice.write_offs.count() + 1
    return WriteOff.objects.create(
        invoice=invoice,
        number=number,
        reference=f"{invoice.number}/{number}",
        currency=invoice.currency,
        amount=invoice.amount_due,
        written_off_at=at,
        actor=actor,
        reason=reason,
        approval=approval,
    )


def record_recovery(
    *,
    invoice: Invoice,
    at: datetime,
    actor: str,
    reason: str,
    payment: Payment | None = None,
    credit_note: CreditNote | None = None,
) -> Recovery:
    """Write down what of a locked, written-off invoice is given up no longer: what was paid or credited, or, without either, all that is left.

    A payment that is dated before the write-off recovers it at the moment of the write-off: until then nothing was given up.
    """
    assert connection.in_atomic_block, "a recovery commits with its journal entry and its invoice, or not at all"
    write_off = write_off_in_force(invoice=invoice)
    if payment is not None:
        cause, amount = RecoveryCause.PAYMENT, payment.amount
    elif credit_note is not None:
        cause, amount = RecoveryCause.CREDIT_NOTE, credit_note.offset_amount
    else:
        cause, amount = RecoveryCause.REVERSAL, left_of(write_off=write_off)
    number = write_off.recoveries.count() + 1
    return Recovery.objects.create(
        write_off=write_off,
        number=number,
        reference=f"{write_off.reference}/{number}",
        cause=cause,
        payment=payment,
        credit_note=credit_note,
        currency=write_off.currency,
        amount=amount,
        recovered_at=max(at, write_off.written_off_at),
        actor=actor,
        reason=reason[:300],
    )


def left_of(*, write_off: WriteOff) -> Money:
    """Return what of a write-off is not recovered."""
    recovered = write_off.recoveries.aggregate(amount=Sum("amount"))["amount"] or Decimal(0)
    return write_off.amount - round_money(recovered, write_off.currency)
