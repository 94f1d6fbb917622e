"""Commit spend under a subscription, and take that back as long as no invoice knows of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import transaction
from django.db.models import Max, ProtectedError
from moneyed import Money

from billing_site.kernel.errors import Conflict, FieldError, InvalidFields, InvalidInput
from billing_site.kernel.money import is_rounded
from billing_site.kernel.period import Period, as_utc
from invoicing.core.invoice_life import STANDING
from invoicing.core.numbers import LIMIT
from invoicing.core.phases import Timeline, period_at
from invoicing.subscriptions.commitment import Commitment, CommitmentPayment, CommitmentTranche
from invoicing.subscriptions.models import Subscription
from invoicing.subscriptions.phases import check_moment, locked_subscription
from invoicing.subscriptions.timelines import timeline_of

TRANCHES_MAX = 60
PERIODS_MAX = 120
OVERAGE_RATE_MAX = 10


@dataclass(frozen=True)
class TrancheWanted:
    """An amount that is promised for a number of billing periods."""

    periods: int
    amount: Decimal


@transaction.atomic
def commit_spend(
    *,
    subscription: Subscription,
    starts_at: datetime,
    payment: str,
    tranches: Sequence[TrancheWanted],
    rolls_over: bool = False,
    rollover_max: Decimal | None = None,
    overage_rate: Decimal = Decimal(1),
    at: datetime,
    actor: str,
    reason: str,
) -> Commitment:
    """Promise spend from the billing period that holds `starts_at` on, tranche after tranche (S0-066).

    Several tranches are a ramp: one amount a contract year, or a period. The base of one that is paid in advance is due on the
    invoice before it, or on its first where there is none. Raises InvalidFields and InvalidInput at the field that is wrong, Conflict
    (field `starts_at`) inside an issued period or another commitment.
    """
    locked = locked_subscription(subscription=subscription)
    currency = locked.customer.currency
    mistakes = _mistakes(currency, payment, tranches, rolls_over, rollover_max, overage_rate)
    if mistakes:
        raise InvalidFields(tuple(mistakes))
    check_moment(subscription=locked, at=starts_at, field="starts_at")
    timeline = timeline_of(subscription=locked)
    spans = _spans(timeline, as_utc(starts_at), [tranche.periods for tranche in tranches])
    _refuse_clash(locked, spans)
    commitment = Commitment.objects.create(
        subscription=locked,
        payment=payment,
        rolls_over=rolls_over,
        rollover_max=None if rollover_max is None else Money(rollover_max, currency),
        overage_rate=overage_rate,
        currency=currency,
        actor=actor,
        reason=reason,
        created_at=at,
    )
    for position, (span, tranche) in enumerate(zip(spans, tranches, strict=True)):
        CommitmentTranche.objects.create(
            commitment=commitment,
            subscription=locked,
            position=position,
            starts_at=span.start,
            ends_at=span.end,
            currency=currency,
            amount=Money(tranche.amount, currency),
        )
    return commitment


@transaction.atomic
def withdraw_commitment(*, commitment: Commitment) -> None:
    """Take a commitment back of which nothing is invoiced or drafted yet; raises Conflict otherwise."""
    locked_subscription(subscription=commitment.subscription)
    try:
        commitment.delete()
    except ProtectedError as problem:
        raise Conflict(
            "invoices or drafts have lines of it: it stays as it was agreed", code="wrong_state"
        ) from problem


def _mistakes(
    currency: str,
    payment: str,
    tranches: Sequence[TrancheWanted],
    rolls_over: bool,
    rollover_max: Decimal | None,
    overage_rate: Decimal,
) -> list[FieldError]:
    errors = []
    if payment not in CommitmentPayment.values:
        errors.append(FieldError("payment", "unknown", f"must be one of {', '.join(CommitmentPayment.values)}"))
    if not 1 <= len(tranches) <= TRANCHES_MAX:
        errors.append(FieldError("tranches", "out_of_range", f"must be 1 to {TRANCHES_MAX} tranches"))
    for place, tranche in enumerate(tranches):
        if not 1 <= tranche.periods <= PERIODS_MAX:
            message = f"must be 1 to {PERIODS_MAX} billing periods"
            errors.append(FieldError(f"tranches[{place}].periods", "out_of_range", message))
        if message := _amount_mistake(tranche.amount, currency):
            errors.append(FieldError(f"tranches[{place}].amount", "invalid", message))
    if rolls_over and payment != CommitmentPayment.IN_ADVANCE:
        errors.append(FieldError("rolls_over", "not_allowed", "only what was paid in advance rolls over"))
    if rollover_max is not None and not rolls_over:
        errors.append(FieldError("rollover_max", "not_allowed", "nothing rolls over here"))
    elif rollover_max is not None and (message := _amount_mistake(rollover_max, currency)):
        errors.append(FieldError("rollover_max", "invalid", message))
    if not 0 <= overage_rate <= OVERAGE_RATE_MAX:
        errors.append(FieldError("overage_rate", "out_of_range", f"must be 0 to {OVERAGE_RATE_MAX}: 0.8 is 80 %"))
    return errors


def _amount_mistake(amount: Decimal, currency: str) -> str:
    if amount <= 0:
        return "must be above zero"
    if amount >= LIMIT // 10**10:
        return "must have at most 16 digits before the point"
    return "" if is_rounded(Money(amount, currency)) else f"must be whole minor units of {currency}"


def _spans(timeline: Timeline, starts_at: datetime, periods: Sequence[int]) -> list[Period]:
    """Return when the tranches begin and end, counted in the subscription's billing periods."""
    first = period_at(timeline=timeline, moment=starts_at)
    assert first is not None, "the subscription runs then"
    spans: list[Period] = []
    moment = first.start
    for number in periods:
        start = moment
        for _ in range(number):
            # A first calendar period begins before the subscription does.
            running = period_at(timeline=timeline, moment=max(moment, timeline.phases[0].starts_at))
            if running is None:
                raise InvalidInput("reaches beyond the end of the subscription", field="tranches", code="after_end")
            if running.start != moment:
                raise InvalidInput(
                    "the plan changes to other billing periods within it", field="tranches", code="other_periods"
                )
            moment = running.end
        spans.append(Period(start, moment))
    return spans


def _refuse_clash(subscription: Subscription, spans: Sequence[Period]) -> None:
    whole = Period(spans[0].start, spans[-1].end)
    if subscription.tranches.filter(starts_at__lt=whole.end, ends_at__gt=whole.start).exists():
        raise Conflict("another commitment runs then: they do not overlap", field="starts_at", code="overlap")
    lines = subscription.invoice_lines.filter(kind="charge", invoice__status__in=STANDING)
    invoiced = lines.aggregate(until=Max("invoice__period_end"))["until"]
    if invoiced is not None and invoiced > whole.start:
        message = f"is invoiced up to {as_utc(invoiced).isoformat().replace('+00:00', 'Z')}: commit from then on"
        raise Conflict(message, field="starts_at", code="invoiced")
