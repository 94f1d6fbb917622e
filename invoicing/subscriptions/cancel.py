"""End a subscription."""

from datetime import datetime

from django.db import transaction

from billing_site.kernel.errors import Conflict, InvalidInput
from billing_site.kernel.history import save_with_reason
from invoicing.subscriptions.models import Subscription


@transaction.atomic
def end_subscription(*, subscription: Subscription, ended_at: datetime, actor: str, reason: str) -> Subscription:
    """Let a subscription end at `ended_at`; its last period is billed up to then (S0-130).

    Raises InvalidInput if that is not after its start, Conflict if it has another end already.
    """
    locked = Subscription.objects.select_for_update().get(pk=subscription.pk)
    if locked.ended_at == ended_at:
        return locked
    if locked.ended_at is not None:
        raise Conflict(f"subscription {locked.key} ends at {locked.ended_at.isoformat()} already", field="ended_at")
    if ended_at <= locked.started_at:
        raise InvalidInput(f"must be after the start, {locked.started_at.isoformat()}", field="ended_at")
    locked.ended_at = ended_at
    save_with_reason(locked, actor=actor, reason=reason)
    return locked
