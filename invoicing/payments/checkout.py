"""Stripe's own page on which a customer leaves a card: no card data ever reaches us, only the id of what Stripe keeps (S1-042, S2-038)."""

from dataclasses import dataclass
from datetime import UTC, datetime

from invoicing.payments.gateway import client, stripe_errors
from invoicing.payments.remote import id_of

# Stripe puts the session's id in its place when it sends the customer back.
SESSION_ID = "{CHECKOUT_SESSION_ID}"


@dataclass(frozen=True)
class RemoteSetup:
    """A checkout session that asks for a card, as Stripe holds it: `payment_method` is "" until the customer has left one."""

    id: str
    customer: str
    payment_method: str
    created_at: datetime


def begin_setup(*, customer: str, return_url: str, cancel_url: str) -> str:
    """Return the address of a page at Stripe on which the customer leaves a card, for charges without the customer being there.

    A page that nobody uses expires by itself. Raises GatewayUnavailable, GatewayRefused.
    """
    with stripe_errors():
        session = client().v1.checkout.sessions.create(
            {
                "mode": "setup",
                "customer": customer,
                "payment_method_types": ["card"],
                "success_url": return_url,
                "cancel_url": cancel_url,
            }
        )
    assert session.url, "a page that was just made is there"
    return session.url


def retrieve_setup(session: str) -> RemoteSetup | None:
    """Return what came of such a page; None for a session that is about something else. Raises GatewayUnavailable, GatewayRefused."""
    with stripe_errors():
        found = client().v1.checkout.sessions.retrieve(session, {"expand": ["setup_intent"]})
    if found.mode != "setup":
        return None
    is_complete = found.status == "complete" and found.setup_intent is not None
    return RemoteSetup(
        id=found.id,
        customer=id_of(found.customer),
        payment_method=id_of(getattr(found.setup_intent, "payment_method", None)) if is_complete else "",
        created_at=datetime.fromtimestamp(found.created, tz=UTC),
    )
