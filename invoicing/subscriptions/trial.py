"""Move the end of a trial: extend it, or end it early."""

from dataclasses import replace
from datetime import datetime

from django.db import transaction

from billing_site.kernel.errors import InvalidInput
from billing_site.kernel.period import as_utc
from invoicing.core.phases import Phase, PhaseKind, changed_from
from invoicing.subscriptions.models import Subscription
from invoicing.subscriptions.phases import check_moment, locked_subscription, refuse_add_on, write_phases
from invoicing.subscriptions.timelines import timeline_of


@transaction.atomic
def move_trial_end(*, subscription: Subscription, at: datetime, actor: str, reason: str) -> Subscription:
    """Let the trial end at another moment, later or earlier; from then on the subscription is charged (S1-040).

    Raises InvalidInput where there is no trial or the moment is outside of the subscription, Conflict where the time in between is
    invoiced; both at `at`.
    """
    locked = locked_subscription(subscription=subscription)
    refuse_add_on(subscription=locked)
    check_moment(subscription=locked, at=at)
    phases = timeline_of(subscription=locked).phases
    ends = [phase.ends_at for phase in phases if phase.kind is PhaseKind.TRIAL]
    if not ends:
        raise InvalidInput("the subscription has no trial", field="at", code="wrong_state")
    ends_at, at = ends[-1], as_utc(at)
    assert ends_at is not None, "no trial is open: it would be free service by accident"

    before, after = (PhaseKind.ACTIVE, PhaseKind.TRIAL) if at > ends_at else (PhaseKind.TRIAL, PhaseKind.ACTIVE)

    def turned(phase: Phase) -> Phase:
        return replace(phase, kind=after) if phase.kind is before else phase

    first, last = sorted((ends_at, at))
    return write_phases(
        subscription=locked,
        at=first,
        phases=changed_from(phases=phases, at=first, until=last, change=turned),
        actor=actor,
        reason=reason,
    )
