"""What the gateway hands out: Stripe's objects and refusals in our own types."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from moneyed import Money

from billing_site.kernel.errors import BillingError
from billing_site.kernel.period import Period
from invoicing.payments.minor_units import from_stripe_minor_units

# As JSON writes it: an even number of backslashes before it are text.
NULL_CHARACTER = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
# What Stripe calls an event that names its subject, and whose content has to be fetched.
THIN_EVENT = "v2.core.event"
# Stripe's word for a payment that is begun and not decided.
PROCESSING = "processing"


class GatewayUnavailable(BillingError):
    """Stripe cannot answer now (connection, 5xx, 429, a wrong key): try again later with the same idempotency key.

    `is_of_request` says that it failed at this one request, as far as is known: another may fare better. `is_kept` says that Stripe keeps the
    failure as the answer to this idempotency key: the same key will never get another one (docs.stripe.com/api/idempotent_requests).
    """

    status = 503
    code = "gateway_unavailable"

    def __init__(
        self,
        message: str,
        *,
        retry_after_seconds: int | None = None,
        is_of_request: bool = False,
        is_kept: bool = False,
    ) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        self.is_of_request = is_of_request
        self.is_kept = is_kept


class NotNow(GatewayUnavailable):
    """Nothing has failed, it only is not the time: it comes again after `retry_after_seconds`, however often."""

    code = "not_now"


class GatewayBusy(NotNow):
    """Stripe takes so many calls in a second and no more (S3-036)."""

    code = "gateway_busy"


class RailClosed(NotNow):
    """Stripe is not called for now: it was found failing, or somebody stopped it. Nothing was sent."""

    code = "rail_closed"


class CardDeclined(BillingError):
    """The bank said no, or wants the customer to confirm; another attempt needs another idempotency key."""

    status = 402
    code = "card_declined"

    def __init__(self, message: str, *, code: str, decline_code: str = "") -> None:
        super().__init__(message, code=code)
        self.decline_code = decline_code


class GatewayRefused(BillingError):
    """Stripe understood the request and will never accept it; `param` names the parameter at fault ("" if none)."""

    code = "gateway_refused"

    def __init__(self, message: str, *, param: str = "", code: str = "") -> None:
        super().__init__(message, field=param, code=code)
        self.param = param


class SignatureInvalid(BillingError):
    """A webhook that was not signed with our secret, or long ago."""

    status = 400
    code = "signature_invalid"


@dataclass(frozen=True)
class NewLine:
    """A line to be added to a draft at Stripe; without a period Stripe puts its own moment there."""

    amount: Money
    description: str
    period: Period | None


@dataclass(frozen=True)
class RemoteInvoice:
    """An invoice as Stripe holds it at this moment.

    `status` is draft, open, paid, void or uncollectible; `payment_reference` the id of the latest charge
    (or of the payment intent while there is none, "" without either). `is_charged` says whether we charge it; else its customer pays it.
    `is_under_way` says that a payment of it is begun and not decided: a direct debit takes days (docs.stripe.com/payments/paymentintents/lifecycle).
    """

    id: str
    customer: str
    number: str
    status: str
    currency: str
    total: Money
    amount_paid: Money
    payment_reference: str
    failure_code: str
    failure_message: str
    hosted_url: str
    is_charged: bool
    metadata: Mapping[str, str] = field(default_factory=dict)
    is_under_way: bool = False


@dataclass(frozen=True)
class RemoteRefund:
    """Money on its way back, or there: `status` is pending, requires_action, succeeded, failed or canceled."""

    id: str
    status: str
    amount: Money
    created_at: datetime
    failure_reason: str


@dataclass(frozen=True)
class RemoteTax:
    """A tax calculation over one line; `body` is its JSON as Stripe sent it."""

    id: str
    body: dict[str, Any]


@dataclass(frozen=True)
class RemoteTransaction:
    """What a dispute moved on Stripe's balance: `amount` is negative where it was withdrawn, `fee` what Stripe charged beside it."""

    id: str
    amount: Money
    fee: Money
    created_at: datetime


@dataclass(frozen=True)
class RemoteDispute:
    """A disputed charge as Stripe holds it at this moment; `customer` is that of the charge, "" where it has none.

    `status` is one of Stripe's words (needs_response, under_review, won, lost, prevented, warning_...).
    """

    id: str
    charge: str
    payment_intent: str
    customer: str
    status: str
    reason: str
    network_reason_code: str
    amount: Money
    evidence_due_at: datetime | None
    has_evidence: bool
    created_at: datetime
    transactions: tuple[RemoteTransaction, ...]


@dataclass(frozen=True)
class RemoteEvent:
    """One piece of Stripe's news; `object_id` names what it is about, whose present state must be fetched."""

    id: str
    type: str
    object_id: str
    created_at: datetime
    body: Mapping[str, Any]


def remote_invoice(invoice: Any) -> RemoteInvoice:
    """Read an invoice of the SDK whose payments were expanded to their payment intents."""
    currency = invoice.currency.upper()
    intent = _payment_intent(invoice)
    failure = intent.last_payment_error if intent else None
    return RemoteInvoice(
        id=invoice.id,
        customer=id_of(invoice.customer),
        number=invoice.number or "",
        status=invoice.status or "draft",
        currency=currency,
        total=from_stripe_minor_units(invoice.total, currency),
        amount_paid=from_stripe_minor_units(invoice.amount_paid, currency),
        payment_reference=(id_of(intent.latest_charge) or intent.id) if intent else "",
        failure_code=member_of(failure, "decline_code") or member_of(failure, "code"),
        failure_message=member_of(failure, "message"),
        hosted_url=invoice.hosted_invoice_url or "",
        is_charged=invoice.collection_method != "send_invoice",
        metadata=invoice.metadata.to_dict() if invoice.metadata else {},
        is_under_way=member_of(intent, "status") == PROCESSING,
    )


def remote_refund(refund: Any) -> RemoteRefund:
    """Read a refund of the SDK."""
    return RemoteRefund(
        id=refund.id,
        status=refund.status or "pending",
        amount=from_stripe_minor_units(refund.amount, refund.currency.upper()),
        created_at=datetime.fromtimestamp(refund.created, tz=UTC),
        failure_reason=member_of(refund, "failure_reason"),
    )


def remote_dispute(dispute: Any) -> RemoteDispute:
    """Read a dispute of the SDK whose charge was expanded."""
    currency = dispute.currency.upper()
    details = dispute.evidence_details
    return RemoteDispute(
        id=dispute.id,
        charge=id_of(dispute.charge),
        payment_intent=id_of(dispute.payment_intent),
        customer=id_of(getattr(dispute.charge, "customer", None)),
        status=dispute.status,
        reason=dispute.reason,
        network_reason_code=member_of(dispute, "network_reason_code") or _network_code(dispute),
        amount=from_stripe_minor_units(dispute.amount, currency),
        # Stripe writes 0 where the bank takes no answer.
        evidence_due_at=datetime.fromtimestamp(details.due_by, tz=UTC) if details.due_by else None,
        has_evidence=details.has_evidence or details.submission_count > 0,
        created_at=datetime.fromtimestamp(dispute.created, tz=UTC),
        transactions=tuple(_transaction(one) for one in dispute.balance_transactions),
    )


def _network_code(dispute: Any) -> str:
    details = getattr(dispute, "payment_method_details", None)
    return member_of(getattr(details, "card", None), "network_reason_code")


def _transaction(transaction: Any) -> RemoteTransaction:
    currency = transaction.currency.upper()
    return RemoteTransaction(
        id=transaction.id,
        amount=from_stripe_minor_units(transaction.amount, currency),
        fee=from_stripe_minor_units(transaction.fee, currency),
        created_at=datetime.fromtimestamp(transaction.created, tz=UTC),
    )


def _payment_intent(invoice: Any) -> Any:
    """Return the expanded payment intent that paid the invoice, or is to pay it."""
    payments = getattr(invoice, "payments", None)
    for payment in sorted(
        payments.data if payments else [], key=lambda payment: (payment.status != "paid", not payment.is_default)
    ):
        intent = getattr(payment.payment, "payment_intent", None)
        if member_of(intent, "object") == "payment_intent":
            return intent
    return None


def remote_event(body: dict[str, Any]) -> RemoteEvent:
    """Read an event's JSON, a thin one's too; raises KeyError, TypeError, AttributeError, ValueError where it is none, or none that can be kept."""
    is_thin = body.get("object") == THIN_EVENT
    subject = (body.get("related_object") or {}) if is_thin else body["data"]["object"]
    names = (body["id"], body["type"], subject.get("id", ""))
    if not all(isinstance(name, str) for name in names):
        raise TypeError("the names of an event are text")
    # What PostgreSQL keeps as JSON: no NaN, no half of a character, no character zero.
    written = json.dumps(body, allow_nan=False, ensure_ascii=False).encode()
    # Almost none has these letters: to look for them takes a hundredth of what the pattern takes.
    if b"\\u0000" in written and NULL_CHARACTER.search(written):
        raise ValueError("an event has no character zero")
    created = body["created"]
    return RemoteEvent(
        id=names[0],
        type=names[1],
        object_id=names[2],
        created_at=datetime.fromisoformat(created) if is_thin else datetime.fromtimestamp(created, tz=UTC),
        body=body,
    )


def id_of(reference: Any) -> str:
    """Return the id of what a member of the SDK's objects names, expanded or not; "" where it is null."""
    return reference if isinstance(reference, str) else getattr(reference, "id", "") or ""


def member_of(source: Any, name: str) -> str:
    """Return a text member of one of the SDK's objects, "" where it is absent or null."""
    return (source[name] or "") if source is not None and name in source else ""
