"""Start a subscription."""

from dataclasses import replace
from datetime import datetime

from django.conf import settings
from django.db import IntegrityError, transaction

from billing_site.kernel.errors import Conflict, FieldError, InvalidFields
from billing_site.kernel.history import save_with_reason
from billing_site.kernel.period import as_utc
from invoicing.catalog.models import PlanVersion
from invoicing.core.add_ons import following
from invoicing.core.phases import PhaseKind, Timeline, counted_from
from invoicing.customers.models import Customer, SettlementChannel
from invoicing.customers.operations import KEY_PATTERN, lock_customer
from invoicing.subscriptions.amend import QUANTITY_MAX
from invoicing.subscriptions.metered_at_stripe import refuse_settled_twice, reportings_of
from invoicing.subscriptions.models import Anchor, Subscription, SubscriptionPhase
from invoicing.subscriptions.phases import (
    EARLIEST_YEAR,
    LATEST_YEAR,
    add_on_mistakes,
    issued_period_end,
    metered_elsewhere,
    plan_mistakes,
)
from invoicing.subscriptions.snapshot import with_phases
from invoicing.subscriptions.timelines import core_phase, timeline_of


@transaction.atomic
def start_subscription(
    *,
    key: str,
    customer: Customer,
    plan_version: PlanVersion,
    started_at: datetime,
    anchor: str = "",
    quantity: int = 1,
    trial_ends_at: datetime | None = None,
    parent: Subscription | None = None,
    actor: str,
    reason: str,
) -> Subscription:
    """Put a published plan version in force for a customer from `started_at` on (S0-123), first as a trial where one is given.

    With a `parent` it is an add-on: it follows that one's periods (so `anchor` is its), trial and pauses, and ends with it.

    The same key with the same content a second time returns the subscription that exists; with
    other content it is a Conflict, and so (code `payment_method_missing`) is one without a card where STRIPE_CARD_FIRST asks for it. Raises
    InvalidFields naming what cannot be accepted.
    """
    # The customer's row serialises starts, ends and billing of one customer.
    customer = lock_customer(customer_id=customer.pk)
    if parent is not None:
        parent = with_phases(Subscription.objects.all()).get(pk=parent.pk)
    anchor = anchor or (parent.anchor if parent is not None else Anchor.CALENDAR.value)
    subscription = Subscription(key=key, customer=customer, started_at=started_at, anchor=anchor, parent=parent)
    phases = _first_phases(subscription, plan_version, quantity=quantity, trial_ends_at=trial_ends_at)
    if (existing := _with_key(key)) is not None:
        return _same_or_conflict(existing, subscription, phases)
    if errors := _mistakes(subscription, phases):
        raise InvalidFields(tuple(errors))
    refuse_settled_twice(reportings=reportings_of(customer_id=customer.pk), phases=phases, field="plan")
    _refuse_without_card(customer.payer)
    try:
        with transaction.atomic():
            if parent is not None:
                phases = _phases_with(parent, phases[0])
                subscription.ended_at = phases[-1].ends_at
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


def _refuse_without_card(payer: Customer) -> None:
    """Refuse who will be charged through Stripe and cannot be, where the house asks for a card first (S1-042)."""
    pays_by_card = payer.settlement_channel == SettlementChannel.STRIPE
    if settings.STRIPE_CARD_FIRST and pays_by_card and not payer.payment_method:
        message = (
            f"{payer.key} has no payment method yet: it leaves a card in the portal first, or gets one over the API"
        )
        raise Conflict(message, field="customer", code="payment_method_missing")


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


def _phases_with(parent: Subscription, first: SubscriptionPhase) -> list[SubscriptionPhase]:
    """Return the phases of an add-on as they follow its parent's; unsaved."""
    own = replace(core_phase(row=first), ends_at=None)
    followed = following(phases=[own], parent=timeline_of(subscription=parent).phases)
    return [
        SubscriptionPhase(
            subscription=first.subscription,
            plan_version=first.plan_version,
            quantity=first.quantity,
            kind=phase.kind.value,
            starts_at=phase.starts_at,
            ends_at=phase.ends_at,
        )
        for phase in followed
    ]


def _with_key(key: str) -> Subscription | None:
    if not KEY_PATTERN.fullmatch(key):
        return None
    return with_phases(Subscription.objects.all()).filter(key=key).first()


def _same_or_conflict(existing: Subscription, wanted: Subscription, phases: list[SubscriptionPhase]) -> Subscription:
    """Return the subscription that exists where it began as this one would, whatever became of it later."""

    def beginning(subscription: Subscription, phases: list[SubscriptionPhase]) -> tuple[object, ...]:
        first = phases[0]
        trial_ends_at = first.ends_at if first.kind == PhaseKind.TRIAL.value else None
        terms = (first.plan_version_id, first.quantity, trial_ends_at if subscription.parent_id is None else None)
        return subscription.customer_id, subscription.started_at, subscription.anchor, subscription.parent_id, *terms

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
    if parent_error := _parent_mistake(wanted, phases):
        errors.append(parent_error)
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


def _parent_mistake(wanted: Subscription, phases: list[SubscriptionPhase]) -> FieldError | None:
    """Return why a subscription cannot be added to its parent, or needs one."""
    parent, version = wanted.parent, phases[0].plan_version
    if parent is None:
        return next(iter(add_on_mistakes(plan_version=version, parent=None)), None)
    if parent.customer_id != wanted.customer_id:
        return FieldError("parent", "other_customer", f"{parent.key} is another customer's")
    if parent.parent_id is not None:
        return FieldError("parent", "nested", f"{parent.key} is an add-on itself")
    if wanted.anchor != parent.anchor:
        return FieldError("anchor", "other_periods", f"must be that of {parent.key}, {parent.anchor}: leave it out")
    if len(phases) > 1:
        return FieldError("trial_ends_at", "follows_parent", f"does not belong to an add-on: it follows {parent.key}")
    start = wanted.started_at
    if start.utcoffset() is None:
        return None
    if start < parent.started_at or (parent.ended_at is not None and start >= parent.ended_at):
        return FieldError("started_at", "outside_parent", f"must lie within {parent.key}, which it is added to")
    over = [row for row in parent.phases.all() if row.ends_at is None or row.ends_at > start]
    mistakes = [one for row in over for one in add_on_mistakes(plan_version=version, parent=row.plan_version)]
    return next(iter(mistakes), None)


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
    parent = None if wanted.parent is None else timeline_of(subscription=wanted.parent)
    timeline = Timeline(
        phases=tuple(core_phase(row=row) for row in phases),
        timezone=wanted.customer.timezone,
        is_calendar=wanted.anchor == Anchor.CALENDAR,
        counted_from=None if parent is None else counted_from(timeline=parent, moment=as_utc(wanted.started_at)),
    )
    return issued_period_end(customer=wanted.customer, timeline=timeline, at=as_utc(phases[-1].starts_at))
