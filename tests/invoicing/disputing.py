"""Words for tests of disputes: a payment by card, and a dispute as Stripe would hold it, without asking Stripe."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from moneyed import Money

from invoicing.invoices.models import Invoice
from invoicing.payments.dispute import Dispute
from invoicing.payments.models import Payment
from invoicing.payments.remote import RemoteDispute, RemoteTransaction
from invoicing.workflows.follow_dispute import settle_dispute
from invoicing.workflows.settle_payment import settle_payment
from tests.factories import AUGUST, JULY

OPENED = AUGUST + timedelta(days=3)
HEARD = OPENED + timedelta(minutes=1)


def paid_by_card(invoice: Invoice, amount: str = "", *, charge: str = "", at: datetime = JULY) -> Payment:
    return settle_payment(
        invoice_id=invoice.pk,
        channel="stripe",
        reference=charge or f"ch_{invoice.pk}",
        amount=Money(amount, invoice.currency) if amount else invoice.total,
        received_at=at,
    )


def withdrawn(amount: Money, *, fee: str = "15", number: int = 1, at: datetime = OPENED) -> RemoteTransaction:
    return RemoteTransaction(f"txn_{number}", amount * -1, Money(fee, amount.currency), at)


def returned(amount: Money, *, fee: str = "0", number: int = 2, at: datetime = HEARD) -> RemoteTransaction:
    return RemoteTransaction(f"txn_{number}", amount, Money(fee, amount.currency), at)


def as_at_stripe(
    payment: Payment,
    amount: Money,
    status: str = "needs_response",
    *,
    number: int = 1,
    moved: Sequence[RemoteTransaction] = (),
    opened_at: datetime = OPENED,
    **others: Any,
) -> RemoteDispute:
    told: dict[str, Any] = {
        "id": f"dp_{number}",
        "charge": payment.reference,
        "payment_intent": "",
        "customer": "cus_1",
        "status": status,
        "reason": "fraudulent",
        "network_reason_code": "10.4",
        "amount": amount,
        "evidence_due_at": opened_at + timedelta(days=7),
        "has_evidence": False,
        "created_at": opened_at,
        "transactions": tuple(moved),
        **others,
    }
    return RemoteDispute(**told)


def disputed(
    payment: Payment, amount: str = "", status: str = "needs_response", *, number: int = 1, **others: Any
) -> Dispute:
    """A dispute whose money was withdrawn with a fee of 15, unless it is an inquiry."""
    over = Money(amount, payment.currency) if amount else payment.amount
    moved = () if status.startswith("warning_") else (withdrawn(over, number=number * 10),)
    present = as_at_stripe(payment, over, status, number=number, moved=moved, **others)
    return settle_dispute(present=present, payment=payment, heard_at=HEARD).dispute


def decided(dispute: Dispute, status: str, *, at: datetime = HEARD + timedelta(days=30)) -> Dispute:
    """The same dispute, decided by the bank; what it wins comes back."""
    number = int(dispute.stripe_id.removeprefix("dp_"))
    over = Money(dispute.amount.amount, dispute.currency)
    moved = [withdrawn(over, number=number * 10)]
    if status == "won":
        moved.append(returned(over, number=number * 10 + 1, at=at))
    present = as_at_stripe(dispute.payment, over, status, number=number, moved=moved, opened_at=dispute.opened_at)
    return settle_dispute(present=present, payment=dispute.payment, heard_at=at).dispute
