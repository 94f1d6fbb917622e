"""What Stripe lists and nothing here knows by its id: the events that it kept, the invoices that a payment pays."""

from collections.abc import Iterator
from datetime import datetime

from invoicing.payments.gateway import client, stripe_errors
from invoicing.payments.remote import RemoteEvent, id_of, remote_event


def events_between(*, start: datetime, end: datetime, types: list[str]) -> Iterator[RemoteEvent]:
    """Yield the events of [start, end] of at most twenty types, newest first (docs.stripe.com/api/events/list). Raises GatewayUnavailable, GatewayRefused."""
    with stripe_errors():
        found = client().v1.events.list(
            {
                "created": {"gte": int(start.timestamp()), "lte": int(end.timestamp())},
                "types": types,
                "limit": 100,
            }
        )
        for one in found.auto_paging_iter():
            yield remote_event(one.to_dict(for_json=True))


def invoices_of_payment(*, payment_intent: str) -> list[str]:
    """Return the ids of the invoices that a payment intent pays (docs.stripe.com/api/invoice-payment/list). Raises GatewayUnavailable, GatewayRefused."""
    with stripe_errors():
        found = client().v1.invoice_payments.list(
            {"payment": {"type": "payment_intent", "payment_intent": payment_intent}, "limit": 100}
        )
        return [id_of(one.invoice) for one in found.auto_paging_iter()]
