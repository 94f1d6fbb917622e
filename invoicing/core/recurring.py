"""Monthly recurring revenue: what fees come to in a month, and how a customer's moves from one month's end to the next.

Definition: the fees of all that is in force and charged at a moment, times seats, at the prices agreed, each normalised to a month: a year counts a
twelfth, a quarter a third, a week 52/12. Usage, minimum spend, commitments, one-off charges, discounts, credit and tax are left out, as
are trials and pauses. The five movements are those of subscription analytics (ChartMogul, Baremetrics).
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from fractions import Fraction

from moneyed import Money

from invoicing.core.contract import Cadence

PERIODS_A_MONTH = {
    Cadence.WEEK: Fraction(52, 12),
    Cadence.MONTH: Fraction(1),
    Cadence.QUARTER: Fraction(1, 3),
    Cadence.YEAR: Fraction(1, 12),
}


class MrrMovement(StrEnum):
    """Why a customer's recurring revenue is another than a month before."""

    NEW = "new"
    REACTIVATION = "reactivation"
    EXPANSION = "expansion"
    CONTRACTION = "contraction"
    CHURN = "churn"


@dataclass(frozen=True)
class FeeInForce:
    """A fee during `[starts_at, ends_at)`: what it comes to in each of its billing periods, and how many of those a month has."""

    customer: int
    subscription: int
    price_key: str
    starts_at: datetime
    ends_at: datetime | None
    period_amount: Fraction
    periods_a_month: Fraction

    @property
    def monthly(self) -> Fraction:
        """What it comes to in a month, exactly."""
        return self.period_amount * self.periods_a_month

    def holds_at(self, moment: datetime) -> bool:
        """Say whether it is in force at a moment."""
        return self.starts_at <= moment and (self.ends_at is None or moment < self.ends_at)


def movement_of(*, before: Money, after: Money, paid_earlier: bool) -> MrrMovement | None:
    """Return how a customer's recurring revenue moved, or None where it did not; `paid_earlier` says whether there was any before."""
    if before == after:
        return None
    if not before.amount:
        return MrrMovement.REACTIVATION if paid_earlier else MrrMovement.NEW
    if not after.amount:
        return MrrMovement.CHURN
    return MrrMovement.EXPANSION if after > before else MrrMovement.CONTRACTION
