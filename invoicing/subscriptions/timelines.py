"""The phases of a subscription as the core sees them."""

from billing_site.kernel.period import as_utc
from invoicing.core import phases as core
from invoicing.core.contract import Cadence
from invoicing.subscriptions.models import Anchor, Subscription, SubscriptionPhase


def timeline_of(*, subscription: Subscription) -> core.Timeline:
    """Return the phases of a subscription as the core sees them; `with_phases` reads them beforehand."""
    rows = sorted(subscription.known_phases(), key=lambda row: row.starts_at)
    phases, parent = tuple(core_phase(row=row) for row in rows), subscription.parent
    return core.Timeline(
        phases=phases,
        timezone=subscription.customer.timezone,
        is_calendar=subscription.anchor == Anchor.CALENDAR,
        counted_from=None
        if parent is None
        else core.counted_from(timeline=timeline_of(subscription=parent), moment=phases[0].starts_at),
    )


def core_phase(*, row: SubscriptionPhase) -> core.Phase:
    """Return a phase as the core sees it."""
    return core.Phase(
        starts_at=as_utc(row.starts_at),
        ends_at=None if row.ends_at is None else as_utc(row.ends_at),
        plan=row.plan_version_id,
        cadence=Cadence(row.plan_version.cadence),
        proration=core.Proration(row.plan_version.proration),
        kind=core.PhaseKind(row.kind),
        quantity=row.quantity,
    )
