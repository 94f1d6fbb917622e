"""The only module that calls Stripe's SDK: plain values in, frozen dataclasses out, no word of our business."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import lru_cache
from typing import Any, TypedDict

import stripe
from django.conf import settings
from moneyed import Money
from stripe.params import InvoiceAddLinesParamsLine, InvoiceCreateParams
from stripe.params.tax import CalculationCreateParamsLineItem

from billing_site.kernel.errors import Malformed
from invoicing.payments import pace
from invoicing.payments.hurry import seconds_left
from invoicing.payments.minor_units import NotRepresentable, stripe_minor_units
from invoicing.payments.remote import (
    CardDeclined,
    GatewayBusy,
    GatewayRefused,
    GatewayUnavailable,
    NewLine,
    RemoteDispute,
    RemoteEvent,
    RemoteInvoice,
    RemoteRefund,
    RemoteTax,
    SignatureInvalid,
    member_of,
    remote_dispute,
    remote_event,
    remote_invoice,
    remote_refund,
)
from invoicing.payments.sending import SERVER_FAULT, Answer, send

# A caller's attempt is one job, which is itself repeated; more retries here would only hold a worker.
NETWORK_RETRIES = 1
# Stripe says by this header that it repeats the answer that it gave to this idempotency key before.
REPLAYED_HEADER = "idempotent-replayed"
# The deepest expansion that Stripe allows; it leads from an invoice to the charge that paid it.
PAYMENT = "payments.data.payment.payment_intent"


class PacedClient(stripe.RequestsClient):
    """Sends what the SDK wants to send, its repetitions too, each in a turn of its own, and nothing in an outage."""

    def request(  # type: ignore[override]  # as the SDK's own one does
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None
    ) -> Answer:
        """Send one request."""
        request = super().request
        return send(method=method, url=url, call=lambda: request(method, url, headers, post_data))


class RefundSource(TypedDict, total=False):
    """What is paid back: one of both."""

    charge: str
    payment_intent: str


FINISHED = ("paid", "void", "uncollectible")


def ensure_customer(
    *, reference: str, name: str, email: str, payment_method: str | None, idempotency_key: str, known_as: str = ""
) -> str:
    """Return the id of Stripe's customer for our reference, made or brought up to date; raises CardDeclined.

    `known_as` is the id where we know it already; otherwise it is looked for by e-mail and reference.
    A given payment method is attached and becomes the default one for invoices.
    """
    with stripe_errors():
        customers = client().v1.customers
        found = [known_as] if known_as else _customers_with(reference=reference, email=email)
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
            attached = client().v1.payment_methods.attach(
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
    draft: InvoiceCreateParams = {
        "customer": customer,
        "currency": currency.lower(),
        "number": number,
        "metadata": dict(metadata),
        "auto_advance": False,
        "pending_invoice_items_behavior": "exclude",
        "collection_method": "charge_automatically",
    }
    if due_at is not None:
        draft |= {"collection_method": "send_invoice", "due_date": int(due_at.timestamp())}
    with stripe_errors():
        created = client().v1.invoices.create(draft, {"idempotency_key": idempotency_key})
    return remote_invoice(created)


def add_invoice_lines(*, invoice: str, lines: Sequence[NewLine], idempotency_key: str) -> RemoteInvoice:
    """Add lines of rounded amounts to a draft in one request: all of them are there afterwards, or none."""
    with stripe_errors():
        changed = client().v1.invoices.add_lines(
            invoice,
            {
                "lines": [_line(line) for line in lines],
                "expand": [PAYMENT],
            },
            {"idempotency_key": idempotency_key},
        )
    return remote_invoice(changed)


def _line(line: NewLine) -> InvoiceAddLinesParamsLine:
    told: InvoiceAddLinesParamsLine = {
        "amount": stripe_minor_units(line.amount),
        "description": line.description,
    }
    if line.period is not None:
        told["period"] = {
            "start": int(line.period.start.timestamp()),
            "end": int(line.period.end.timestamp()),
        }
    return told


def finalize_invoice(*, present: RemoteInvoice, expected_total: Money, idempotency_key: str) -> RemoteInvoice:
    """Issue a draft, as Stripe showed it a moment ago; twice is harmless. Refuses (code total_differs) if its lines do not sum to our total.

    An invoice over zero is paid at once by being issued.
    """
    if present.total != expected_total:
        message = f"Stripe's lines sum to {present.total}, ours to {expected_total}; nothing was finalised."
        raise GatewayRefused(message, param="total", code="total_differs")
    if present.status != "draft":
        return present
    with stripe_errors():
        finalized = client().v1.invoices.finalize_invoice(
            present.id, {"auto_advance": False, "expand": [PAYMENT]}, {"idempotency_key": idempotency_key}
        )
    return remote_invoice(finalized)


def pay_invoice(*, invoice: str, idempotency_key: str) -> RemoteInvoice:
    """Charge the customer's default payment method for an open invoice; raises CardDeclined.

    One key is one attempt: the same key replays the same answer. An invoice that is paid already is returned as it is.
    """
    try:
        with stripe_errors():
            paid = client().v1.invoices.pay(invoice, {"expand": [PAYMENT]}, {"idempotency_key": idempotency_key})
        return remote_invoice(paid)
    except GatewayRefused:
        present = retrieve_invoice(invoice)
        if present.status not in FINISHED:
            raise
        return present


def void_invoice(*, invoice: str, idempotency_key: str) -> RemoteInvoice:
    """Void an open or uncollectible invoice for good: nobody can pay it any more."""
    with stripe_errors():
        voided = client().v1.invoices.void_invoice(invoice, {"expand": [PAYMENT]}, {"idempotency_key": idempotency_key})
    return remote_invoice(voided)


def mark_uncollectible(*, invoice: str, idempotency_key: str) -> RemoteInvoice:
    """Give an open invoice up: it is charged no more by itself, and can still be paid or voided (docs.stripe.com/api/invoices/mark_uncollectible)."""
    with stripe_errors():
        marked = client().v1.invoices.mark_uncollectible(
            invoice, {"expand": [PAYMENT]}, {"idempotency_key": idempotency_key}
        )
    return remote_invoice(marked)


def retrieve_invoice(invoice: str) -> RemoteInvoice:
    """Return the present state of one invoice."""
    with stripe_errors():
        return remote_invoice(client().v1.invoices.retrieve(invoice, {"expand": [PAYMENT]}))


def find_invoices_by_metadata(*, customer: str, key: str, value: str, made_since: datetime) -> list[RemoteInvoice]:
    """Return the customer's invoices of a time whose metadata say `key: value`, newest first: recovery after a lost answer."""
    since = int(made_since.timestamp())
    with stripe_errors():
        known_since = client().v1.invoices.list({"customer": customer, "created": {"gte": since}, "limit": 100})
        found = [known.id for known in known_since.auto_paging_iter() if member_of(known.metadata, key) == value]
    return [retrieve_invoice(invoice) for invoice in found]


def create_refund(*, payment: str, amount: Money, metadata: Mapping[str, str], idempotency_key: str) -> RemoteRefund:
    """Pay an amount of a charge, or of a payment intent, back; the money goes where it came from."""
    with stripe_errors():
        created = client().v1.refunds.create(
            {
                **_source(payment),
                "amount": stripe_minor_units(amount),
                "reason": "requested_by_customer",
                "metadata": dict(metadata),
            },
            {"idempotency_key": idempotency_key},
        )
    return remote_refund(created)


def retrieve_refund(refund: str) -> RemoteRefund:
    """Return the present state of one refund."""
    with stripe_errors():
        return remote_refund(client().v1.refunds.retrieve(refund))


def find_refund(*, payment: str, key: str, value: str) -> RemoteRefund | None:
    """Return the refund of a payment whose metadata say `key: value`, or None: recovery after a lost answer."""
    with stripe_errors():
        known = client().v1.refunds.list({**_source(payment), "limit": 100}).auto_paging_iter()
        found = next((one for one in known if member_of(one.metadata, key) == value), None)
    return None if found is None else remote_refund(found)


def retrieve_dispute(dispute: str) -> RemoteDispute:
    """Return the present state of one dispute, with the customer of its charge and what it moved."""
    with stripe_errors():
        return remote_dispute(client().v1.disputes.retrieve(dispute, {"expand": ["charge"]}))


def disputes_since(*, opened_at: datetime) -> list[str]:
    """Return the ids of the disputes that were opened since a moment, newest first."""
    with stripe_errors():
        known = client().v1.disputes.list({"created": {"gte": int(opened_at.timestamp())}, "limit": 100})
        return [one.id for one in known.auto_paging_iter()]


def close_dispute(*, dispute: str, idempotency_key: str) -> RemoteDispute:
    """Give a dispute up: it is lost at once, for good (docs.stripe.com/api/disputes/close)."""
    with stripe_errors():
        closed = client().v1.disputes.close(dispute, {"expand": ["charge"]}, {"idempotency_key": idempotency_key})
    return remote_dispute(closed)


def calculate_tax(*, asked: Mapping[str, Any], at: datetime, idempotency_key: str) -> RemoteTax:
    """Ask how one line of an amount is taxed at a moment, at most 31 days away (docs.stripe.com/api/tax/calculations/create).

    `asked` has currency, amount in Stripe's minor units, tax_code ("": the account's own), address, tax_ids and taxability_override.
    """
    line: CalculationCreateParamsLineItem = {"amount": asked["amount"], "reference": "line"}
    if asked["tax_code"]:
        line["tax_code"] = asked["tax_code"]
    with stripe_errors():
        calculation = client().v1.tax.calculations.create(
            {
                "currency": asked["currency"].lower(),
                "customer_details": {
                    "address": asked["address"],
                    "address_source": "billing",
                    "tax_ids": asked["tax_ids"],
                    "taxability_override": asked["taxability_override"],
                },
                "line_items": [line],
                "tax_date": int(at.timestamp()),
                "expand": ["line_items.data.tax_breakdown"],
            },
            {"idempotency_key": idempotency_key},
        )
    return RemoteTax(id=calculation.id or "", body=calculation.to_dict(for_json=True))


def _source(payment: str) -> RefundSource:
    return {"payment_intent": payment} if payment.startswith("pi_") else {"charge": payment}


def retrieve_event(event: str) -> RemoteEvent:
    """Return one of the last thirty days' events by its id."""
    with stripe_errors():
        return remote_event(client().v1.events.retrieve(event).to_dict(for_json=True))


def verified_event(*, payload: bytes, signature: str) -> RemoteEvent:
    """Return the event of a webhook that is signed with one of our secrets; raises SignatureInvalid, Malformed.

    There are two while one is exchanged for another (S2-037), and where thin events come from a destination of their own.
    """
    # An empty secret would let everybody sign.
    secrets = [secret for secret in (settings.STRIPE_WEBHOOK_SECRET, *settings.STRIPE_WEBHOOK_SECRETS_BESIDE) if secret]
    if not secrets:
        raise SignatureInvalid("Webhooks cannot be verified: STRIPE_WEBHOOK_SECRET is not set.")
    try:
        _verify_with_one_of(secrets, payload=payload, signature=signature)
        # The words as they were sent: the SDK's object has turned some of them into decimals.
        return remote_event(json.loads(payload))
    except stripe.SignatureVerificationError as error:
        raise SignatureInvalid(f"The webhook is not signed by Stripe for us: {error.user_message}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError, OSError) as error:
        raise Malformed("The webhook's body is not a Stripe event.") from error


def _verify_with_one_of(secrets: Sequence[str], *, payload: bytes, signature: str) -> None:
    """Return where one of the secrets has signed; otherwise raises what the last one was refused for."""
    *others, last = secrets
    for secret in others:
        with suppress(stripe.SignatureVerificationError):
            stripe.WebhookSignature.verify_header(payload, signature, secret, stripe.Webhook.DEFAULT_TOLERANCE)
            return
    stripe.WebhookSignature.verify_header(payload, signature, last, stripe.Webhook.DEFAULT_TOLERANCE)


def _customers_with(*, reference: str, email: str) -> list[str]:
    """Return the ids of the customers made for our reference; Stripe can look for them by e-mail only."""
    if not email:
        return []
    found = client().v1.customers.list({"email": email, "limit": 100}).auto_paging_iter()
    return [known.id for known in found if member_of(known.metadata, "reference") == reference]


@contextmanager
def stripe_errors() -> Iterator[None]:
    """Turn the SDK's exceptions into ours."""
    try:
        yield
    except NotRepresentable as error:
        raise GatewayRefused(str(error), param="amount", code="amount_not_representable") from error
    except stripe.CardError as error:
        decline_code = str(getattr(error.error, "decline_code", None) or "")
        raise CardDeclined(_message(error), code=error.code or "card_declined", decline_code=decline_code) from error
    except (stripe.InvalidRequestError, stripe.IdempotencyError) as error:
        raise GatewayRefused(_message(error), param=getattr(error, "param", "") or "", code=error.code or "") from error
    except (stripe.AuthenticationError, stripe.PermissionError) as error:
        raise GatewayUnavailable(f"Stripe refuses our key, see STRIPE_SECRET_KEY: {_message(error)}") from error
    except stripe.StripeError as error:
        retry_after = (error.headers or {}).get("retry-after", "")
        seconds = int(retry_after) if str(retry_after).isdecimal() else None
        is_busy = error.http_status == pace.TOO_MANY_REQUESTS
        is_of_request = (error.http_status or 0) >= SERVER_FAULT
        raise (GatewayBusy if is_busy else GatewayUnavailable)(
            f"Stripe cannot answer now: {_message(error)}",
            retry_after_seconds=seconds,
            is_of_request=is_of_request,
            is_kept=is_of_request and (error.headers or {}).get(REPLAYED_HEADER) == "true",
        ) from error


def client() -> stripe.StripeClient:
    """Return what talks to the Stripe that the settings name, once and in seconds where a person waits; its callers stand within `stripe_errors`."""
    left = seconds_left()
    seconds, retries = (settings.STRIPE_TIMEOUT_SECONDS, NETWORK_RETRIES) if left is None else (left, 0)
    return _client_for(settings.STRIPE_SECRET_KEY, settings.STRIPE_API_HOST, seconds, retries)


@lru_cache(maxsize=16)
def _client_for(
    secret_key: str, host: str, timeout_seconds: int, retries: int = NETWORK_RETRIES
) -> stripe.StripeClient:
    live = secret_key.startswith(("sk_live_", "rk_live_"))
    assert not live or host == "https://api.stripe.com", "a live key must never reach a sandbox"
    return stripe.StripeClient(
        secret_key,
        base_addresses={"api": host},
        max_network_retries=retries,
        http_client=PacedClient(timeout=timeout_seconds),
    )


def pace_other_callers() -> None:
    """Let dj-stripe, which calls by the SDK's own client, take its turns too, and wait no longer for an answer than we do."""
    if not isinstance(stripe.default_http_client, PacedClient):
        stripe.default_http_client = PacedClient(timeout=settings.STRIPE_TIMEOUT_SECONDS)
        stripe.max_network_retries = NETWORK_RETRIES


def _message(error: stripe.StripeError) -> str:
    return error.user_message or "no reason was given"
