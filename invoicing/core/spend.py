"""What a budget says to a spend: which of its thresholds are reached, and what is left of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from moneyed import Money

from billing_site.kernel.money import EXACT, round_money, total
from invoicing.core.contract import AdjustmentKind, AdjustmentLine, AssembledInvoice, RatedLine

HUNDRED = Decimal(100)
# In percent of the budget; a threshold beyond a hundred tells by how much it is overrun.
THRESHOLDS = (50, 80, 100)
THRESHOLD_MAX = 1000
THRESHOLDS_MAX = 20
LOWERS_SPEND = frozenset({AdjustmentKind.MAXIMUM_SPEND, AdjustmentKind.DISCOUNT})


class Basis(StrEnum):
    """What a threshold is compared with: the spend so far, or what the whole period is expected to come to."""

    ACTUAL = "actual"
    PROJECTED = "projected"


class AtLimit(StrEnum):
    """What becomes of a customer whose spend has reached the amount of a budget."""

    NOTIFY = "notify"
    STOP = "stop"


@dataclass(frozen=True)
class Standing:
    """A budget against a spend: what is used of it, rounded down to whole percent, and what is left (negative beyond it)."""

    percent: int
    left: Money
    reached: tuple[int, ...]
    next: int | None


def spend_of(*, assembled: AssembledInvoice, at: datetime) -> Money:
    """Return what a period has cost by a moment: its charges and what lowers them, without what the invoice carries from earlier ones.

    A service that has not begun has cost nothing: a fee from the end of a trial on. What lifts a bill to a minimum is
    agreed, not spent.
    """
    return spend_of_lines(lines=assembled.lines, adjustments=assembled.adjustments, currency=assembled.currency, at=at)


def spend_of_lines(
    *, lines: Iterable[RatedLine], adjustments: Iterable[AdjustmentLine], currency: str, at: datetime
) -> Money:
    """Return the same of lines that are not assembled."""
    begun = {line.reference: line.amount for line in lines if line.service_period.start <= at}
    lowered = [line for line in adjustments if line.kind in LOWERS_SPEND and line.amount.amount < 0]
    # What is taken off single lines counts with these: a discount on a fee that has not begun has lowered nothing.
    parts = [part.amount * -1 for line in lowered for part in line.parts if part.reference in begun]
    whole = [line.amount for line in lowered if not line.parts]
    return max(total((*begun.values(), *parts, *whole), currency), Money(0, currency))


def is_reached(*, spend: Decimal, amount: Decimal, threshold: int) -> bool:
    """Say whether a spend is at least so many percent of an amount: exactly 80.00 of 100.00 has reached 80 %."""
    return EXACT.multiply(spend, HUNDRED) >= EXACT.multiply(amount, Decimal(threshold))


def reached(*, spend: Decimal, amount: Decimal, thresholds: Iterable[int]) -> tuple[int, ...]:
    """Return the thresholds that a spend has reached, lowest first."""
    assert amount > 0, "nothing is a part of a budget of nothing"
    return tuple(one for one in sorted(thresholds) if is_reached(spend=spend, amount=amount, threshold=one))


def standing(*, spend: Money, amount: Money, thresholds: Sequence[int]) -> Standing:
    """Compare a spend with a budget of the same currency."""
    told = reached(spend=spend.amount, amount=amount.amount, thresholds=thresholds)
    left = EXACT.subtract(amount.amount, spend.amount)
    return Standing(
        percent=int(EXACT.divide_int(EXACT.multiply(spend.amount, HUNDRED), amount.amount)),
        left=round_money(left, amount.currency.code),
        reached=told,
        next=next((one for one in sorted(thresholds) if one not in told), None),
    )
