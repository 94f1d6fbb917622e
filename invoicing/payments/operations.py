"""What may happen to money that comes in: a payment is recorded once, a refusal is recorded once."""

from datetime import datetime

from django.db import connection
from moneyed import Money

from billing_site.kernel.errors import Conflict
from billing_site.kernel.money import is_rounded
from invoicing.approvals.models import Approval
from invoicing.invoices.models import Invoice
from invoicing.invoices.printed_text import money_text
from invoicing.payments.models import Payment, PaymentFailure
from invoicing.payments.reversal import PaymentReversal, ReversalCause


def record_payment(
    *, invoice: Invoice, channel: str, reference: str, amount: Money, received_at: datetime, reason: str
) -> tuple[Payment, bool]:
    """Record money for an invoice whose row is locked; returns the payment and whether it is new.

    (channel, reference) names a payment for ever: a second time it must say the same, otherwise it is a Conflict.
    """
    assert connection.in_atomic_block, "a payment commits with its journal entry and its invoice, or not at all"
    assert reference, "a payment without reference could be recorded twice"
    assert is_rounded(amount) and amount.amount > 0, f"not a payment: {amount.amount} {amount.currency}"
    payment, created = Payment.objects.get_or_create(
        channel=channel,
        reference=reference,
        defaults={
            "customer_id": invoice.customer_id,
            "invoice": invoice,
            "currency": amount.currency.code,
            "amount": amount,
            "received_at": received_at,
            "reason": reason[:300],
        },
    )
    if not created and (payment.invoice_id != invoice.pk or payment.amount != amount):
        raise Conflict(
            f"payment {reference} is recorded already, over {money_text(money=payment.amount)} "
            f"for invoice {payment.invoice}",
            field="reference",
        )
    return payment, created


def record_reversal(
    *,
    payment: Payment,
    cause: ReversalCause,
    account: str,
    reversed_at: datetime,
    actor: str,
    reason: str,
    approval: Approval | None = None,
) -> PaymentReversal:
    """Write down that a payment counts no more, whose invoice is locked; `account` takes its money. The caller books it and tells the invoice."""
    assert connection.in_atomic_block, "a reversal commits with its journal entry and its invoice, or not at all"
    return PaymentReversal.objects.create(
        payment=payment,
        cause=cause,
        account=account,
        currency=payment.currency,
        amount=payment.amount,
        reversed_at=reversed_at,
        actor=actor,
        reason=reason,
        approval=approval,
    )


def record_failure(
    *, invoice_id: int, reference: str, code: str, message: str, occurred_at: datetime, by_customer: bool = False
) -> tuple[PaymentFailure, bool]:
    """Record a refused attempt to collect, once for each reference; returns it and whether it is new."""
    assert reference, "a refusal without reference could be recorded twice"
    return PaymentFailure.objects.get_or_create(
        reference=reference,
        defaults={
            "invoice_id": invoice_id,
            "code": code[:100] or "unknown",
            "message": message[:500] or "Stripe gave no reason.",
            "occurred_at": occurred_at,
            "by_customer": by_customer,
        },
    )
