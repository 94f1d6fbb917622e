"""Minimum and maximum of a price: each is a rung of its own, never a silent correction."""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from invoicing.core.contract import Step, StepKind


def within_bounds(
    *, steps: list[Step], minimum: Decimal | None, maximum: Decimal | None, share: Fraction
) -> list[Step]:
    """Add the true-up to the minimum or the cut at the maximum, where the steps fall short or exceed.

    Both are promises per billing period, so a partial period owes its share of them. A service without any share
    (the rest of a period that is not prorated) owes no minimum, and its maximum stands whole: usage is never free for it.
    """
    assert minimum is None or maximum is None or minimum <= maximum, "the minimum is not above the maximum"
    if minimum is None and maximum is None:
        return steps
    amount = exact_sum([step.amount for step in steps])
    if minimum is not None and amount < Fraction(minimum) * share:
        return [*steps, _bound(StepKind.TRUE_UP, minimum, Fraction(minimum) * share - amount)]
    if maximum is not None and amount > (cap := Fraction(maximum) * (share or 1)):
        return [*steps, _bound(StepKind.CAP, maximum, cap - amount)]
    return steps


def exact_sum(amounts: Sequence[Fraction]) -> Fraction:
    """Add exact amounts; most prices have one rung, whose amount it is."""
    return sum(amounts[1:], amounts[0]) if amounts else Fraction(0)


def _bound(kind: StepKind, bound: Decimal, difference: Fraction) -> Step:
    return Step(kind=kind, quantity=Decimal(0), flat_amount=bound, amount=difference)
