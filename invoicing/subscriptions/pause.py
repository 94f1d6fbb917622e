"""Pause a subscription and resume it: a paused phase is not charged, and what is used in it is listed."""

from dataclasses import replace
from datetime import datetime

from django.db import transaction

from billing_site.kernel.errors import InvalidInput
from billing_site.kernel.period import as_utc
from invoicing.core.phases import PhaseKind, phase_at
from invoicing.subscriptions.models import Subscription
from invoicing.subscriptions.phases import change_phases, check_moment, locked_subscription, refuse_add_on
from invoicing.subscriptions.timelines import timeline_of


@transaction.atomic
def pause_subscription(*, subscription: Subscription, at: datetime, actor: str, reason: str) -> Subscription:
    """Charge nothing from `at` on until it is resumed. Raises InvalidInput or Conflict at `at`: a trial is not paused."""
    return _turn(subscription, at, PhaseKind.ACTIVE, PhaseKind.PAUSED, actor=actor, reason=reason)


@transaction.atomic
def resume_subscription(*, subscription: Subscription, at: datetime, actor: str, reason: str) -> Subscription:
    """Charge a paused subscription again from `at` on. Raises InvalidInput where it is not paused then, Conflict at `at`."""
    return _turn(subscription, at, PhaseKind.PAUSED, PhaseKind.ACTIVE, actor=actor, reason=reason)


def _turn(
    subscription: Subscription, at: datetime, before: PhaseKind, after: PhaseKind, *, actor: str, reason: str
) -> Subscription:
    locked = locked_subscription(subscription=subscription)
    refuse_add_on(subscription=locked)
    check_moment(subscription=locked, at=at)
    phase = phase_at(phases=timeline_of(subscription=locked).phases, moment=as_utc(at))
    assert phase is not None, "a moment within the subscription is in one of its phases"
    if phase.kind is after:
        return locked
    if phase.kind is not before:
        message = f"the subscription is {_state(phase.kind)} then, not {_state(before)}"
        raise InvalidInput(message, field="at", code="wrong_state")
    return change_phases(
        subscription=locked,
        at=at,
        change=lambda phase: replace(phase, kind=after) if phase.kind is before else phase,
        actor=actor,
        reason=reason,
    )


def _state(kind: PhaseKind) -> str:
    return "in its trial" if kind is PhaseKind.TRIAL else kind.value
