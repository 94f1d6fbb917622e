"""Settle a payment: the record, the books and the invoice, in one transaction, once."""

from datetime import datetime

from django.db import transaction
from moneyed import Money

from billing_site.kernel.errors import Conflict, InvalidInput, NotFound
from billing_site.kernel.jobs import queue
from billing_site.kernel.money import is_rounded
from invoicing.core.life_cycle import State
from invoicing.core.posting import postings_for_held_payment, postings_for_payment
from invoicing.customers.life_cycle import recorded_state
from invoicing.customers.models import SettlementChannel
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.invoices.operations import apply_payment
from invoicing.ledger.models import JournalEntry
from invoicing.ledger.operations import post_entry
from invoicing.payments.models import Payment
from invoicing.payments.operations import record_payment
from invoicing.payments.withdrawing import plan_withdrawal
from invoicing.top_ups.operations import grant_when_paid
from invoicing.workflows.write_off_invoice import recover

# The journal's reference is the channel and this, in 200 characters.
REFERENCE_LENGTH_MAX = 190
FOLLOW_JOB = "invoicing.tasks.follow_life_cycle"
# Whoever is recorded so may be active again with a payment.
LATE = (State.PAST_DUE, State.SUSPENDED)


@transaction.atomic
def settle_payment(
    *,
    invoice_id: int,
    channel: str,
    reference: str,
    amount: Money,
    received_at: datetime,
    reason: str = "",
    actor: str = "",
    held_on: str = "",
    held_by: str = "",
) -> Payment:
    """Record money that arrived for an issued invoice, post it and apply it; a second time changes nothing (S0-101).

    Where the invoice sold prepaid credit, the payment that completes it grants it. Of who was late it is recorded at once where that has led (S0-126, S0-128). Of one that is written off, the payment recovers its amount first.

    `reference` is unique in its channel: Stripe's charge, or the reference of a bank transfer. `held_on` is the account on which the money
    stands in the books already (a line of a bank statement, money on account), `held_by` the legal entity in whose books, where that is not
    the customer's seller; else it arrives now over its channel. Raises
    InvalidInput for an amount that is no payment, NotFound for an unknown invoice, and Conflict for a
    draft or void invoice, another currency, more than is unpaid, or a reference that stands for another payment.
    """
    _check(channel=channel, reference=reference, amount=amount)
    of_invoice = Invoice.objects.select_for_update(of=("self",)).select_related("customer")
    invoice = of_invoice.filter(pk=invoice_id).first()
    if invoice is None:
        raise NotFound("there is no such invoice", field="invoice")
    if amount.currency.code != invoice.currency:
        message = f"invoice {invoice} is in {invoice.currency}, the payment in {amount.currency}"
        raise Conflict(message, field="currency")
    payment, created = record_payment(
        invoice=invoice, channel=channel, reference=reference, amount=amount, received_at=received_at, reason=reason
    )
    if not created:
        return payment
    if held_on:
        postings = postings_for_held_payment(amount=amount, held_on=held_on)
    else:
        postings = postings_for_payment(amount=amount, channel=channel)
    post_entry(
        kind=JournalEntry.Kind.PAYMENT,
        reference=f"{channel}:{reference}",
        postings=postings,
        description=f"Payment {reference} for invoice {invoice.number}"[:300],
        occurred_at=received_at,
        entity=invoice.customer.seller_key,
        held={held_on: held_by} if held_by else None,
    )
    why = reason or f"payment {reference}"
    if invoice.status == InvoiceStatus.WRITTEN_OFF and amount <= invoice.amount_unpaid:
        recover(invoice=invoice, payment=payment, at=received_at, actor=actor or channel, reason=why)
    settled = apply_payment(
        invoice_id=invoice.pk, amount=amount, paid_at=received_at, actor=actor or channel, reason=why
    )
    grant_when_paid(invoice=settled, payment=payment, actor=actor or channel)
    if settled.status != InvoiceStatus.ISSUED and recorded_state(customer_id=invoice.customer_id) in LATE:
        # In a transaction of its own: whoever moves a customer locks it before its invoices.
        queue(FOLLOW_JOB, invoice.customer_id)
    if channel != SettlementChannel.STRIPE and settled.status in (InvoiceStatus.PAID, InvoiceStatus.WRITTEN_OFF):
        plan_withdrawal(invoice_id=invoice.pk, at=received_at)
    return payment


def _check(*, channel: str, reference: str, amount: Money) -> None:
    if channel not in SettlementChannel.values:
        raise InvalidInput(f"must be one of {', '.join(SettlementChannel.values)}", field="channel")
    if not reference or len(reference) > REFERENCE_LENGTH_MAX or "\x00" in reference:
        message = f"must have 1 to {REFERENCE_LENGTH_MAX} characters: it keeps a payment from being recorded twice"
        raise InvalidInput(message, field="reference")
    if amount.amount <= 0 or not is_rounded(amount):
        raise InvalidInput(f"must be a positive number of whole minor units of {amount.currency}", field="amount")
