"""Adjustment lines as invoices keep them: their rows, and what late usage makes of those that are issued."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from moneyed import Money

from billing_site.kernel.money import round_money
from invoicing.core.adjusting import adjust_amounts
from invoicing.core.contract import AdjustmentLine
from invoicing.core.proof import adjusted_again, adjustment_document
from invoicing.invoices.models import Invoice, InvoiceLine, LineKind, UsageCorrection
from invoicing.subscriptions.models import Subscription


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
        line.rated["inputs"]["reference"]: _held(line, before) for line in lines if line.kind != LineKind.CORRECTION
    }


def amounts_seen(
    *, lines: Iterable[InvoiceLine], by: InvoiceLine, correction: UsageCorrection | None = None
) -> dict[str, Money]:
    """Return what the adjustment `by`, or a correction of it, saw of its invoice: the lines before it, less what these take off single ones."""
    seen: dict[str, Money] = {}
    for line in sorted(lines, key=lambda line: line.position):
        if line.kind == LineKind.CORRECTION or (line.kind == LineKind.ADJUSTMENT and line.position >= by.position):
            continue
        held = None if correction is None else _link_held(line, correction)
        amount, rated = (line.amount, line.rated) if held is None else (held.amount_after, held.rated)
        for part in rated.get("parts", ()):
            taken = round_money(Decimal(part["amount"]["amount"]), line.currency)
            seen[part["reference"]] -= taken
            amount += taken
        seen[rated["inputs"]["reference"]] = amount
    return seen


def adjusted_now(
    *, lines: Sequence[InvoiceLine], changed: Mapping[str, Money]
) -> list[tuple[InvoiceLine, AdjustmentLine]]:
    """Return each adjustment of an invoice with what it would be if some charges came to something else, by reference."""
    rows = {line.rated["inputs"]["reference"]: line for line in lines if line.kind == LineKind.ADJUSTMENT}
    if not rows:
        return []
    held = amounts_held(lines=lines)
    charges = {reference: amount for reference, amount in held.items() if reference not in rows} | dict(changed)
    currency = next(iter(rows.values())).currency
    terms = [adjusted_again(inputs=row.rated["inputs"]).term for row in rows.values()]
    adjusted = adjust_amounts(terms=terms, amounts=charges, currency=currency)
    return [(rows[line.reference], line) for line in adjusted]


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
