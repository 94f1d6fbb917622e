"""Events: what happened, and to which addresses it is on its way."""

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
        "charge.dispute.closed",
        "charge.dispute.created",
        "charge.dispute.funds_reinstated",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.updated",
        "checkout.session.completed",
        "customer.subscription.created",
        "customer.subscription.deleted",
        "customer.subscription.updated",
        "invoice.marked_uncollectible",
        "invoice.paid",
        "invoice.payment_action_required",
        "invoice.payment_failed",
        "invoice.voided",
        "payment_intent.requires_action",
        "payout.canceled",
        "payout.created",
        "payout.failed",
        "payout.paid",
        "payout.reconciliation_completed",
        "payout.updated",
    }
)


def retrieve(call: Call, event_id: str) -> Body:
    """GET /v1/events/{id}."""
    call.params.refuse_the_rest()
    return store.retrieve("event", event_id)


def list_page(call: Call) -> Body:
    """GET /v1/events, narrowed by `type`, or by `types`."""
    event_type, types = call.params.text("type"), call.params.texts("types")
    members = {"type": event_type} if event_type else {}
    found = store.page("event", call.params, url="/v1/events", members=members, among={"type": types} if types else {})
    call.params.refuse_the_rest()
    return found


def record_news(call: Call) -> None:
    """Write the events of a call and their deliveries; the deliverer is woken when the transaction commits."""
    if not call.news:
        return
    registered = webhook_endpoints.enabled()
    targets = [_targets(event_type, registered) for event_type, _ in call.news]
    events = store.create_all(
        "event",
        [
            {
                "api_version": API_VERSION,
                "created": store.timestamp(),
                "data": {"object": presented(subject)},
                "livemode": False,
                "pending_webhooks": len(addresses),
                "request": {"id": call.request_id, "idempotency_key": call.idempotency_key},
                "type": event_type,
            }
            for (event_type, subject), addresses in zip(call.news, targets, strict=True)
        ],
    )
    at = now()
    SandboxDelivery.objects.bulk_create(
        SandboxDelivery(event=event["id"], endpoint=endpoint, url=url, next_attempt_at=at)
        for event, addresses in zip(events, targets, strict=True)
        for endpoint, url in addresses
    )
    transaction.on_commit(alarm.ring)


def _targets(event_type: str, registered: list[Body]) -> list[tuple[str, str]]:
    """Return the endpoints that want an event, with their addresses; the product's own has no id."""
    own = [("", settings.SANDBOX_WEBHOOK_URL)] if event_type in SUBSCRIBED else []
    return own + [
        (endpoint["id"], endpoint["url"])
        for endpoint in registered
        if not {"*", event_type}.isdisjoint(endpoint["enabled_events"])
    ]
