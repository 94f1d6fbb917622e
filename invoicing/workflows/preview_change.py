"""What a change of a subscription would do to the invoices of the running and the next periods; or doing it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from moneyed import Money

from billing_site.kernel.digest import digest_of
from billing_site.kernel.errors import Conflict
from billing_site.kernel.money import total
from billing_site.kernel.period import Period, as_utc
from invoicing.core.assembly import AssembledInvoice
from invoicing.core.phases import Phase, Timeline, period_at
from invoicing.core.proof import period_document
from invoicing.customers.models import Customer
from invoicing.invoices.models import InvoiceStatus
from invoicing.subscriptions.change import Change, apply_change
from invoicing.subscriptions.models import Subscription
from invoicing.subscriptions.phases import locked_subscription
from invoicing.subscriptions.snapshot import opening_periods_of, with_phases
from invoicing.subscriptions.timelines import timeline_of
from invoicing.workflows.invoices_to_come import billing_order, invoices_of
from invoicing.workflows.line_effects import LineEffect, line_effects
from metering.rollup import roll_up

# A change that is dated back or planned far ahead shows so many periods from its beginning on.
PERIODS_MAX = 14


@dataclass(frozen=True)
class PeriodEffect:
    """The customer's invoice of one period as it would be without and with the change, with the usage known now."""

    period: Period
    before: AssembledInvoice
    after: AssembledInvoice

    @property
    def difference(self) -> Money:
        """How much more the customer would owe; negative where it is less."""
        return self.after.total - self.before.total

    @property
    def lines(self) -> tuple[LineEffect, ...]:
        """Each line with what it was and what it would be."""
        return line_effects(before=self.before.document_lines, after=self.after.document_lines)


@dataclass(frozen=True)
class ChangePreview:
    """What a change does: the phases as they would be, and the periods that it touches or that come next."""

    change: Change
    before: Timeline
    after: Timeline
    periods: tuple[PeriodEffect, ...]

    @property
    def difference(self) -> Money:
        """Return the sum over the periods shown."""
        currency = self.periods[0].before.currency if self.periods else ""
        return total((effect.difference for effect in self.periods), currency)

    @property
    def changes_nothing(self) -> bool:
        """Say whether all is so already, as far as the phases tell; an own price may be new though nothing was used yet."""
        return self.before == self.after and self.change.own_price is None

    @property
    def digest(self) -> str:
        """A digest of what was shown: a change made by it is the change that somebody saw."""
        own = self.change.own_price
        return digest_of(
            {
                "kind": self.change.kind.value,
                **({} if own is None else {"own_price": own.document(), "at": as_utc(self.change.at).isoformat()}),
                "before": [phase_document(phase) for phase in self.before.phases],
                "after": [phase_document(phase) for phase in self.after.phases],
                "periods": [
                    {
                        "period": period_document(period=effect.period),
                        "before": effect.before.digest,
                        "after": effect.after.digest,
                    }
                    for effect in self.periods
                ],
            }
        )


def phase_document(phase: Phase) -> dict[str, Any]:
    """Return a phase as a canonical document."""
    return {
        "starts_at": phase.starts_at.isoformat(),
        "ends_at": phase.ends_at.isoformat() if phase.ends_at else None,
        "plan": phase.plan,
        "kind": phase.kind.value,
        "quantity": phase.quantity,
    }


def preview_change(*, subscription: Subscription, change: Change, at: datetime) -> ChangePreview:
    """Make a change, compute what follows from it with the usage before `at`, and take it back (S1-042).

    Raises what the change itself would raise.
    """
    roll_up()
    with transaction.atomic():
        preview = _changed(subscription, change, at=at, actor="preview", reason="preview")
        transaction.set_rollback(True)
    return preview


def make_change(
    *, subscription: Subscription, change: Change, at: datetime, digest: str = "", actor: str, reason: str
) -> ChangePreview:
    """Make a change for good and return what it did.

    `digest` is that of a preview: raises Conflict (code `outdated`) where it would do something else by now.
    """
    roll_up()
    with transaction.atomic():
        done = _changed(subscription, change, at=at, actor=actor, reason=reason)
        if digest and done.digest != digest:
            raise Conflict("it would do something else by now: look at the preview again", code="outdated")
    return done


def _changed(subscription: Subscription, change: Change, *, at: datetime, actor: str, reason: str) -> ChangePreview:
    locked = locked_subscription(subscription=subscription)
    customer, before = locked.customer.payer, timeline_of(subscription=locked)
    touched = {*_periods(locked, before, change, at=at)}
    # Made once and taken back, to know which periods it touches; then they are computed without it and with it.
    with transaction.atomic():
        after = _applied(locked, change, actor=actor, reason=reason)
        touched |= {*_periods(locked, after, change, at=at)}
        transaction.set_rollback(True)
    periods = [period for period in sorted(touched, key=billing_order) if not _is_issued(customer, period)]
    without = invoices_of(customer=customer, periods=periods, at=at)
    assert _applied(locked, change, actor=actor, reason=reason) == after, "the same change does the same"
    return ChangePreview(
        change=change,
        before=before,
        after=after,
        periods=tuple(
            PeriodEffect(period, old, new)
            for period, old, new in zip(
                periods, without, invoices_of(customer=customer, periods=periods, at=at), strict=True
            )
        ),
    )


def _applied(subscription: Subscription, change: Change, *, actor: str, reason: str) -> Timeline:
    apply_change(subscription=subscription, change=change, actor=actor, reason=reason)
    return timeline_of(subscription=with_phases(Subscription.objects.all()).get(pk=subscription.pk))


def _periods(subscription: Subscription, timeline: Timeline, change: Change, *, at: datetime) -> Iterator[Period]:
    """Yield the periods from the change, or the running one, to the one after both, and those of opening invoices until then."""
    last: Period | None = None
    for last in _running_and_next(timeline, change, at=at):
        yield last
    if last is not None:
        yield from opening_periods_of(subscription=subscription, until=last.end)


def _running_and_next(timeline: Timeline, change: Change, *, at: datetime) -> Iterator[Period]:
    moments = sorted((as_utc(at), as_utc(change.at)))
    moment = max(moments[0], timeline.phases[0].starts_at)
    for _ in range(PERIODS_MAX):
        period = period_at(timeline=timeline, moment=moment)
        if period is None:
            return
        yield period
        if period.start > moments[1]:
            return
        moment = period.end


def _is_issued(customer: Customer, period: Period) -> bool:
    issued = customer.invoices.exclude(status__in=(InvoiceStatus.DRAFT, InvoiceStatus.VOID))
    return issued.filter(period_start=period.start, period_end=period.end).exists()
