"""What a late change of a charge makes of the adjustments that look at it: minimum and maximum spend, commitments, discounts."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from moneyed import Money

from invoicing.core.contract import AdjustmentKind, AdjustmentLine
from invoicing.invoices.adjustments import adjusted_now, adjustment_held, last_link, trued_up
from invoicing.invoices.models import InvoiceLine, LineKind, UsageCorrection

# What these take off which lines stays when their tranche ends.
OF_A_TRANCHE = (AdjustmentKind.COMMITMENT_DRAWDOWN, AdjustmentKind.COMMITMENT_OVERAGE)


@dataclass(frozen=True)
class AdjustmentChange:
    """What a late change of a charge makes of an adjustment: another amount, or, of a commitment, other lines that it comes off."""

    line: InvoiceLine
    last: UsageCorrection | None
    before: AdjustmentLine
    after: AdjustmentLine

    @property
    def effect(self) -> Money:
        """What the customer owes more; negative where it is less."""
        return self.after.amount - self.before.amount


def lines_with_adjustments(*, invoice_ids: Collection[int]) -> dict[int, list[InvoiceLine]]:
    """Return charges and adjustments of those of the invoices that have adjustments, by invoice."""
    adjustments = InvoiceLine.objects.filter(invoice__in=invoice_ids, kind=LineKind.ADJUSTMENT)
    # Asked first: of a table that has just grown PostgreSQL would join all lines with all lines.
    adjusted = set(adjustments.values_list("invoice", flat=True))
    lines = InvoiceLine.objects.filter(invoice__in=adjusted).exclude(kind=LineKind.CORRECTION)
    found: dict[int, list[InvoiceLine]] = {}
    for line in lines.select_related("invoice").prefetch_related("corrections").order_by("position"):
        found.setdefault(line.invoice_id, []).append(line)
    return found


def adjustment_changes(*, line: InvoiceLine, amount: Money, lines: Sequence[InvoiceLine]) -> Iterator[AdjustmentChange]:
    """Yield what the adjustments of an invoice become where one of its charges, `line`, comes to another amount.

    Also what a commitment takes off, of the same amount, but off other lines: once its tranche has ended, that is where it stays.
    """
    for row, after in adjusted_now(lines=lines, changed={line.rated["inputs"]["reference"]: amount}):
        before = adjustment_held(line=row)
        moved = row.adjustment in OF_A_TRANCHE and after.parts != before.parts
        if after.amount != before.amount or moved:
            yield AdjustmentChange(row, last_link(line=row), before, after)


def true_up_change(*, row: InvoiceLine, spent_more: Money) -> Iterator[AdjustmentChange]:
    """Yield what a true-up on a later invoice becomes where more, or less, was spent towards its commitment."""
    before, after = adjustment_held(line=row), trued_up(line=row, spent_more=spent_more)
    if after.amount != before.amount:
        yield AdjustmentChange(row, last_link(line=row), before, after)
