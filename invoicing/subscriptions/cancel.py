"""End a subscription."""

from datetime import datetime

from django.db import transaction
from django.db.models import Max

from billing_site.kernel.errors import Conflict, InvalidInput
from billing_site.kernel.history import save_with_reason
from invoicing.customers.operations import lock_customer
from invoicing.subscriptions.models import Subscription


@transaction.atomic
def end_subscription(*, subscription: Subscription, ended_at: datetime, actor: str, reason: str) -> Subscription:
    """Let a subscription end at `ended_at`; its last period is billed up to then (S0-130).

    Raises InvalidInput if that is not after its start, Conflict if it has another end already or is
    invoiced beyond this one: giving back what is invoiced takes a credit note (a later issue).
    """
    if ended_at.utcoffset() is None:
        raise InvalidInput("has no offset: write 2026-08-01T00:00:00Z", field="ended_at", code="naive")
    # The customer first: a billing run that computes this customer must not see the end halfway.
    lock_customer(customer_id=subscription.customer_id)
    locked = Subscription.objects.select_for_update().get(pk=subscription.pk)
    if locked.ended_at == ended_at:
        return locked
    if locked.ended_at is not None:
        raise Conflict(f"subscription {locked.key} ends at {locked.ended_at.isoformat()} already", field="ended_at")
    if ended_at <= locked.started_at:
        raise InvalidInput(f"must be after the start, {locked.started_at.isoformat()}", field="ended_at")
    billed_until = invoiced_until(subscription=locked)
    if billed_until is not None and ended_at < billed_until:
        raise Conflict(f"subscription {locked.key} is invoiced until {billed_until.isoformat()}", field="ended_at")
    locked.ended_at = ended_at
    save_with_reason(locked, actor=actor, reason=reason)
    return locked


def invoiced_until(*, subscription: Subscription) -> datetime | None:
    """Return the end of what issued invoices charge for a subscription, or None."""
    lines = subscription.invoice_lines.exclude(invoice__status__in=("draft", "void"))
    until: datetime | None = lines.aggregate(until=Max("service_end"))["until"]
    return until
