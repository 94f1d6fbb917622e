"""What is left of commitments, and what they have to do with the invoice of a billing period."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from invoicing.core.invoice_life import STANDING
from invoicing.subscriptions.commitment import CommitmentPayment, CommitmentTranche
from invoicing.subscriptions.models import Subscription

# Rows of `invoices`, the slice above this one, reached by their relation.
InvoiceLine = Any
# What invoices come to that are computed and not stored: their amounts by reference, for each billing period.
Computed = Mapping[Period, Mapping[str, Decimal]]
NONE_COMPUTED: Computed = {}
NOTHING = Decimal(0)
LIST_PRICE = Decimal(1)
SPEND_KINDS = ("", AdjustmentKind.MINIMUM_SPEND.value, AdjustmentKind.MAXIMUM_SPEND.value)
COMMITMENT_KINDS = tuple(kind for kind in AdjustmentKind if kind.value.startswith("commitment_"))
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


@dataclass(frozen=True)
class TrancheLine:
    """What one line of a billing period's invoice did to a tranche; `amount` as it stands by now."""

    period: Period
    adjustment: str
    amount: Decimal
    expired: Decimal = NOTHING
    rolled_over: Decimal = NOTHING
    is_issued: bool = False


def commitment_terms(
    *,
    subscription: Subscription,
    tranches: Sequence[CommitmentTranche],
    period: Period,
    about: tuple[str, ...],
    computed: Computed = NONE_COMPUTED,
) -> Iterator[CommitmentTerm]:
    """Yield what the tranches of a subscription, which is charged in a billing period, do on that period's invoice.

    `about` are its charges, and what minimum and maximum spend make of them. What other invoices hold is read where a
    tranche matters. Drafts of later periods do not count: they are made again after this one. What is issued for later
    periods stays, and this one takes no more than it leaves. `computed` stands in place of what is stored for its periods.
    """
    ended_at = subscription.ended_at
    rolled = NOTHING
    for tranche in sorted(tranches, key=lambda one: one.starts_at):
        if not _is_due(tranche, subscription, period) or (ended_at is not None and ended_at <= tranche.starts_at):
            continue
        lines = _lines(tranche, computed)
        held = [line for line in lines if line.period.start < period.start]
        later = [line for line in lines if line.period.start > period.start and line.is_issued]
        if any(line.period == period and line.is_issued for line in lines):
            # What is asked is how an issued invoice came about: later ones were not there.
            later = []
        if any(line.adjustment in SETTLING for line in held):
            continue
        terms = list(_terms_of(tranche, held, later, subscription, period, about, computed, rolled))
        yield from terms
        # Of two tranches that are over on one invoice (nothing was charged since the first), the second has what the first leaves.
        rolled = sum((_rolls_over(term) for term in terms if isinstance(term, CommitmentExpiry)), NOTHING)


def _is_due(tranche: CommitmentTranche, subscription: Subscription, period: Period) -> bool:
    """Say whether the invoice of a period has to do with a tranche: with the invoice that is made when it begins, the base is due.

    Where that one was issued before the tranche was agreed, or nothing is charged on it, the next one has the base.
    """
    if tranche.starts_at != period.end:
        return bool(tranche.starts_at <= period.start)
    issued = subscription.invoice_lines.filter(invoice__status__in=STANDING, invoice__period_start__gte=period.start)
    return tranche.lines.filter(invoice__period_start=period.start).exists() or not issued.exists()


def commitment_reference(*, subscription: Subscription, tranche: CommitmentTranche, kind: AdjustmentKind) -> str:
    """Return the name of a line about a tranche; the colon keeps it apart from prices, whose keys have none."""
    since = as_utc(tranche.starts_at).isoformat().replace("+00:00", "Z")
    return f"{subscription.key}/:{kind.value}@{since}"


def _terms_of(
    tranche: CommitmentTranche,
    held: Sequence[TrancheLine],
    later: Sequence[TrancheLine],
    subscription: Subscription,
    period: Period,
    about: tuple[str, ...],
    computed: Computed,
    rolled_here: Decimal,
) -> Iterator[CommitmentTerm]:
    ended_at = subscription.ended_at
    in_advance = tranche.commitment.payment == CommitmentPayment.IN_ADVANCE
    has_begun = tranche.starts_at <= period.start
    runs = has_begun and period.start < tranche.ends_at
    ends = has_begun and (period.end >= tranche.ends_at or (ended_at is not None and ended_at <= period.end))
    ends = ends and not any(line.adjustment in SETTLING for line in later)

    def members(kind: AdjustmentKind) -> dict[str, Any]:
        return {
            "reference": commitment_reference(subscription=subscription, tranche=tranche, kind=kind),
            "subscription": subscription.key,
            "service_period": period,
            "tranche": tranche.pk,
        }

    seen = about if runs else ()
    rolled_in = EXACT.add(_rolled_in(tranche, computed, besides=period), rolled_here)
    left = _left(tranche, held, rolled_in, computed, before=period.start)
    if in_advance and later:
        left = max(min(left, EXACT.subtract(left, _taken(later))), NOTHING)
    if in_advance and not any(line.adjustment == AdjustmentKind.COMMITMENT_BASE for line in (*held, *later)):
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
    return _left(tranche, _lines(tranche), _rolled_in(tranche), before=None)


def drawn_from(*, tranche: CommitmentTranche) -> Decimal:
    """Return what charges have drawn from a tranche that was paid in advance."""
    return -_sum_of(_lines(tranche), AdjustmentKind.COMMITMENT_DRAWDOWN)


def burndown_of(*, tranche: CommitmentTranche) -> Burndown:
    """Return what became of a tranche with all that is on invoices and drafts today."""
    lines = _lines(tranche)
    rolled_in = _rolled_in(tranche)
    promised = tranche.amount.amount
    whole = EXACT.add(promised, rolled_in)
    true_up = _sum_of(lines, AdjustmentKind.COMMITMENT_TRUE_UP)
    spent = min(_spent(tranche, lines, before=None), whole)
    expired = sum((line.expired for line in lines), NOTHING)
    rolled = sum((line.rolled_over for line in lines), NOTHING)
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
    return _charged_by_period(tranche, NONE_COMPUTED, before=None)


def _left(
    tranche: CommitmentTranche,
    held: Sequence[TrancheLine],
    rolled_in: Decimal,
    computed: Computed = NONE_COMPUTED,
    *,
    before: datetime | None,
) -> Decimal:
    whole = EXACT.add(tranche.amount.amount, rolled_in)
    return max(EXACT.subtract(whole, _spent(tranche, held, computed, before=before)), NOTHING)


def _spent(
    tranche: CommitmentTranche,
    held: Sequence[TrancheLine],
    computed: Computed = NONE_COMPUTED,
    *,
    before: datetime | None,
) -> Decimal:
    """Return what was drawn from a tranche that was paid in advance, or what was charged towards one that was not."""
    if tranche.commitment.payment == CommitmentPayment.IN_ADVANCE:
        return -_sum_of(held, AdjustmentKind.COMMITMENT_DRAWDOWN)
    return sum(_charged_by_period(tranche, computed, before=before).values(), NOTHING)


def _taken(lines: Sequence[TrancheLine]) -> Decimal:
    """Return what lines have drawn, let expire or rolled over."""
    ended = sum((line.expired + line.rolled_over for line in lines), NOTHING)
    return EXACT.subtract(ended, _sum_of(lines, AdjustmentKind.COMMITMENT_DRAWDOWN))


def _rolls_over(term: CommitmentExpiry) -> Decimal:
    """Return what goes on into the next tranche, of one that no charge of the same invoice draws from."""
    if term.about:
        return NOTHING
    return term.available if term.carry_max is None else min(term.available, term.carry_max)


def _rolled_in(
    tranche: CommitmentTranche, computed: Computed = NONE_COMPUTED, *, besides: Period | None = None
) -> Decimal:
    """Return what rolled over into a tranche from the one before it, on invoices `besides` that of one period."""
    if not tranche.commitment.rolls_over or not tranche.position:
        return NOTHING
    before = tranche.commitment.tranches.select_related("commitment", "subscription").get(position=tranche.position - 1)
    return sum((line.rolled_over for line in _lines(before, computed) if line.period != besides), NOTHING)


def _carry_max(tranche: CommitmentTranche, ended_at: datetime | None) -> Decimal | None:
    commitment = tranche.commitment
    is_last = not commitment.tranches.filter(position__gt=tranche.position).exists()
    if not commitment.rolls_over or is_last or (ended_at is not None and ended_at <= tranche.ends_at):
        return NOTHING
    return None if commitment.rollover_max is None else commitment.rollover_max.amount


def _lines(tranche: CommitmentTranche, computed: Computed = NONE_COMPUTED) -> list[TrancheLine]:
    """Return what invoices and drafts hold of a tranche, in the order of their periods."""
    rows = tranche.lines.filter(kind="adjustment").exclude(invoice__status="void")
    rows = rows.select_related("invoice").prefetch_related("corrections").order_by("invoice__period_start", "id")
    lines = [line for row in rows if (line := _stored(row)).period not in computed]
    for period, amounts in sorted(computed.items()):
        lines += _computed(tranche, lines, period, amounts, computed)
    return sorted(lines, key=lambda line: line.period.start)


def _stored(row: InvoiceLine) -> TrancheLine:
    return TrancheLine(
        period=_period_of(row.invoice),
        adjustment=row.adjustment,
        amount=_charged(row),
        expired=_told(row, StepKind.EXPIRED),
        rolled_over=_told(row, StepKind.ROLLED_OVER),
        is_issued=row.invoice.status != "draft",
    )


def _computed(
    tranche: CommitmentTranche,
    before: Sequence[TrancheLine],
    period: Period,
    amounts: Mapping[str, Decimal],
    computed: Computed,
) -> Iterator[TrancheLine]:
    """Yield what an invoice that is not stored holds of a tranche; of its end, the amounts say only that it is there."""
    subscription = tranche.subscription
    found = {
        kind: amounts[reference]
        for kind in COMMITMENT_KINDS
        if (reference := commitment_reference(subscription=subscription, tranche=tranche, kind=kind)) in amounts
    }
    for kind, amount in found.items():
        if kind is not AdjustmentKind.COMMITMENT_EXPIRY:
            yield TrancheLine(period, kind.value, amount)
            continue
        drawn = found.get(AdjustmentKind.COMMITMENT_DRAWDOWN, NOTHING)
        whole = EXACT.add(tranche.amount.amount, _rolled_in(tranche, computed))
        earlier = _sum_of(
            (one for one in before if one.period.start < period.start), AdjustmentKind.COMMITMENT_DRAWDOWN
        )
        left = max(EXACT.add(EXACT.add(whole, earlier), drawn), NOTHING)
        most = _carry_max(tranche, subscription.ended_at)
        rolled = left if most is None else min(left, most)
        yield TrancheLine(period, kind.value, amount, expired=left - rolled, rolled_over=rolled)


def _charged_by_period(
    tranche: CommitmentTranche, computed: Computed, *, before: datetime | None
) -> dict[Period, Decimal]:
    """Return what the subscription was charged in the periods of a tranche, as its plan's bounds have made it."""
    until = min(tranche.ends_at, before) if before is not None else tranche.ends_at
    rows = tranche.subscription.invoice_lines.filter(
        kind__in=("charge", "adjustment"),
        adjustment__in=SPEND_KINDS,
        invoice__period_start__gte=tranche.starts_at,
        invoice__period_start__lt=until,
    )
    spent: dict[Period, Decimal] = {}
    for row in rows.exclude(invoice__status="void").select_related("invoice").prefetch_related("corrections"):
        if (period := _period_of(row.invoice)) not in computed:
            spent[period] = EXACT.add(spent.get(period, NOTHING), _charged(row))
    for period, amounts in computed.items():
        if tranche.starts_at <= period.start < until:
            own = [amount for name, amount in amounts.items() if _counts(name, tranche.subscription.key)]
            spent[period] = sum(own, NOTHING)
    return dict(sorted(spent.items()))


def _counts(reference: str, subscription: str) -> bool:
    """Say whether a line counts towards what was promised: a charge of the subscription, or a bound of its plan."""
    owner, _, name = reference.partition("/")
    kind = name.removeprefix(":").partition("@")[0] if name.startswith(":") else ""
    return owner == subscription and kind in SPEND_KINDS


def _period_of(invoice: Any) -> Period:
    return Period(as_utc(invoice.period_start), as_utc(invoice.period_end))


def _sum_of(lines: Iterable[TrancheLine], kind: AdjustmentKind) -> Decimal:
    result = NOTHING
    for line in lines:
        if line.adjustment == kind:
            result = EXACT.add(result, line.amount)
    return result


def _told(row: InvoiceLine, kind: StepKind) -> Decimal:
    """Return what the end of a tranche says that expired, or rolled over."""
    if row.adjustment != AdjustmentKind.COMMITMENT_EXPIRY:
        return NOTHING
    return amount_of_step(rated=row.rated, kind=kind)


def _charged(line: InvoiceLine) -> Decimal:
    """Return what a line has come to with its corrections; late usage that was absorbed was spent too."""
    last = max(line.corrections.all(), key=lambda link: link.known_through, default=None)
    return (line.amount if last is None else last.amount_after).amount
