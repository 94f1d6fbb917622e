"""Which accounts the lines of an invoice credit: revenue, unless a line is about money that is paid before it is earned."""

from collections.abc import Iterable

from moneyed import Money

from billing_site.kernel.money import round_money
from invoicing.core.adjustments.commitment import amount_of_step
from invoicing.core.contract import AdjustmentKind, StepKind
from invoicing.core.posting import BREAKAGE, DEFERRED, PREPAID, PREPAID_CREDIT
from invoicing.invoices.models import InvoiceLine, LineKind
from invoicing.subscriptions.agreements import IN_ADVANCE

PREPAYING = (AdjustmentKind.COMMITMENT_BASE, AdjustmentKind.COMMITMENT_DRAWDOWN)
CREDITING = (*PREPAYING, AdjustmentKind.COMMITMENT_EXPIRY, *IN_ADVANCE)


def credited_beside(*, lines: Iterable[InvoiceLine]) -> dict[str, Money]:
    """Return what lines of one currency credit beside revenue, by account: a base until it is drawn, what expires as breakage, credit that is sold."""
    credited: dict[str, Money] = {}
    for line in lines:
        if line.kind == LineKind.TOP_UP:
            _add(credited, PREPAID_CREDIT, line.amount)
        elif line.adjustment in PREPAYING:
            _add(credited, PREPAID, line.amount)
        elif line.adjustment in IN_ADVANCE:
            _add(credited, DEFERRED, line.amount)
        elif line.adjustment == AdjustmentKind.COMMITMENT_EXPIRY:
            expired = round_money(amount_of_step(rated=line.rated, kind=StepKind.EXPIRED), line.currency)
            _add(credited, PREPAID, -expired)
            _add(credited, BREAKAGE, expired)
    return credited


def _add(credited: dict[str, Money], account: str, amount: Money) -> None:
    credited[account] = credited[account] + amount if account in credited else amount
