"""Subscriptions that Stripe keeps: only read; what they mean is decided elsewhere.

Reference: docs.stripe.com/api/subscriptions.
"""

from dataclasses import dataclass
from typing import Any

from invoicing.payments.gateway import client, stripe_errors
from invoicing.payments.remote import GatewayRefused, id_of

PAUSED = "paused"


@dataclass(frozen=True)
class RemoteSubscription:
    """A subscription as Stripe holds it at this moment; `status` is one of Stripe's words, paused also where only its collection is."""

    id: str
    customer: str
    status: str


def retrieve_subscription(subscription: str) -> RemoteSubscription:
    """Return the present state of one subscription. Raises GatewayUnavailable, GatewayRefused."""
    with stripe_errors():
        return _remote(client().v1.subscriptions.retrieve(subscription))


def find_subscription(subscription: str) -> RemoteSubscription | None:
    """Return the present state of one subscription, or None where Stripe does not have it. Raises GatewayUnavailable, GatewayRefused."""
    try:
        return retrieve_subscription(subscription)
    except GatewayRefused as refusal:
        if refusal.code != "resource_missing":
            raise
        return None


def _remote(found: Any) -> RemoteSubscription:
    goes_on = found.status in ("active", "trialing", "past_due")
    status = PAUSED if goes_on and found.pause_collection else found.status
    return RemoteSubscription(id=found.id, customer=id_of(found.customer), status=status)
