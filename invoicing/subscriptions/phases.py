"""Change the phases of a subscription from a moment on: what every operation on a running subscription shares."""

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime

from django.db.models import Max, Q

from billing_site.kernel.errors import Conflict, FieldError, InvalidInput
from billing_site.kernel.history import save_with_reason
from billing_site.kernel.period import Period, as_utc
from invoicing.catalog.models import PlanVersion, Price
from invoicing.core.add_ons import following
from invoicing.core.phases import Phase, Timeline, changed_from, period_at
from invoicing.customers.models import Customer
from invoicing.customers.operations import lock_customer
from invoicing.subscriptions.metered_at_stripe import refuse_settled_twice, reportings_of
from invoicing.subscriptions.models import Subscription, SubscriptionPhase
from invoicing.subscriptions.snapshot import with_phases
from invoicing.subscriptions.timelines import timeline_of

# A slip of the finger (0206, 20260) would make thousands of periods due, or none that can be computed.
EARLIEST_YEAR, LATEST_YEAR = 2000, 2099


def locked_subscription(*, subscription: Subscription) -> Subscription:
    """Return the subscription as it is now, locked, with its phases.

    The customer first: a billing run that computes this customer must not see a change halfway.
    """
    lock_customer(customer_id=subscription.customer_id)
    Subscription.objects.select_for_update().get(pk=subscription.pk)
    return with_phases(Subscription.objects.all()).get(pk=subscription.pk)


def check_moment(*, subscription: Subscription, at: datetime, field: str = "at") -> None:
    """Refuse a moment at which nothing of the subscription can change, naming the field."""
    check_within(since=subscription.started_at, at=at, field=field)
    if subscription.ended_at is not None and at >= subscription.ended_at:
        message = f"must be before the end, {_text(subscription.ended_at)}"
        raise InvalidInput(message, field=field, code="after_end")


def check_within(*, since: datetime, at: datetime, field: str = "at") -> None:
    """Refuse a moment without offset, far out, or before the start, naming the field."""
    if at.utcoffset() is None:
        raise InvalidInput("has no offset: write 2026-08-01T00:00:00Z", field=field, code="naive")
    if not EARLIEST_YEAR <= at.year <= LATEST_YEAR:
        message = f"must lie in the years {EARLIEST_YEAR} to {LATEST_YEAR}"
        raise InvalidInput(message, field=field, code="out_of_range")
    if at < since:
        message = f"must not be before the start, {_text(since)}"
        raise InvalidInput(message, field=field, code="before_start")


def change_phases(
    *, subscription: Subscription, at: datetime, change: Callable[[Phase], Phase], actor: str, reason: str
) -> Subscription:
    """Apply a change to everything from `at` on; returns the subscription with its phases as they are then.

    The subscription is locked. Raises InvalidInput (field `at`) before the start or after the end, Conflict inside
    an issued period.
    """
    check_moment(subscription=subscription, at=at)
    timeline = timeline_of(subscription=subscription)
    phases = changed_from(phases=timeline.phases, at=as_utc(at), change=change)
    return write_phases(subscription=subscription, at=at, phases=phases, actor=actor, reason=reason)


def write_phases(
    *,
    subscription: Subscription,
    at: datetime,
    phases: tuple[Phase, ...],
    actor: str,
    reason: str,
    field: str = "at",
) -> Subscription:
    """Put these phases in place of the subscription's; they differ from `at` on. The subscription ends with the last.

    What is added to it follows: an add-on is in its trial, charged or paused as it is, and ends with it. Raises Conflict,
    naming the field, where something from `at` on is invoiced, or an add-on begins only after the new end.
    """
    before = timeline_of(subscription=subscription)
    after = replace(before, phases=phases)
    if before == after:
        return subscription
    _refuse_invoiced(subscription, (before, after), at=as_utc(at), field=field)
    wanted = {phase.starts_at: phase for phase in phases}
    rows = {as_utc(row.starts_at): row for row in subscription.phases.all()}
    # What goes makes room first; what stays is only ever cut or lengthened into that room.
    for starts_at in rows.keys() - wanted.keys():
        rows[starts_at]._change_reason = f"{actor}: {reason}"  # type: ignore[attr-defined]
        rows[starts_at].delete()
    reportings = reportings_of(customer_id=subscription.customer_id)
    for starts_at in sorted(wanted):
        phase, row = wanted[starts_at], rows.get(starts_at)
        if row is None:
            row = SubscriptionPhase(subscription=subscription, starts_at=starts_at)
        elif _says_the_same(row, phase):
            continue
        row.plan_version_id, row.kind, row.quantity = phase.plan, phase.kind.value, phase.quantity
        row.ends_at = phase.ends_at
        refuse_settled_twice(reportings=reportings, phases=[row], field=field)
        save_with_reason(row, actor=actor, reason=reason)
    if subscription.ended_at != phases[-1].ends_at:
        subscription.ended_at = phases[-1].ends_at
        save_with_reason(subscription, actor=actor, reason=reason)
    written = with_phases(Subscription.objects.all()).get(pk=subscription.pk)
    for add_on in with_phases(written.add_ons.all()).order_by("pk"):
        followed = following(phases=timeline_of(subscription=add_on).phases, parent=phases)
        if not followed:
            message = (
                f"{add_on.key}, which is added to it, begins only at {_text(add_on.started_at)}: end it then or later"
            )
            raise Conflict(message, field=field, code="add_on_begins_later")
        write_phases(subscription=add_on, at=at, phases=followed, actor=actor, reason=reason, field=field)
    return written


def refuse_add_on(*, subscription: Subscription) -> None:
    """Refuse what an add-on does not do by itself: being tried or paused."""
    if subscription.parent is not None:
        message = f"{subscription.key} follows {subscription.parent.key}, which it is added to: change that one"
        raise InvalidInput(message, field="at", code="follows_parent")


def add_on_mistakes(*, plan_version: PlanVersion, parent: PlanVersion | None) -> list[FieldError]:
    """Return why a plan version cannot be added to another, or stand by itself where `parent` is None; at the field `plan`."""
    sold_with = list(plan_version.plan.add_on_to.order_by("name"))
    if parent is None:
        if not sold_with:
            return []
        names = ", ".join(plan.name for plan in sold_with)
        message = (
            f"{plan_version.plan.name} is sold only together with {names}: name the subscription that it is added to"
        )
        return [FieldError("plan", "needs_parent", message)]
    if parent.plan not in sold_with:
        return [
            FieldError("plan", "not_added", f"{plan_version.plan.name} is not sold together with {parent.plan.name}")
        ]
    if plan_version.cadence != parent.cadence:
        message = f"{plan_version} is billed by {plan_version.cadence}, {parent} by {parent.cadence}: an add-on has the same periods"
        return [FieldError("plan", "other_periods", message)]
    return []


def _says_the_same(row: SubscriptionPhase, phase: Phase) -> bool:
    stored = (row.starts_at, row.ends_at, row.plan_version_id, row.kind, row.quantity)
    return stored == (phase.starts_at, phase.ends_at, phase.plan, phase.kind.value, phase.quantity)


def invoiced_until(*, subscription: Subscription) -> datetime | None:
    """Return the end of what issued invoices charge for a subscription, or None.

    What they take in advance may still change; a discount and a commitment are on the whole period of an invoice.
    """
    lines = subscription.invoice_lines.filter(kind="charge").exclude(invoice__status__in=("draft", "void"))
    until: datetime | None = lines.aggregate(until=Max("service_end"))["until"]
    return until


def issued_period_end(*, customer: Customer, timeline: Timeline, at: datetime) -> datetime | None:
    """Return the end of the last issued invoice whose period bills something of this timeline from `at` on, or None."""
    # Those of who is billed for it.
    issued = customer.payer.invoices.exclude(status__in=("draft", "void")).filter(kind="period", period_end__gt=at)
    for start, end in issued.order_by("-period_end").values_list("period_start", "period_end"):
        first = max(as_utc(start), at, timeline.phases[0].starts_at)
        if period_at(timeline=timeline, moment=first) == Period(as_utc(start), as_utc(end)):
            return as_utc(end)
    return None


def metered_elsewhere(
    *,
    customer: Customer,
    plan_versions: Collection[int],
    since: datetime,
    until: datetime | None = None,
    but_not: int | None = None,
) -> Subscription | None:
    """Return another subscription that charges a meter of these versions in [since, until): each event is rated once."""
    then = Q(phases__ends_at__isnull=True) | Q(phases__ends_at__gt=since)
    if until is not None:
        then &= Q(phases__starts_at__lt=until)
    prices = Price.objects.filter(plan_version__in=plan_versions, currency=customer.currency, meter__isnull=False)
    meters = Q(
        phases__plan_version__prices__currency=customer.currency,
        phases__plan_version__prices__meter__in=prices.values("meter"),
    )
    others = customer.subscriptions.all() if but_not is None else customer.subscriptions.exclude(pk=but_not)
    return others.filter(then & meters).first()


def plan_mistakes(*, customer: Customer, plan_version: PlanVersion, at: datetime) -> list[FieldError]:
    """Return why a version cannot be put in force for a customer from `at` on, at the field `plan`.

    A version that is no longer sold can: who names it grants it. One that is not sold yet cannot, nor one that never was.
    """
    errors = []
    if plan_version.published_at is None:
        errors.append(FieldError("plan", "not_published", "is a draft: publish it first"))
    elif plan_version.is_never_sold:
        errors.append(FieldError("plan", "never_sold", f"{plan_version} was replaced before it was sold"))
    elif plan_version.effective_from is not None and at.utcoffset() is not None and at < plan_version.effective_from:
        message = f"{plan_version} is sold from {_text(plan_version.effective_from)} on"
        errors.append(FieldError("plan", "not_sold_yet", message))
    if not plan_version.prices.filter(currency=customer.currency).exists():
        message = f"{plan_version} has no price in {customer.currency}, the customer's currency"
        errors.append(FieldError("plan", "no_price", message))
    return errors


def _refuse_invoiced(
    subscription: Subscription, timelines: tuple[Timeline, Timeline], *, at: datetime, field: str
) -> None:
    charged = invoiced_until(subscription=subscription)
    ends = [issued_period_end(customer=subscription.customer, timeline=timeline, at=at) for timeline in timelines]
    if charged is not None and charged > at:
        ends.append(charged)
    if until := max((end for end in ends if end is not None), default=None):
        message = f"subscription {subscription.key} is invoiced until {_text(until)}: change it from then on"
        raise Conflict(message, field=field, code="invoiced_already")


def _text(moment: datetime) -> str:
    return as_utc(moment).isoformat().replace("+00:00", "Z")
