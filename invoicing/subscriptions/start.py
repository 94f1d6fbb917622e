"""Start a subscription."""

from datetime import datetime

from django.db import IntegrityError, transaction
from django.db.models import Q

from billing_site.kernel.errors import Conflict, FieldError, InvalidFields
from billing_site.kernel.history import save_with_reason
from billing_site.kernel.period import Period, as_utc
from invoicing.catalog.models import PlanVersion
from invoicing.customers.models import Customer
from invoicing.customers.operations import KEY_PATTERN, lock_customer
from invoicing.subscriptions.models import Anchor, Subscription
from invoicing.subscriptions.snapshot import period_at

# A slip of the finger (0206, 20260) would make thousands of periods due, or none that can be computed.
EARLIEST_YEAR, LATEST_YEAR = 2000, 2099


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
    # The customer's row serialises starts, ends and billing of one customer.
    customer = lock_customer(customer_id=customer.pk)
    subscription = Subscription(
        key=key, customer=customer, plan_version=plan_version, started_at=started_at, anchor=anchor
    )
    if (existing := _with_key(key)) is not None:
        return _same_or_conflict(existing, subscription)
    if errors := _mistakes(subscription):
        raise InvalidFields(tuple(errors))
    try:
        with transaction.atomic():
            save_with_reason(subscription, actor=actor, reason=reason)
    except IntegrityError:
        # The key was taken at the same moment, for another customer.
        existing = _with_key(key)
        assert existing is not None, "only the key can be taken"
        return _same_or_conflict(existing, subscription)
    return subscription


def _with_key(key: str) -> Subscription | None:
    if not KEY_PATTERN.fullmatch(key):
        return None
    return Subscription.objects.select_related("customer", "plan_version").filter(key=key).first()


def _same_or_conflict(existing: Subscription, wanted: Subscription) -> Subscription:
    for name in ("customer_id", "plan_version_id", "started_at", "anchor"):
        if getattr(existing, name) != getattr(wanted, name):
            raise Conflict(f"subscription {wanted.key} exists already with other terms", field="key")
    return existing


def _mistakes(wanted: Subscription) -> list[FieldError]:
    """Return what is wrong with a subscription that is not stored yet; its customer is locked."""
    customer, plan_version = wanted.customer, wanted.plan_version
    errors = []
    if not KEY_PATTERN.fullmatch(wanted.key):
        message = "use 1 to 100 letters, digits and _ . : -, beginning with a letter or digit"
        errors.append(FieldError("key", "invalid", message))
    if plan_version.published_at is None:
        errors.append(FieldError("plan", "not_published", "is a draft: publish it first"))
    if not plan_version.prices.filter(currency=customer.currency).exists():
        message = f"{plan_version} has no price in {customer.currency}, the customer's currency"
        errors.append(FieldError("plan", "no_price", message))
    if wanted.anchor not in Anchor.values:
        errors.append(FieldError("anchor", "unknown", f"must be one of {', '.join(Anchor.values)}"))
    elif wanted.started_at.utcoffset() is None:
        errors.append(FieldError("started_at", "naive", "has no offset: write 2026-08-01T00:00:00Z"))
    elif not EARLIEST_YEAR <= wanted.started_at.year <= LATEST_YEAR:
        message = f"must lie in the years {EARLIEST_YEAR} to {LATEST_YEAR}"
        errors.append(FieldError("started_at", "out_of_range", message))
    elif (clash := _metered_already(wanted)) is not None:
        message = f"{clash} charges the same meter from then on: end it before this one begins"
        errors.append(FieldError("plan", "metered_already", message))
    elif (until := _invoiced_already(wanted)) is not None:
        message = f"the customer's invoice for the period up to {until.isoformat()} is issued: start then or later"
        errors.append(FieldError("started_at", "invoiced_already", message))
    return errors


def _metered_already(wanted: Subscription) -> Subscription | None:
    """Return a subscription that would charge the same usage: each event is rated once (peers: polar#6779)."""
    currency = wanted.customer.currency
    meters = wanted.plan_version.prices.filter(currency=currency, meter__isnull=False).values("meter")
    return (
        wanted.customer.subscriptions.filter(Q(ended_at__isnull=True) | Q(ended_at__gt=wanted.started_at))
        .filter(plan_version__prices__meter__in=meters, plan_version__prices__currency=currency)
        .first()
    )


def _invoiced_already(wanted: Subscription) -> datetime | None:
    """Return the end of the last issued period in which the subscription would have charges that nobody billed."""
    issued = wanted.customer.invoices.exclude(status__in=("draft", "void")).filter(period_end__gt=wanted.started_at)
    for start, end in issued.order_by("-period_end").values_list("period_start", "period_end"):
        if period_at(subscription=wanted, moment=max(start, wanted.started_at)) == Period(as_utc(start), as_utc(end)):
            return as_utc(end)
    return None
