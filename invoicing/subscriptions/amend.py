"""Change what a running subscription is about: its plan version, or how many seats it holds."""

from dataclasses import replace
from datetime import datetime

from django.db import transaction
from django.db.models import Q

from billing_site.kernel.errors import FieldError, InvalidFields, InvalidInput
from billing_site.kernel.period import as_utc
from invoicing.catalog.models import PlanVersion
from invoicing.core.contract import Cadence
from invoicing.core.phases import Proration, phase_at
from invoicing.subscriptions.models import Subscription, SubscriptionPhase
from invoicing.subscriptions.phases import (
    add_on_mistakes,
    change_phases,
    check_moment,
    locked_subscription,
    metered_elsewhere,
    plan_mistakes,
)
from invoicing.subscriptions.timelines import timeline_of

QUANTITY_MAX = 1_000_000


@transaction.atomic
def change_plan(
    *, subscription: Subscription, plan_version: PlanVersion, at: datetime, actor: str, reason: str
) -> Subscription:
    """Put another plan version in force from `at` on; the billing period is split there (S0-104).

    Replaces plan changes that were planned for later. The same change a second time changes nothing. Raises
    InvalidFields where the plan cannot be put in force, InvalidInput or Conflict where `at` cannot be accepted.
    """
    locked = locked_subscription(subscription=subscription)
    check_moment(subscription=locked, at=at)
    errors = plan_mistakes(customer=locked.customer, plan_version=plan_version, at=at)
    errors += _added_mistakes(locked, plan_version, at=at)
    clash = metered_elsewhere(
        customer=locked.customer,
        plan_versions=[plan_version.pk],
        since=at,
        until=locked.ended_at,
        but_not=locked.pk,
    )
    if clash is not None:
        message = f"{clash} charges the same meter from then on: end it before this plan begins"
        errors.append(FieldError("plan", "metered_already", message))
    running = phase_at(phases=timeline_of(subscription=locked).phases, moment=as_utc(at))
    if running is not None and running.cadence != plan_version.cadence and locked.tranches.filter(ends_at__gt=at):
        message = f"is billed by other periods ({plan_version.cadence}) than its commitment is counted in"
        errors.append(FieldError("plan", "committed", message))
    if errors:
        raise InvalidFields(tuple(errors))
    return change_phases(
        subscription=locked,
        at=at,
        change=lambda phase: replace(
            phase,
            plan=plan_version.pk,
            cadence=Cadence(plan_version.cadence),
            proration=Proration(plan_version.proration),
        ),
        actor=actor,
        reason=reason,
    )


@transaction.atomic
def change_quantity(
    *, subscription: Subscription, quantity: int, at: datetime, actor: str, reason: str
) -> Subscription:
    """Let flat fees count `quantity` times from `at` on: seats. Usage and its tiers go on as they are.

    Raises InvalidInput (quantity, at) or Conflict (at).
    """
    if not 1 <= quantity <= QUANTITY_MAX:
        raise InvalidInput(f"must lie between 1 and {QUANTITY_MAX:,}", field="quantity", code="out_of_range")
    return change_phases(
        subscription=locked_subscription(subscription=subscription),
        at=at,
        change=lambda phase: replace(phase, quantity=quantity),
        actor=actor,
        reason=reason,
    )


def _added_mistakes(subscription: Subscription, plan_version: PlanVersion, *, at: datetime) -> list[FieldError]:
    """Return why a plan is not compatible with what the subscription is added to from `at` on, or what is added to it."""
    parent = subscription.parent
    if parent is not None:
        over = [row for row in parent.phases.all() if row.ends_at is None or row.ends_at > at]
        return [
            mistake for row in over for mistake in add_on_mistakes(plan_version=plan_version, parent=row.plan_version)
        ][:1]
    errors = add_on_mistakes(plan_version=plan_version, parent=None)
    added = SubscriptionPhase.objects.filter(
        Q(ends_at__isnull=True) | Q(ends_at__gt=at), subscription__parent=subscription
    )
    for row in added.select_related("plan_version__plan", "subscription"):
        for mistake in add_on_mistakes(plan_version=row.plan_version, parent=plan_version):
            errors.append(FieldError("plan", mistake.code, f"{row.subscription.key} is added: {mistake.message}"))
    return errors
