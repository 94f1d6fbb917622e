"""The only module that calls Stripe's SDK: plain values in, frozen dataclasses out, no word of our business."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import stripe
from django.conf import settings
from moneyed import Money

from billing_site.kernel.errors import Malformed
from billing_site.kernel.period import Period
from invoicing.payments.minor_units import from_stripe_minor_units, stripe_minor_units
from invoicing.payments.remote import (
    CardDeclined,
    GatewayRefused,
    GatewayUnavailable,
    RemoteEvent,
    RemoteInvoice,
    SignatureInvalid,
)

# A caller's attempt is one job, which is itself repeated; more retries here would only hold a worker.
NETWORK_RETRIES = 1
# The deepest expansion that Stripe allows; it leads from an invoice to the charge that paid it.
PAYMENT = "payments.data.payment.payment_intent"
FINISHED = ("paid", "void", "uncollectible")


def ensure_customer(*, reference: str, name: str, email: str, payment_method: str | None, idempotency_key: str) -> str:
    """Return the id of Stripe's customer for our reference, made or brought up to date; raises CardDeclined.

    A given payment method is attached and becomes the default one for invoices.
    """
    with stripe_errors():
        customers = _client().v1.customers
        found = (
            [
                known.id
                for known in customers.list({"email": email, "limit": 100}).auto_paging_iter()
                if (known.metadata or {}) and _text(known.metadata, "reference") == reference
            ]
            if email
            else []
        )
        if found:
            customer = found[0]
            customers.update(customer, {"name": name, "email": email})
        else:
            created = customers.create(
                {"name": name, "email": email, "metadata": {"reference": reference}},
                {"idempotency_key": f"{idempotency_key}:create"},
            )
            customer = created.id
        if payment_method:
            attached = _client().v1.payment_methods.attach(
                payment_method, {"customer": customer}, {"idempotency_key": f"{idempotency_key}:attach"}
            )
            customers.update(customer, {"invoice_settings": {"default_payment_method": attached.id}})
    return customer


def create_invoice(
    *,
    customer: str,
    currency: str,
    number: str,
    metadata: Mapping[str, str],
    due_at: datetime | None,
    idempotency_key: str,
) -> RemoteInvoice:
    """Create an empty draft that carries our number; it never advances by itself.

    Without `due_at` the customer's default payment method is charged when we say so; with it the
    invoice is one that the customer pays by its due date.
    """
    how: dict[str, Any] = {"collection_method": "charge_automatically"}
    if due_at is not None:
        how = {"collection_method": "send_invoice", "due_date": int(due_at.timestamp())}
    with stripe_errors():
        created = _client().v1.invoices.create(
            {
                "customer": customer,
                "currency": currency.lower(),
                "number": number,
                "metadata": dict(metadata),
                "auto_advance": False,
                "pending_invoice_items_behavior": "exclude",
                **how,
            },
            {"idempotency_key": idempotency_key},
        )
    return _remote_invoice(created)


def add_invoice_line(
    *, invoice: str, customer: str, amount: Money, description: str, period: Period, idempotency_key: str
) -> str:
    """Add one line of a rounded amount to a draft; returns the id of its invoice item. The period is half-open."""
    with stripe_errors():
        item = _client().v1.invoice_items.create(
            {
                "invoice": invoice,
                "customer": customer,
                "currency": amount.currency.code.lower(),
                "amount": _minor_units(amount),
                "description": description,
                "period": {"start": int(period.start.timestamp()), "end": int(period.end.timestamp())},
            },
            {"idempotency_key": idempotency_key},
        )
    return item.id


def finalize_invoice(*, invoice: str, expected_total: Money, idempotency_key: str) -> RemoteInvoice:
    """Issue a draft; twice is harmless. Refuses (code total_differs) if the lines there do not sum to our total.

    An invoice over zero is paid at once by being issued.
    """
    present = retrieve_invoice(invoice)
    if present.total != expected_total:
        message = f"Stripe's lines sum to {present.total}, ours to {expected_total}; nothing was finalised."
        raise GatewayRefused(message, param="total", code="total_differs")
    if present.status != "draft":
        return present
    with stripe_errors():
        finalized = _client().v1.invoices.finalize_invoice(
            invoice, {"auto_advance": False, "expand": [PAYMENT]}, {"idempotency_key": idempotency_key}
        )
    return _remote_invoice(finalized)


def pay_invoice(*, invoice: str, idempotency_key: str) -> RemoteInvoice:
    """Charge the customer's default payment method for an open invoice; raises CardDeclined.

    One key is one attempt: the same key replays the same answer. An invoice that is paid already is returned as it is.
    """
    present = retrieve_invoice(invoice)
    if present.status in FINISHED:
        return present
    with stripe_errors():
        paid = _client().v1.invoices.pay(invoice, {"expand": [PAYMENT]}, {"idempotency_key": idempotency_key})
    return _remote_invoice(paid)


def void_invoice(*, invoice: str, idempotency_key: str) -> RemoteInvoice:
    """Void an open invoice for good."""
    with stripe_errors():
        voided = _client().v1.invoices.void_invoice(
            invoice, {"expand": [PAYMENT]}, {"idempotency_key": idempotency_key}
        )
    return _remote_invoice(voided)


def retrieve_invoice(invoice: str) -> RemoteInvoice:
    """Return the present state of one invoice."""
    with stripe_errors():
        return _remote_invoice(_client().v1.invoices.retrieve(invoice, {"expand": [PAYMENT]}))


def find_invoices_by_metadata(*, customer: str, key: str, value: str) -> list[RemoteInvoice]:
    """Return the customer's invoices whose metadata say `key: value`, newest first: recovery after a lost answer."""
    with stripe_errors():
        found = [
            known.id
            for known in _client().v1.invoices.list({"customer": customer, "limit": 100}).auto_paging_iter()
            if _text(known.metadata, key) == value
        ]
    return [retrieve_invoice(invoice) for invoice in found]


def retrieve_event(event: str) -> RemoteEvent:
    """Return one of the last thirty days' events by its id."""
    with stripe_errors():
        return _remote_event(_client().v1.events.retrieve(event).to_dict())


def verified_event(*, payload: bytes, signature: str) -> RemoteEvent:
    """Return the event of a webhook whose signature is ours; raises SignatureInvalid, Malformed."""
    try:
        event = stripe.Webhook.construct_event(payload, signature, settings.STRIPE_WEBHOOK_SECRET)
        return _remote_event(event.to_dict())
    except stripe.SignatureVerificationError as error:
        raise SignatureInvalid(f"The webhook is not signed by Stripe for us: {error.user_message}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Malformed("The webhook's body is not a Stripe event.") from error


@contextmanager
def stripe_errors() -> Iterator[None]:
    """Turn the SDK's exceptions into ours."""
    try:
        yield
    except stripe.CardError as error:
        decline_code = (error.error and getattr(error.error, "decline_code", "")) or ""
        raise CardDeclined(_message(error), code=error.code or "card_declined", decline_code=decline_code) from error
    except (stripe.InvalidRequestError, stripe.IdempotencyError) as error:
        raise GatewayRefused(_message(error), param=getattr(error, "param", "") or "", code=error.code or "") from error
    except (stripe.AuthenticationError, stripe.PermissionError) as error:
        raise GatewayUnavailable(f"Stripe refuses our key, see STRIPE_SECRET_KEY: {_message(error)}") from error
    except stripe.StripeError as error:
        retry_after = (error.headers or {}).get("retry-after", "")
        seconds = int(retry_after) if str(retry_after).isdecimal() else None
        raise GatewayUnavailable(f"Stripe cannot answer now: {_message(error)}", retry_after_seconds=seconds) from error


def _client() -> stripe.StripeClient:
    return _client_for(settings.STRIPE_SECRET_KEY, settings.STRIPE_API_HOST, settings.STRIPE_TIMEOUT_SECONDS)


@lru_cache(maxsize=8)
def _client_for(secret_key: str, host: str, timeout_seconds: int) -> stripe.StripeClient:
    live = secret_key.startswith(("sk_live_", "rk_live_"))
    assert not live or host == "https://api.stripe.com", "a live key must never reach a sandbox"
    return stripe.StripeClient(
        secret_key,
        base_addresses={"api": host},
        max_network_retries=NETWORK_RETRIES,
        http_client=stripe.RequestsClient(timeout=timeout_seconds),
    )


def _minor_units(amount: Money) -> int:
    try:
        return stripe_minor_units(amount)
    except ValueError as error:
        raise GatewayRefused(str(error), param="amount", code="amount_not_representable") from error


def _remote_invoice(invoice: stripe.Invoice) -> RemoteInvoice:
    currency = invoice.currency.upper()
    intent = _payment_intent(invoice)
    failure = intent and intent.last_payment_error
    return RemoteInvoice(
        id=invoice.id,
        customer=_id(invoice.customer),
        number=invoice.number or "",
        status=invoice.status or "draft",
        currency=currency,
        total=from_stripe_minor_units(invoice.total, currency),
        amount_paid=from_stripe_minor_units(invoice.amount_paid, currency),
        payment_reference=(_id(intent.latest_charge) or intent.id) if intent else "",
        failure_message=(failure.message or "") if failure else "",
        hosted_url=invoice.hosted_invoice_url or "",
        metadata=invoice.metadata.to_dict() if invoice.metadata else {},
    )


def _payment_intent(invoice: stripe.Invoice) -> stripe.PaymentIntent | None:
    """Return the expanded payment intent that paid the invoice, or is to pay it."""
    payments = invoice.payments.data if getattr(invoice, "payments", None) is not None else []
    for payment in sorted(payments, key=lambda payment: (payment.status != "paid", not payment.is_default)):
        intent = getattr(payment.payment, "payment_intent", None)
        if isinstance(intent, stripe.PaymentIntent):
            return intent
    return None


def _remote_event(body: dict[str, Any]) -> RemoteEvent:
    return RemoteEvent(
        id=body["id"],
        type=body["type"],
        object_id=body["data"]["object"].get("id", ""),
        created_at=datetime.fromtimestamp(body["created"], tz=UTC),
        body=body,
    )


def _id(reference: Any) -> str:
    return reference if isinstance(reference, str) else getattr(reference, "id", "") or ""


def _text(metadata: Any, key: str) -> str:
    return metadata[key] if metadata is not None and key in metadata else ""


def _message(error: stripe.StripeError) -> str:
    return error.user_message or "no reason was given"
