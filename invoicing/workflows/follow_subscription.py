"""Follow Stripe's subscriptions that stand for ours: linked by somebody, looked at when news comes and once a day (S0-045, S1-048..051)."""

from datetime import datetime, timedelta

from django.db import transaction

from billing_site.kernel.errors import NotFound
from billing_site.kernel.jobs import oldest_waiting, queue, queue_each
from invoicing.payments.breaker import outage_now
from invoicing.payments.locks import only_worker
from invoicing.payments.models import StripeCustomer
from invoicing.payments.remote import GatewayUnavailable
from invoicing.payments.subscriptions import find_subscription
from invoicing.stripe_subscriptions.models import StripeSubscription
from invoicing.stripe_subscriptions.operations import compare, link
from invoicing.subscriptions.models import Subscription

LOOK_JOB = "invoicing.tasks.look_at_subscription"
MIRROR_JOB = "invoicing.tasks.mirror_object"
KIND = "subscription"
LOOKED_EVERY = timedelta(days=1)


def link_to_stripe(
    *, subscription: Subscription, stripe_id: str, at: datetime, actor: str, reason: str
) -> StripeSubscription:
    """Link a subscription to the one at Stripe that it stands for, as it is there now. Raises NotFound, Conflict, GatewayUnavailable, GatewayRefused."""
    present = find_subscription(stripe_id)
    if present is None:
        raise NotFound(f"Stripe has no subscription {stripe_id}", field="stripe_id")
    with transaction.atomic():
        made = link(subscription=subscription, present=present, at=at, actor=actor, reason=reason)
        queue(MIRROR_JOB, KIND, present.id)
    return made


def look_at_subscription(*, link_id: int, at: datetime) -> str:
    """Compare a linked subscription with what is true at Stripe now; returns the outcome in words.

    One worker at a time asks, so that what it hears is never older than what is here. Raises GatewayUnavailable (also while another worker asks), GatewayRefused.
    """
    known = StripeSubscription.objects.get(pk=link_id)
    with only_worker(f"subscription {known.stripe_id}") as alone:
        if not alone:
            raise GatewayUnavailable("The subscription is being looked at at this moment.")
        present = find_subscription(known.stripe_id)
        with transaction.atomic(durable=True):
            outcome = compare(link_id=link_id, present=present, at=at)
            if present is not None:
                queue(MIRROR_JOB, KIND, present.id)
    return outcome


def follow_subscription(*, stripe_id: str, customer: str, at: datetime) -> str:
    """Follow news of a subscription at Stripe; one that stands for none of ours is kept beside its customer, if that is ours, and no more."""
    known = StripeSubscription.objects.filter(stripe_id=stripe_id, unlinked_at=None).first()
    if known is not None:
        return look_at_subscription(link_id=known.pk, at=at)
    if not StripeCustomer.objects.filter(stripe_id=customer).exists():
        return "ignored: not a subscription of a customer of ours"
    queue(MIRROR_JOB, KIND, stripe_id)
    return "mirrored: it stands for no subscription of ours; link it there if it should"


@transaction.atomic
def sync_subscription_states(*, at: datetime) -> int:
    """Queue a look at every subscription that stands for one at Stripe: news may be lost, and people change things there by hand; returns how many (S1-050).

    None in an outage, nor while the looks before still wait for a worker.
    """
    if outage_now() is not None or oldest_waiting(at=at) <= at - LOOKED_EVERY:
        return 0
    links = list(StripeSubscription.objects.filter(unlinked_at=None).order_by("id").values_list("id", flat=True))
    queue_each(LOOK_JOB, links)
    return len(links)
