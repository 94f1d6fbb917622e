"""What may happen to links to Stripe's subscriptions: made, compared, unlinked; one contradiction at a time, told once."""

from datetime import datetime, timedelta

from django.db import IntegrityError, connection, transaction

from billing_site.kernel.errors import Conflict, NotFound
from billing_site.kernel.history import save_with_reason
from billing_site.kernel.jobs import queue
from billing_site.kernel.reasons import checked_reason
from invoicing.core.subscription_states import MISSING, difference_of
from invoicing.payments.models import StripeCustomer
from invoicing.payments.subscriptions import RemoteSubscription
from invoicing.stripe_subscriptions.models import StripeSubscription, SubscriptionMismatch
from invoicing.subscriptions.models import Subscription
from invoicing.subscriptions.queries import state_of

ALERT_JOB = "invoicing.tasks.alert_of_mismatch"
LOOKED = "comparison with Stripe"


@transaction.atomic
def link(
    *, subscription: Subscription, present: RemoteSubscription, at: datetime, actor: str, reason: str
) -> StripeSubscription:
    """Say that a subscription here and one at Stripe are the same agreement, and compare them; the same link again is the one that is there.

    Raises Conflict where either is linked already, or where Stripe's is of a customer who is not the one that pays here.
    """
    reason = checked_reason(reason=reason)
    payer = StripeCustomer.objects.filter(customer=subscription.customer.payer_id).first()
    if payer is not None and payer.stripe_id != present.customer:
        raise Conflict(f"at Stripe it is of {present.customer}, and who pays here is {payer}", field="stripe_id")
    known = StripeSubscription.objects.filter(unlinked_at=None, stripe_id=present.id).first()
    if known is not None and known.subscription_id == subscription.pk:
        return known
    made = StripeSubscription(
        subscription=subscription,
        stripe_id=present.id,
        stripe_customer_id=present.customer,
        status=present.status,
        status_since=at,
        seen_at=at,
    )
    try:
        with transaction.atomic():
            save_with_reason(made, actor=actor, reason=reason)
    except IntegrityError:
        raise Conflict("it is linked already: unlink it there first", field="stripe_id") from None
    compare(link_id=made.pk, present=present, at=at)
    return made


@transaction.atomic
def unlink(*, link_id: int, at: datetime, actor: str, reason: str) -> StripeSubscription:
    """Say that the two are not the same agreement any more; what contradicted is closed with it. Raises NotFound, Conflict for one that is unlinked."""
    reason = checked_reason(reason=reason)
    held = _locked(link_id)
    if held.unlinked_at is not None:
        raise Conflict("it was unlinked before", field="link")
    _close_open(held, at=at, actor=actor, because=f"unlinked: {reason}")
    held.unlinked_at = at
    save_with_reason(held, actor=actor, reason=reason, fields=["unlinked_at"])
    return held


@transaction.atomic
def compare(*, link_id: int, present: RemoteSubscription | None, at: datetime) -> str:
    """Keep what Stripe says now, and open or close a contradiction; returns what came of it in words.

    Staff hear of each contradiction once, by a job that commits with it; another one at the next look is another. `present` is None where Stripe does not
    have it.
    """
    held = _locked(link_id)
    if held.unlinked_at is not None:
        return "nothing to do: it was unlinked"
    status = MISSING if present is None else present.status
    since = held.status_since if held.status == status else at
    StripeSubscription.objects.filter(pk=held.pk).update(status=status, status_since=since, seen_at=at)
    here = state_of(subscription=held.subscription, at=at)
    message = difference_of(ours=here, theirs=status, seen_for=max(at - since, timedelta()))
    found = SubscriptionMismatch.objects.filter(link=held, closed_at=None).first()
    if found is not None and (found.here, found.there, found.message) == (here, status, message):
        return f"told before: {message}"
    _close_open(held, at=at, actor=LOOKED, because=f"{here} here and {status} at Stripe now")
    if not message:
        return f"nothing to do: {here} here and {status} at Stripe"
    opened = SubscriptionMismatch.objects.create(link=held, here=here, there=status, message=message, opened_at=at)
    queue(ALERT_JOB, opened.pk)
    return message


def _close_open(held: StripeSubscription, *, at: datetime, actor: str, because: str) -> None:
    for one in SubscriptionMismatch.objects.filter(link=held, closed_at=None):
        one.closed_at, one.closed_by, one.closed_because = max(at, one.opened_at), actor, because[:300]
        one.save(update_fields=["closed_at", "closed_by", "closed_because"])


def _locked(link_id: int) -> StripeSubscription:
    assert connection.in_atomic_block, "what is compared is locked"
    rows = StripeSubscription.objects.select_for_update(of=("self",), no_key=True)
    found = rows.select_related("subscription__customer__billed_to").filter(pk=link_id).first()
    if found is None:
        raise NotFound("there is no such link", field="link")
    return found
