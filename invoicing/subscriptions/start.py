"""Start a subscription."""

from datetime import datetime

from django.db import IntegrityError, transaction
from django.db.models import Q

from billing_site.kernel.errors import Conflict, FieldError, InvalidFields
from billing_site.kernel.history import save_with_reason
from invoicing.catalog.models import PlanVersion
from invoicing.customers.models import Customer
from invoicing.subscriptions.models import Anchor, Subscription


@transaction.atomic
def start_subscription(
    *,
    key: str,
    customer: Customer,
    plan_version: PlanVersion,
    started_at: datetime,
    anchor: str = "calendar",
    actor: str,
    reason: str,
) -> Subscription:
    """Put a published plan version in force for a customer from `started_at` on (S0-123).

    The same key with the same content a second time returns the subscription that exists; with
    other content it is a Conflict. Raises InvalidFields naming what cannot be accepted.
    """
    errors = []
    if plan_version.published_at is None:
        errors.append(FieldError("plan", "not_published", "is a draft: publish it first"))
    if anchor not in Anchor.values:
        errors.append(FieldError("anchor", "unknown", f"must be one of {', '.join(Anchor.values)}"))
    if not plan_version.prices.filter(currency=customer.currency).exists():
        errors.append(
            FieldError(
                "plan", "no_price", f"{plan_version} has no price in {customer.currency}, the customer's currency"
            )
        )
    if started_at.utcoffset() is None:
        errors.append(FieldError("started_at", "naive", "has no offset: write 2026-08-01T00:00:00Z"))
    elif (clash := _metered_already(key, customer, plan_version, started_at)) is not None:
        message = f"{clash} charges the same meter from then on: end it before this one begins"
        errors.append(FieldError("plan", "metered_already", message))
    if not key or len(key) > 100:
        errors.append(FieldError("key", "invalid", "must have 1 to 100 characters"))
    if errors:
        raise InvalidFields(tuple(errors))

    subscription = Subscription(
        key=key, customer=customer, plan_version=plan_version, started_at=started_at, anchor=anchor
    )
    try:
        with transaction.atomic():
            save_with_reason(subscription, actor=actor, reason=reason)
    except IntegrityError:
        existing = Subscription.objects.select_related("customer", "plan_version").get(key=key)
        same = (existing.customer_id, existing.plan_version_id, existing.started_at, existing.anchor) == (
            customer.pk,
            plan_version.pk,
            started_at,
            anchor,
        )
        if not same:
            raise Conflict(f"subscription {key} exists already with other terms", field="key") from None
        return existing
    return subscription


def _metered_already(
    key: str, customer: Customer, plan_version: PlanVersion, started_at: datetime
) -> Subscription | None:
    """Return a subscription that would charge the same usage: each event is rated once (peers: polar#6779)."""
    # The customer's row serialises two starts at once.
    Customer.objects.select_for_update().get(pk=customer.pk)
    meters = plan_version.prices.filter(currency=customer.currency, meter__isnull=False).values("meter")
    return (
        customer.subscriptions.exclude(key=key)
        .filter(Q(ended_at__isnull=True) | Q(ended_at__gt=started_at))
        .filter(plan_version__prices__meter__in=meters, plan_version__prices__currency=customer.currency)
        .first()
    )
