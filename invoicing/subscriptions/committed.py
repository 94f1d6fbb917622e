"""What is left of commitments, and what they have to do with the invoice of a billing period."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from billing_site.kernel.money import EXACT
from billing_site.kernel.period import Period, as_utc
from invoicing.core.adjustments.commitment import (
    CommitmentBase,
    CommitmentDrawdown,
    CommitmentExpiry,
    CommitmentOverage,
    CommitmentTerm,
    CommitmentTrueUp,
    amount_of_step,
)
from invoicing.core.contract import AdjustmentKind, StepKind
from invoicing.subscriptions.commitment import CommitmentPayment, CommitmentTranche
from invoicing.subscriptions.models import Subscription

# Rows of `invoices`, the slice above this one, reached by their relation.
InvoiceLine = Any
NOTHING = Decimal(0)
LIST_PRICE = Decimal(1)
SPEND_KINDS = ("", AdjustmentKind.MINIMUM_SPEND.value, AdjustmentKind.MAXIMUM_SPEND.value)
SETTLING = (AdjustmentKind.COMMITMENT_TRUE_UP, AdjustmentKind.COMMITMENT_EXPIRY)


@dataclass(frozen=True)
class Burndown:
    """What became of a tranche: promised + rolled in = spent + trued up + expired + rolled over + left, exactly.

    `spent` is what charges took of it, at most all.
    """

    promised: Decimal
    rolled_in: Decimal
    spent: Decimal
    trued_up: Decimal
    expired: Decimal
    rolled_over: Decimal
    left: Decimal
    is_settled: bool


def commitment_terms(
    *, subscription: Subscription, tranches: Sequence[CommitmentTranche], period: Period, about: tuple[str, ...]
) -> Iterator[CommitmentTerm]:
    """Yield what the tranches of a subscription, which is charged in a billing period, do on that period's invoice.

    `about` are its charges, and what minimum and maximum spend make of them. What other invoices hold is read where a
    tranche matters; those of later periods do not count.
    """
    ended_at = subscription.ended_at
    for tranche in sorted(tranches, key=lambda one: one.starts_at):
        if tranche.base_due_at > period.start or (ended_at is not None and ended_at <= tranche.starts_at):
            continue
        held = [line for line in _lines(tranche) if line.invoice.period_start < period.start]
        if not any(line.adjustment in SETTLING for line in held):
            yield from _terms_of(tranche, held, subscription, period, about)


def _terms_of(
    tranche: CommitmentTranche,
    held: Sequence[InvoiceLine],
    subscription: Subscription,
    period: Period,
    about: tuple[str, ...],
) -> Iterator[CommitmentTerm]:
    ended_at = subscription.ended_at
    in_advance = tranche.commitment.payment == CommitmentPayment.IN_ADVANCE
    has_begun = tranche.starts_at <= period.start
    runs = has_begun and period.start < tranche.ends_at
    ends = has_begun and (period.end >= tranche.ends_at or (ended_at is not None and ended_at <= period.end))
    since = as_utc(tranche.starts_at).isoformat().replace("+00:00", "Z")

    def members(kind: AdjustmentKind) -> dict[str, Any]:
        return {
            "reference": f"{subscription.key}/:{kind.value}@{since}",
            "subscription": subscription.key,
            "service_period": period,
            "tranche": tranche.pk,
        }

    seen = about if runs else ()
    left = _left(tranche, held, before=period.start)
    if in_advance and not any(line.adjustment == AdjustmentKind.COMMITMENT_BASE for line in held):
        yield CommitmentBase(**members(CommitmentBase.kind), about=(), available=tranche.amount.amount)
    if runs and in_advance:
        yield CommitmentDrawdown(**members(CommitmentDrawdown.kind), about=seen, available=left)
    if runs and (rate := tranche.commitment.overage_rate) != LIST_PRICE:
        yield CommitmentOverage(**members(CommitmentOverage.kind), about=seen, available=left, rate=rate)
    if ends and in_advance:
        most = _carry_max(tranche, ended_at)
        yield CommitmentExpiry(**members(CommitmentExpiry.kind), about=seen, available=left, carry_max=most)
    if ends and not in_advance:
        yield CommitmentTrueUp(**members(CommitmentTrueUp.kind), about=seen, available=left)


def left_of(*, tranche: CommitmentTranche) -> Decimal:
    """Return what is left of a tranche with all that is on invoices and drafts today."""
    return _left(tranche, list(_lines(tranche)), before=None)


def drawn_from(*, tranche: CommitmentTranche) -> Decimal:
    """Return what charges have drawn from a tranche that was paid in advance."""
    return -_held_sum(_lines(tranche), AdjustmentKind.COMMITMENT_DRAWDOWN)


def burndown_of(*, tranche: CommitmentTranche) -> Burndown:
    """Return what became of a tranche with all that is on invoices and drafts today."""
    lines = list(_lines(tranche))
    rolled_in = _rolled_in(tranche)
    promised = tranche.amount.amount
    whole = EXACT.add(promised, rolled_in)
    true_up = _held_sum(lines, AdjustmentKind.COMMITMENT_TRUE_UP)
    spent = min(_spent(tranche, lines, before=None), whole)
    expired, rolled = (_told(lines, kind) for kind in (StepKind.EXPIRED, StepKind.ROLLED_OVER))
    return Burndown(
        promised=promised,
        rolled_in=rolled_in,
        spent=spent,
        trued_up=true_up,
        expired=expired,
        rolled_over=rolled,
        left=whole - spent - true_up - expired - rolled,
        is_settled=any(line.adjustment in SETTLING for line in lines),
    )


def spent_by_period(*, tranche: CommitmentTranche) -> dict[Period, Decimal]:
    """Return what was charged towards a tranche in each billing period that has an invoice or draft."""
    spent: dict[Period, Decimal] = {}
    for line in _spend_lines(tranche, before=None):
        period = Period(as_utc(line.invoice.period_start), as_utc(line.invoice.period_end))
        spent[period] = EXACT.add(spent.get(period, NOTHING), _charged(line))
    return dict(sorted(spent.items()))


def _left(tranche: CommitmentTranche, held: Sequence[InvoiceLine], *, before: datetime | None) -> Decimal:
    whole = EXACT.add(tranche.amount.amount, _rolled_in(tranche))
    return max(EXACT.subtract(whole, _spent(tranche, held, before=before)), NOTHING)


def _spent(tranche: CommitmentTranche, held: Sequence[InvoiceLine], *, before: datetime | None) -> Decimal:
    """Return what was drawn from a tranche that was paid in advance, or what was charged towards one that was not."""
    if tranche.commitment.payment == CommitmentPayment.IN_ADVANCE:
        return -_held_sum(held, AdjustmentKind.COMMITMENT_DRAWDOWN)
    return sum((_charged(line) for line in _spend_lines(tranche, before=before)), NOTHING)


def _rolled_in(tranche: CommitmentTranche) -> Decimal:
    """Return what rolled over into a tranche from the one before it."""
    if not tranche.commitment.rolls_over or not tranche.position:
        return NOTHING
    return _told(_lines(tranche.commitment.tranches.get(position=tranche.position - 1)), StepKind.ROLLED_OVER)


def _carry_max(tranche: CommitmentTranche, ended_at: datetime | None) -> Decimal | None:
    commitment = tranche.commitment
    is_last = not commitment.tranches.filter(position__gt=tranche.position).exists()
    if not commitment.rolls_over or is_last or (ended_at is not None and ended_at <= tranche.ends_at):
        return NOTHING
    return None if commitment.rollover_max is None else commitment.rollover_max.amount


def _lines(tranche: CommitmentTranche) -> Iterable[InvoiceLine]:
    lines = tranche.lines.filter(kind="adjustment").exclude(invoice__status="void")
    return lines.select_related("invoice").prefetch_related("corrections").order_by("invoice__period_start", "id")


def _spend_lines(tranche: CommitmentTranche, *, before: datetime | None) -> Iterable[InvoiceLine]:
    """Return the lines of the subscription that count towards a tranche: charges, and the bounds of its plan."""
    lines = tranche.subscription.invoice_lines.filter(
        kind__in=("charge", "adjustment"),
        adjustment__in=SPEND_KINDS,
        invoice__period_start__gte=tranche.starts_at,
        invoice__period_start__lt=min(tranche.ends_at, before) if before is not None else tranche.ends_at,
    )
    return lines.exclude(invoice__status="void").select_related("invoice").prefetch_related("corrections")


def _held_sum(lines: Iterable[InvoiceLine], kind: AdjustmentKind) -> Decimal:
    result = NOTHING
    for line in lines:
        if line.adjustment == kind:
            result = EXACT.add(result, _charged(line))
    return result


def _told(lines: Iterable[InvoiceLine], kind: StepKind) -> Decimal:
    """Return what the end of a tranche says that expired, or rolled over."""
    ends = (line for line in lines if line.adjustment == AdjustmentKind.COMMITMENT_EXPIRY)
    return sum((amount_of_step(rated=line.rated, kind=kind) for line in ends), NOTHING)


def _charged(line: InvoiceLine) -> Decimal:
    """Return what a line has come to with its corrections; late usage that was absorbed was spent too."""
    last = max(line.corrections.all(), key=lambda link: link.known_through, default=None)
    return (line.amount if last is None else last.amount_after).amount
