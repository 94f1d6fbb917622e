"""End a subscription, and take its end back."""

from dataclasses import replace
from datetime import datetime

from django.db import transaction

from billing_site.kernel.errors import Conflict, InvalidInput
from billing_site.kernel.period import as_utc
from invoicing.core.phases import PhaseKind, joined
from invoicing.subscriptions.models import Subscription
from invoicing.subscriptions.phases import (
    check_moment,
    check_within,
    locked_subscription,
    metered_elsewhere,
    refuse_add_on,
    write_phases,
)
from invoicing.subscriptions.timelines import timeline_of


@transaction.atomic
def end_subscription(
    *, subscription: Subscription, ended_at: datetime, field: str = "ended_at", actor: str, reason: str
) -> Subscription:
    """Let a subscription end at `ended_at`; its last period is billed up to then (S0-130).

    An add-on can end before its parent does. Raises, at `field`, InvalidInput if that is not after its start, Conflict if it has
    another end already or is invoiced beyond this one: giving back what is invoiced takes a credit note.
    """
    locked = locked_subscription(subscription=subscription)
    if locked.ended_at is not None and locked.ended_at == ended_at:
        return locked
    is_cut_by_parent = locked.parent_id is not None and ended_at.utcoffset() is not None
    if locked.ended_at is not None and not (is_cut_by_parent and ended_at < locked.ended_at):
        raise Conflict(f"subscription {locked.key} ends at {locked.ended_at.isoformat()} already", field=field)
    if ended_at.utcoffset() is not None and ended_at <= locked.started_at:
        raise InvalidInput(f"must be after the start, {locked.started_at.isoformat()}", field=field)
    check_moment(subscription=locked, at=ended_at, field=field)
    ended_at = as_utc(ended_at)
    phases = [
        replace(phase, ends_at=min(phase.ends_at or ended_at, ended_at))
        for phase in timeline_of(subscription=locked).phases
        if phase.starts_at < ended_at
    ]
    return write_phases(subscription=locked, at=ended_at, phases=tuple(phases), actor=actor, reason=reason, field=field)


@transaction.atomic
def reactivate_subscription(*, subscription: Subscription, at: datetime, actor: str, reason: str) -> Subscription:
    """Take the end of a subscription back: it goes on as it was until further notice.

    Where it has ended before `at`, the time in between counts as paused and it is charged from `at` on; a trial that
    was cut by the end is not longer for it. An add-on is started anew instead. Raises InvalidInput or Conflict at `at`.
    """
    locked = locked_subscription(subscription=subscription)
    refuse_add_on(subscription=locked)
    if locked.ended_at is None:
        raise InvalidInput("the subscription has no end to take back", field="at", code="wrong_state")
    ended_at = as_utc(locked.ended_at)
    check_within(since=locked.started_at, at=at)
    at = max(as_utc(at), ended_at)
    phases = timeline_of(subscription=locked).phases
    versions = [phases[-1].plan]
    clash = metered_elsewhere(customer=locked.customer, plan_versions=versions, since=ended_at, but_not=locked.pk)
    if clash is not None:
        message = f"{clash} charges the same meter since: end it before"
        raise Conflict(message, field="at", code="metered_already")
    further = replace(phases[-1], starts_at=at, ends_at=None)
    if further.kind is PhaseKind.TRIAL:
        further = replace(further, kind=PhaseKind.ACTIVE)
    if at > ended_at:
        gap = replace(further, kind=PhaseKind.PAUSED, starts_at=ended_at, ends_at=at)
        phases = (*phases, gap, replace(further, kind=PhaseKind.ACTIVE))
    else:
        phases = (*phases, further)
    return write_phases(subscription=locked, at=at, phases=joined(phases), actor=actor, reason=reason)
