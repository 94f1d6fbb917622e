"""Events: what happened, and to which addresses it is on its way."""

from datetime import datetime
from functools import partial

from django.conf import settings
from django.db import transaction

from billing_site.kernel.clock import now
from billing_site.sandbox import alarm
from billing_site.sandbox.models import SandboxDelivery
from billing_site.sandbox.stripe import store, webhook_endpoints
from billing_site.sandbox.stripe.call import Call
from billing_site.sandbox.stripe.presentation import presented
from billing_site.sandbox.stripe.store import Body

API_VERSION = "2026-08-26.dahlia"
# What the product's own endpoint listens to (S0-043..048 and the other ends of an invoice); other endpoints choose.
SUBSCRIBED = frozenset(
    {
        "charge.dispute.created",
        "customer.subscription.deleted",
        "customer.subscription.updated",
        "invoice.marked_uncollectible",
        "invoice.paid",
        "invoice.payment_action_required",
        "invoice.payment_failed",
        "invoice.voided",
        "payment_intent.requires_action",
    }
)


def retrieve(call: Call, event_id: str) -> Body:
    """GET /v1/events/{id}."""
    call.params.refuse_the_rest()
    return store.retrieve("event", event_id)


def list_page(call: Call) -> Body:
    """GET /v1/events, narrowed by `type`."""
    event_type = call.params.text("type")
    found = store.page("event", call.params, url="/v1/events", members={"type": event_type} if event_type else {})
    call.params.refuse_the_rest()
    return found


def record_news(call: Call) -> None:
    """Write the events of a call and their deliveries; the deliverer is woken when the transaction commits."""
    if not call.news:
        return
    registered = webhook_endpoints.enabled()
    for event_type, subject in call.news:
        targets = [("", settings.SANDBOX_WEBHOOK_URL)] if event_type in SUBSCRIBED else []
        targets += [
            (endpoint["id"], endpoint["url"])
            for endpoint in registered
            if not {"*", event_type}.isdisjoint(endpoint["enabled_events"])
        ]
        event = _create(call, event_type, subject, pending=len(targets))
        _queue(event["id"], targets, at=now())
    transaction.on_commit(partial(alarm.ring))


def _create(call: Call, event_type: str, subject: Body, *, pending: int) -> Body:
    return store.create(
        "event",
        {
            "api_version": API_VERSION,
            "created": store.timestamp(),
            "data": {"object": presented(subject)},
            "livemode": False,
            "pending_webhooks": pending,
            "request": {"id": call.request_id, "idempotency_key": call.idempotency_key},
            "type": event_type,
        },
    )


def _queue(event_id: str, targets: list[tuple[str, str]], *, at: datetime) -> None:
    SandboxDelivery.objects.bulk_create(
        SandboxDelivery(event=event_id, endpoint=endpoint, url=url, next_attempt_at=at) for endpoint, url in targets
    )
