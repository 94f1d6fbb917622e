"""What may be asked about subscriptions that stand for one at Stripe."""

from invoicing.stripe_subscriptions.models import SubscriptionMismatch
from invoicing.subscriptions.models import Subscription


def contradiction_of(*, subscription: Subscription) -> SubscriptionMismatch | None:
    """Return what is open between a subscription and the one at Stripe, or None."""
    return SubscriptionMismatch.objects.filter(link__subscription=subscription, closed_at=None).first()
