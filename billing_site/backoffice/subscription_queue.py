"""The subscriptions that are otherwise at Stripe than here (S1-051)."""

from django.db.models import Count, Max, Min

from billing_site.backoffice.work_queue import WorkQueue, admin_list
from invoicing.stripe_subscriptions.models import SubscriptionMismatch

WHY_LENGTH = 120


def subscription_queue() -> WorkQueue:
    """Return the contradictions that are open."""
    row = SubscriptionMismatch.objects.filter(closed_at=None).aggregate(
        number_of=Count("id"), oldest=Min("opened_at"), why=Max("message")
    )
    why = row["why"] or ""
    return WorkQueue(
        name="Subscriptions that Stripe sees otherwise",
        link=admin_list("subscriptionmismatch", "state=open"),
        empty="A subscription that is linked to one at Stripe stands here while the two cannot both be right.",
        count=row["number_of"],
        oldest=row["oldest"],
        why=why if len(why) <= WHY_LENGTH else why[: WHY_LENGTH - 1] + "…",
    )
