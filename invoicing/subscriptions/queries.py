"""What may be asked about subscriptions: which phase counts now, and who is on which plan version."""

from datetime import datetime

from django.db.models import Q, QuerySet

from invoicing.subscriptions.models import Subscription, SubscriptionPhase


def phase_shown(*, subscription: Subscription, at: datetime) -> SubscriptionPhase:
    """Return the phase in force at a moment; of a planned subscription the first, of an ended one the last."""
    phases = sorted(subscription.phases.all(), key=lambda phase: phase.starts_at)
    assert phases, "a subscription has a phase"
    return next((phase for phase in reversed(phases) if phase.starts_at <= at), phases[0])


def phases_in_force(*, at: datetime) -> "QuerySet[SubscriptionPhase]":
    """Return the phases that hold a moment: one for each subscription that runs then."""
    return SubscriptionPhase.objects.filter(Q(ends_at__isnull=True) | Q(ends_at__gt=at), starts_at__lte=at)
