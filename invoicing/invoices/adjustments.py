"""Adjustment lines as invoices keep them: their rows, and what late usage makes of those that are issued."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from moneyed import Money

from billing_site.kernel.among import among
from billing_site.kernel.money import EXACT, round_money
from invoicing.core.adjusting import adjust_amounts, adjustment_line, take_off
from invoicing.core.adjustments.commitment import CommitmentDrawdown, CommitmentOverage, CommitmentTerm
from invoicing.core.adjustments.edits import Edit
from invoicing.core.adjustments.progressive import InvoicedProgressively
from invoicing.core.assembly import as_credit_sees_it
from invoicing.core.contract import AdjustmentKind, AdjustmentLine, Term
from invoicing.core.invoice_life import STANDING
from invoicing.core.proof import adjusted_again, adjustment_document
from invoicing.invoices.models import Invoice, InvoiceLine, InvoiceStatus, LineKind, UsageCorrection
from invoicing.subscriptions.agreements import IN_ADVANCE
from invoicing.subscriptions.committed import left_of
from invoicing.subscriptions.models import Subscription

# What was invoiced before comes off single lines only for credit, which asks what is left to pay of each.
INVOICED_BEFORE = (AdjustmentKind.INVOICED_IN_ADVANCE, AdjustmentKind.INVOICED_PROGRESSIVELY)


def lines_of_adjustments(
    *,
    invoice: Invoice,
    lines: Iterable[AdjustmentLine],
    subscriptions: Mapping[str, Subscription],
    first_position: int,
) -> list[InvoiceLine]:
    """Return the rows of adjustment lines, unsaved and without digest; `subscriptions` by key."""
    return [
        InvoiceLine(
            invoice=invoice,
            position=position,
            kind=LineKind.ADJUSTMENT,
            adjustment=line.kind.value,
            subscription=subscriptions[line.subscription] if line.subscription else None,
            tranche_id=line.term.tranche if isinstance(line.term, CommitmentTerm) else None,
            progressive_id=line.term.progressive if isinstance(line.term, InvoicedProgressively) else None,
            credit_grant_id=int(line.reference.removeprefix(":credit/"))
            if line.kind is AdjustmentKind.CREDIT
            else None,
            description=line.description,
            quantity=line.quantity,
            currency=invoice.currency,
            amount=line.amount,
            service_start=line.service_period.start,
            service_end=line.service_period.end,
            rated=adjustment_document(line=line),
        )
        for position, line in enumerate(lines, start=first_position)
    ]


def amounts_held(*, lines: Iterable[InvoiceLine], before: UsageCorrection | None = None) -> dict[str, Money]:
    """Return what charges and adjustments of one invoice come to by now, by reference: the ends of their chains.

    `before` asks how it was when that correction was made. Corrections should be prefetched.
    """
    return {
        line.rated["inputs"]["reference"]: _held(line, before)
        for line in lines
        if line.kind != LineKind.CORRECTION and line.adjustment != AdjustmentKind.CREDIT
    }


def amounts_seen(
    *,
    lines: Iterable[InvoiceLine],
    by: InvoiceLine,
    correction: UsageCorrection | None = None,
    settled: Collection[int | None] = (),
) -> dict[str, Money]:
    """Return what the adjustment `by`, or a correction of it, saw of its invoice: the lines before it, less what these take off single ones.

    When a correction was made a discount may have come off other lines than before, for the same amount: that has no link of its own.
    What was drawn from `settled` tranches, by number, came off the same lines as before.
    """
    lines = list(lines)
    parts = {} if correction is None else _parts_then(lines, by, correction, settled)
    seen: dict[str, Money] = {}
    for line in sorted(lines, key=lambda line: line.position):
        # Credit pays for what an invoice carries of earlier ones too; nothing else sees that.
        if line.position >= by.position and line.kind == LineKind.ADJUSTMENT:
            continue
        if line.kind == LineKind.CORRECTION and by.adjustment != AdjustmentKind.CREDIT:
            continue
        held = None if correction is None else _link_held(line, correction)
        amount, rated = (line.amount, line.rated) if held is None else (held.amount_after, held.rated)
        if line.adjustment in INVOICED_BEFORE and by.adjustment == AdjustmentKind.CREDIT:
            take_off(line=as_credit_sees_it(line=adjusted_again(inputs=rated["inputs"])), left=seen)
            continue
        for part in parts.get(line.pk, rated.get("parts", ())):
            taken = round_money(Decimal(part["amount"]["amount"]), line.currency)
            seen[part["reference"]] -= taken
            amount += taken
        seen[rated["inputs"]["reference"]] = amount
    return seen


def _parts_then(
    lines: Sequence[InvoiceLine], by: InvoiceLine, correction: UsageCorrection, settled: Collection[int | None]
) -> dict[int, Any]:
    """Return which lines each adjustment before `by` came off when that correction was made."""
    before = [line for line in lines if line.kind == LineKind.ADJUSTMENT and line.position < by.position]
    if not before:
        return {}
    rows = {line.rated["inputs"]["reference"]: line.pk for line in before}
    others = {line.rated["inputs"]["reference"] for line in lines if line.kind == LineKind.ADJUSTMENT}
    held = amounts_held(lines=lines, before=correction)
    terms = [_as_decided(line, adjusted_again(inputs=line.rated["inputs"]).term) for line in before]
    charges = {reference: amount for reference, amount in held.items() if reference not in others}
    stood = {
        line.rated["inputs"]["reference"]: adjusted_again(inputs=(_link_held(line, correction) or line).rated["inputs"])
        for line in before
        if line.tranche_id in settled
    }
    adjusted = adjust_amounts(terms=terms, amounts=charges, currency=by.currency, settled=stood)
    return {rows[line.reference]: adjustment_document(line=line).get("parts", ()) for line in adjusted}


def adjusted_now(
    *, lines: Sequence[InvoiceLine], changed: Mapping[str, Money]
) -> list[tuple[InvoiceLine, AdjustmentLine]]:
    """Return each adjustment of an invoice with what it would be if some charges came to something else, by reference.

    A tranche that was paid in advance gives what it has left today, whatever was left at the time; once it has ended,
    what was drawn from it stays.
    """
    rows = _live(lines)
    ended = ended_tranches(lines=rows)
    held = {row.pk: adjustment_held(line=row) for row in rows}
    left = {row.tranche_id: _left_of(row, held[row.pk]) for row in rows if _draws(row) and row.tranche_id not in ended}
    terms = [
        replace(term, available=left[term.tranche])
        if isinstance(term, CommitmentDrawdown | CommitmentOverage) and term.tranche in left
        else term
        for term in (_as_decided(row, held[row.pk].term) for row in rows)
    ]
    return _adjusted(rows, terms, lines, changed, ended)


def adjusted_as_held(*, lines: Sequence[InvoiceLine]) -> list[tuple[InvoiceLine, AdjustmentLine]]:
    """Return each adjustment of an invoice with what its terms, as they were last, make of what the charges have come to."""
    rows = _live(lines)
    terms = [_as_decided(row, adjustment_held(line=row).term) for row in rows]
    return _adjusted(rows, terms, lines, {}, ended_tranches(lines=rows))


def true_up_after(*, line: InvoiceLine) -> InvoiceLine | None:
    """Return the true-up, on a later invoice, of the commitment that a charge counts towards; None where there is none."""
    return (
        InvoiceLine.objects.filter(
            kind=LineKind.ADJUSTMENT,
            adjustment=AdjustmentKind.COMMITMENT_TRUE_UP.value,
            subscription=line.subscription_id,
            tranche__starts_at__lte=line.invoice.period_start,
            tranche__ends_at__gt=line.invoice.period_start,
            invoice__status__in=STANDING,
        )
        .exclude(invoice=line.invoice_id)
        .select_related("invoice")
        .prefetch_related("corrections")
        .first()
    )


def trued_up(*, line: InvoiceLine, spent_more: Money) -> AdjustmentLine:
    """Return what a true-up would be if so much more had been spent on earlier invoices."""
    held = adjustment_held(line=line)
    assert isinstance(held.term, CommitmentTerm), "a true-up is about a tranche"
    available = EXACT.subtract(held.term.available, spent_more.amount)
    return adjustment_line(term=replace(held.term, available=available), base=held.base, currency=line.currency)


def _adjusted(
    rows: Sequence[InvoiceLine],
    terms: Sequence[Term],
    lines: Sequence[InvoiceLine],
    changed: Mapping[str, Money],
    ended: Collection[int | None],
) -> list[tuple[InvoiceLine, AdjustmentLine]]:
    if not rows:
        return []
    # What was taken in advance, and settled, was so: what late usage costs is invoiced by itself.
    settled = {
        row.rated["inputs"]["reference"]: adjustment_held(line=row)
        for row in rows
        if row.tranche_id in ended or row.adjustment in (*IN_ADVANCE, *INVOICED_BEFORE)
    }
    amounts = amounts_held(lines=[line for line in lines if line.kind == LineKind.CHARGE]) | dict(changed)
    by_reference = {row.rated["inputs"]["reference"]: row for row in rows}
    adjusted = adjust_amounts(terms=terms, amounts=amounts, currency=rows[0].currency, settled=settled)
    return [(by_reference[line.reference], line) for line in adjusted]


def _as_decided(row: InvoiceLine, term: Term) -> Term:
    """Return the term of an adjustment; of a change by hand as late usage leaves it: what it came to when it was first issued."""
    return replace(term, kept=row.amount.amount) if isinstance(term, Edit) and term.kept is None else term


def changes_issued(*, customers: Collection[int]) -> dict[str, Decimal]:
    """Return what the changes by hand of customers (ids) came to when they were first issued, on invoices that are void by now, by reference: one query."""
    lines = InvoiceLine.objects.filter(
        among("invoice__customer", customers),
        kind=LineKind.ADJUSTMENT,
        adjustment=AdjustmentKind.EDIT.value,
        invoice__status=InvoiceStatus.VOID,
    )
    found: dict[str, Decimal] = {}
    for line in lines.order_by("invoice_id", "position"):
        found.setdefault(line.rated["inputs"]["reference"], line.amount.amount)
    return found


def _live(lines: Iterable[InvoiceLine]) -> list[InvoiceLine]:
    """Return the adjustments that late usage changes: credit has paid, and that stays."""
    return [line for line in lines if line.kind == LineKind.ADJUSTMENT and line.adjustment != AdjustmentKind.CREDIT]


def _draws(row: InvoiceLine) -> bool:
    return row.adjustment == AdjustmentKind.COMMITMENT_DRAWDOWN


def _left_of(row: InvoiceLine, held: AdjustmentLine) -> Decimal:
    """Return what a drawdown may come to today: what it has drawn, and what its tranche has left."""
    assert row.tranche is not None, "a drawdown names its tranche"
    return EXACT.subtract(left_of(tranche=row.tranche), held.amount.amount)


def ended_tranches(*, lines: Iterable[InvoiceLine]) -> set[int | None]:
    """Return the numbers of those tranches that an invoice draws from which have ended, on whatever invoice."""
    tranches = {line.tranche_id for line in lines if _draws(line)}
    if not tranches:
        return set()
    ends = InvoiceLine.objects.filter(
        tranche__in=tranches, kind=LineKind.ADJUSTMENT, adjustment=AdjustmentKind.COMMITMENT_EXPIRY.value
    )
    return set(ends.exclude(invoice__status=InvoiceStatus.VOID).values_list("tranche", flat=True))


def adjustment_held(*, line: InvoiceLine) -> AdjustmentLine:
    """Return an adjustment as it stands by now: as invoiced, or as its last correction says."""
    last = last_link(line=line)
    return adjusted_again(inputs=(last or line).rated["inputs"])


def last_link(*, line: InvoiceLine) -> UsageCorrection | None:
    """Return the last correction of a line, or None."""
    return max(line.corrections.all(), key=lambda link: link.known_through, default=None)


def _link_held(line: InvoiceLine, before: UsageCorrection | None) -> UsageCorrection | None:
    links = [link for link in line.corrections.all() if before is None or link.pk < before.pk]
    return max(links, key=lambda link: link.known_through, default=None)


def _held(line: InvoiceLine, before: UsageCorrection | None) -> Money:
    last = _link_held(line, before)
    return last.amount_after if last is not None else round_money(line.amount.amount, line.currency)
