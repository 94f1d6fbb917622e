"""Start a subscription."""

from datetime import datetime

from django.db import IntegrityError, transaction

from billing_site.kernel.errors import Conflict, FieldError, InvalidFields
from billing_site.kernel.history import save_with_reason
from billing_site.kernel.period import as_utc
from invoicing.catalog.models import PlanVersion
from invoicing.core.phases import PhaseKind, Timeline
from invoicing.customers.models import Customer
from invoicing.customers.operations import KEY_PATTERN, lock_customer
from invoicing.subscriptions.amend import QUANTITY_MAX
from invoicing.subscriptions.models import Anchor, Subscription, SubscriptionPhase
from invoicing.subscriptions.phases import (
    EARLIEST_YEAR,
    LATEST_YEAR,
    issued_period_end,
    metered_elsewhere,
    plan_mistakes,
)
from invoicing.subscriptions.snapshot import core_phase, with_phases


@transaction.atomic
def start_subscription(
    *,
    key: str,
    customer: Customer,
    plan_version: PlanVersion,
    started_at: datetime,
    anchor: str = "calendar",
    quantity: int = 1,
    trial_ends_at: datetime | None = None,
    actor: str,
    reason: str,
) -> Subscription:
    """Put a published plan version in force for a customer from `started_at` on (S0-123), first as a trial where one is given.

    The same key with the same content a second time returns the subscription that exists; with
    other content it is a Conflict. Raises InvalidFields naming what cannot be accepted.
    """
    # The customer's row serialises starts, ends and billing of one customer.
    customer = lock_customer(customer_id=customer.pk)
    subscription = Subscription(key=key, customer=customer, started_at=started_at, anchor=anchor)
    phases = _first_phases(subscription, plan_version, quantity=quantity, trial_ends_at=trial_ends_at)
    if (existing := _with_key(key)) is not None:
        return _same_or_conflict(existing, subscription, phases)
    if errors := _mistakes(subscription, phases):
        raise InvalidFields(tuple(errors))
    try:
        with transaction.atomic():
            save_with_reason(subscription, actor=actor, reason=reason)
            for phase in phases:
                phase.subscription = subscription
                save_with_reason(phase, actor=actor, reason=reason)
    except IntegrityError:
        # The key was taken at the same moment, for another customer.
        existing = _with_key(key)
        assert existing is not None, "only the key can be taken"
        return _same_or_conflict(existing, subscription, phases)
    return with_phases(Subscription.objects.all()).get(pk=subscription.pk)


def _first_phases(
    subscription: Subscription, plan_version: PlanVersion, *, quantity: int, trial_ends_at: datetime | None
) -> list[SubscriptionPhase]:
    """Return what a subscription starts with: one active phase, or a trial and what follows it; unsaved."""
    terms = {"subscription": subscription, "plan_version": plan_version, "quantity": quantity}
    started_at = subscription.started_at
    active = SubscriptionPhase(kind=PhaseKind.ACTIVE.value, starts_at=trial_ends_at or started_at, **terms)
    if trial_ends_at is None:
        return [active]
    trial = SubscriptionPhase(kind=PhaseKind.TRIAL.value, starts_at=started_at, ends_at=trial_ends_at, **terms)
    return [trial, active]


def _with_key(key: str) -> Subscription | None:
    if not KEY_PATTERN.fullmatch(key):
        return None
    return with_phases(Subscription.objects.all()).filter(key=key).first()


def _same_or_conflict(existing: Subscription, wanted: Subscription, phases: list[SubscriptionPhase]) -> Subscription:
    """Return the subscription that exists where it began as this one would, whatever became of it later."""

    def beginning(subscription: Subscription, phases: list[SubscriptionPhase]) -> tuple[object, ...]:
        first = phases[0]
        trial_ends_at = first.ends_at if first.kind == PhaseKind.TRIAL.value else None
        terms = (first.plan_version_id, first.quantity, trial_ends_at)
        return subscription.customer_id, subscription.started_at, subscription.anchor, *terms

    if beginning(existing, list(existing.phases.all())) != beginning(wanted, phases):
        raise Conflict(f"subscription {wanted.key} exists already with other terms", field="key")
    return existing


def _mistakes(wanted: Subscription, phases: list[SubscriptionPhase]) -> list[FieldError]:
    """Return what is wrong with a subscription that is not stored yet; its customer is locked."""
    customer, plan_version = wanted.customer, phases[0].plan_version
    errors = []
    if not KEY_PATTERN.fullmatch(wanted.key):
        message = "use 1 to 100 letters, digits and _ . : -, beginning with a letter or digit"
        errors.append(FieldError("key", "invalid", message))
    errors += plan_mistakes(customer=customer, plan_version=plan_version, at=wanted.started_at)
    if not 1 <= phases[0].quantity <= QUANTITY_MAX:
        message = f"must lie between 1 and {QUANTITY_MAX:,}"
        errors.append(FieldError("quantity", "out_of_range", message))
    elif wanted.anchor not in Anchor.values:
        errors.append(FieldError("anchor", "unknown", f"must be one of {', '.join(Anchor.values)}"))
    elif (error := _moment_mistake(wanted.started_at, "started_at")) or (
        error := _trial_mistake(wanted.started_at, phases)
    ):
        errors.append(error)
    elif clash := metered_elsewhere(
        customer=customer, plan_versions=[plan_version.pk], since=wanted.started_at, but_not=None
    ):
        message = f"{clash} charges the same meter from then on: end it before this one begins"
        errors.append(FieldError("plan", "metered_already", message))
    elif until := _invoiced_already(wanted, phases):
        message = f"the customer's invoice for the period up to {until.isoformat()} is issued: start then or later"
        errors.append(FieldError("started_at", "invoiced_already", message))
    return errors


def _moment_mistake(moment: datetime, field: str) -> FieldError | None:
    if moment.utcoffset() is None:
        return FieldError(field, "naive", "has no offset: write 2026-08-01T00:00:00Z")
    if not EARLIEST_YEAR <= moment.year <= LATEST_YEAR:
        return FieldError(field, "out_of_range", f"must lie in the years {EARLIEST_YEAR} to {LATEST_YEAR}")
    return None


def _trial_mistake(started_at: datetime, phases: list[SubscriptionPhase]) -> FieldError | None:
    if len(phases) == 1:
        return None
    ends_at = phases[1].starts_at
    if error := _moment_mistake(ends_at, "trial_ends_at"):
        return error
    if ends_at <= started_at:
        return FieldError("trial_ends_at", "before_start", "must be after the start")
    return None


def _invoiced_already(wanted: Subscription, phases: list[SubscriptionPhase]) -> datetime | None:
    """Return the end of the last issued period in which the subscription would have charges that nobody billed."""
    timeline = Timeline(
        phases=tuple(core_phase(row=row) for row in phases),
        timezone=wanted.customer.timezone,
        is_calendar=wanted.anchor == Anchor.CALENDAR,
    )
    return issued_period_end(customer=wanted.customer, timeline=timeline, at=as_utc(phases[-1].starts_at))
