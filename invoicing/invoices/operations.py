"""What may happen to an issued invoice: it is settled, or declared void."""

from datetime import datetime

from django.db import transaction
from moneyed import Money

from billing_site.kernel.errors import Conflict
from billing_site.kernel.history import save_with_reason
from billing_site.kernel.money import from_minor_units, is_rounded
from invoicing.core.invoice_life import COLLECTABLE, STANDING, stage_words
from invoicing.customers.operations import lock_customer
from invoicing.invoices.lifecycle import check_move, move
from invoicing.invoices.models import Invoice, InvoiceStatus


@transaction.atomic
def apply_payment(*, invoice_id: int, amount: Money, paid_at: datetime, actor: str, reason: str) -> Invoice:
    """Add a payment to what an issued invoice has received; at the total it becomes paid. Of one that is written off less is given up then.

    The caller records the payment itself and makes sure that it is applied once. Raises Conflict
    for a draft or void invoice, another currency, or more than is unpaid.
    """
    assert is_rounded(amount) and amount.amount >= 0, f"a payment is whole minor units: {amount}"
    invoice = Invoice.objects.select_for_update().get(pk=invoice_id)
    if invoice.status not in STANDING:
        raise Conflict(f"invoice {invoice} is {stage_words(invoice.status)}: it cannot be paid", field="invoice")
    if amount.currency.code != invoice.currency:
        raise Conflict(
            f"invoice {invoice} is in {invoice.currency}, the payment in {amount.currency}", field="currency"
        )
    if amount > invoice.amount_unpaid:
        due = invoice.amount_unpaid
        raise Conflict(
            f"invoice {invoice} has {due.amount} {due.currency} due, less than {amount.amount}", field="amount"
        )
    invoice.amount_paid = invoice.amount_paid + amount
    return _settled(invoice, at=paid_at, actor=actor, reason=reason)


def take_payment_back(*, invoice: Invoice, amount: Money, actor: str, reason: str) -> Invoice:
    """Take a payment off what a locked invoice has received: as much of it is open again, also where it was paid.

    The caller records the reversal first, and the database compares both. Raises Conflict where it is given up (code `written_off`), void or
    a draft.
    """
    assert is_rounded(amount) and amount.amount > 0, f"a payment is whole minor units: {amount}"
    if invoice.status == InvoiceStatus.WRITTEN_OFF:
        message = f"invoice {invoice} is written off: take that back first, then what was not paid is open as a whole"
        raise Conflict(message, field="invoice", code="written_off")
    if invoice.status not in STANDING or amount > invoice.amount_paid:
        message = f"invoice {invoice} is {stage_words(invoice.status)}, {invoice.amount_paid} of it are paid"
        raise Conflict(message, field="invoice")
    invoice.amount_paid = invoice.amount_paid - amount
    if invoice.status == InvoiceStatus.PAID:
        move(invoice=invoice, to=InvoiceStatus.ISSUED)
        invoice.paid_at = None
    save_with_reason(invoice, actor=actor, reason=reason)
    return invoice


def apply_credit(*, invoice: Invoice, amount: Money, at: datetime, actor: str, reason: str) -> Invoice:
    """Take what a credit note offsets off what is open of a locked invoice; where nothing is left to pay it is settled, and so paid.

    The caller writes the credit note in the same transaction: the database compares both. Raises Conflict as `apply_payment` does.
    """
    assert is_rounded(amount) and amount.amount > 0, f"an offset is whole minor units: {amount}"
    if amount > invoice.amount_unpaid:
        raise Conflict(f"invoice {invoice} has {invoice.amount_unpaid} open, less than {amount}", field="amount")
    invoice.amount_credited = invoice.amount_credited + amount
    return _settled(invoice, at=at, actor=actor, reason=reason)


def _settled(invoice: Invoice, *, at: datetime, actor: str, reason: str) -> Invoice:
    if invoice.status == InvoiceStatus.WRITTEN_OFF:
        # The caller records what was recovered by it: the database compares both.
        invoice.amount_written_off = invoice.amount_unpaid
    if invoice.status in COLLECTABLE and not invoice.amount_unpaid.amount:
        move(invoice=invoice, to=InvoiceStatus.PAID)
        invoice.paid_at = at
    save_with_reason(invoice, actor=actor, reason=reason)
    return invoice


def locked_invoice(*, invoice_id: int) -> Invoice:
    """Return an invoice with its customer, both locked until the transaction ends, the customer first."""
    customer = lock_customer(customer_id=Invoice.objects.values_list("customer_id", flat=True).get(pk=invoice_id))
    invoice = Invoice.objects.select_for_update().get(pk=invoice_id)
    invoice.customer = customer
    return invoice


def nothing_due(*, invoice: Invoice) -> bool:
    """Say whether an issued invoice needs no payment at all."""
    return invoice.status == InvoiceStatus.ISSUED and invoice.total == from_minor_units(0, invoice.currency)


@transaction.atomic
def void(*, invoice_id: int, at: datetime, actor: str, reason: str) -> Invoice:
    """Declare an issued invoice of which nothing is paid void; a second time changes nothing. The caller takes it out of the books."""
    invoice = locked_invoice(invoice_id=invoice_id)
    if invoice.status == InvoiceStatus.VOID:
        return invoice
    check_can_be_void(invoice=invoice)
    move(invoice=invoice, to=InvoiceStatus.VOID)
    invoice.voided_at = at
    save_with_reason(invoice, actor=actor, reason=reason)
    return invoice


def check_can_be_void(*, invoice: Invoice) -> None:
    """Raise Conflict where an invoice cannot be declared void: money came for it, a credit note corrects it, or it is not issued, or written off."""
    if invoice.amount_paid.amount:
        raise Conflict(f"invoice {invoice} has received money: it cannot be declared void", field="status")
    if invoice.credit_notes.exists():
        raise Conflict(f"invoice {invoice} has credit notes: it cannot be declared void", field="status")
    check_move(invoice=invoice, to=InvoiceStatus.VOID)
