"""A bill that is being made: its lines, and what those after them left of each."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction

from tests.invoicing.reference.billing import Line
from tests.invoicing.reference.discounts import Redeemed, in_turn, periods_counted, spread, taken_off

NOTHING = Fraction(0)


@dataclass
class Sheet:
    """The lines of one bill so far."""

    start: datetime
    end: datetime
    decimals: int
    lines: list[Line] = field(default_factory=list)
    left: list[Fraction] = field(default_factory=list)

    @property
    def total(self) -> Fraction:
        """What it comes to so far."""
        return sum((line.amount for line in self.lines), NOTHING)

    def of(self, agreement: str) -> list[int]:
        """The numbers of the lines of an agreement."""
        return [number for number, line in enumerate(self.lines) if line.agreement == agreement]

    def charge(self, lines: Sequence[Line]) -> None:
        """Begin with what was used, and then what bounds it: what is above a maximum is off the lines of its service."""
        for line in sorted(lines, key=lambda line: not line.plan):
            bounded = [number for number, one in enumerate(self.lines) if _is_within(one, line)]
            self.lines.append(line)
            self.left.append(line.amount)
            if line.amount < 0:
                self._spread(-line.amount, bounded)
                self.left[-1] = NOTHING

    def owe(self, agreement: str, kind: str, amount: Fraction) -> None:
        """Write something down that takes nothing off single lines."""
        start, end = self.start, self.end
        self.lines.append(Line(agreement, start, end, start, end, "", kind, Fraction(1), amount))
        self.left.append(amount)

    def take_off(
        self,
        kind: str,
        agreement: str,
        amount: Fraction,
        about: Sequence[int],
        parts: Sequence[Fraction] | None = None,
    ) -> list[Fraction]:
        """Take an amount off what is left of some lines, cent by cent; `parts` where it was done before. Returns the parts."""
        parts = self._spread(amount, about, parts)
        self.owe(agreement, kind, -amount)
        self.left[-1] = NOTHING
        return parts

    def _spread(
        self, amount: Fraction, about: Sequence[int], parts: Sequence[Fraction] | None = None
    ) -> list[Fraction]:
        if parts is None:
            parts = list(spread(amount, [self.left[number] for number in about], decimals=self.decimals))
        for number, part in zip(about, parts, strict=True):
            self.left[number] -= part
        return list(parts)

    def pay_in_order(self, about: Sequence[int], amount: Fraction) -> None:
        """Leave nobody to pay so much of some lines, each to its end before the next."""
        for number in about:
            part = max(min(self.left[number], amount), NOTHING)
            self.left[number] -= part
            amount -= part

    def discount(self, redeemed: Sequence[Redeemed], charged: Sequence[Line]) -> None:
        """One line for each coupon that counts this bill, also over nothing; each sees what those before it left.

        `charged` are all charges that ever were, of this bill and others: they say which bills a coupon counts.
        """
        for one in in_turn(redeemed):
            counted = periods_counted(
                one, [(line.period_start, line.period_end) for line in charged if line.plan and _is_for(one, line)]
            )
            if (self.start, self.end) not in counted:
                continue
            about = [number for number, line in enumerate(self.lines) if _is_charge(line) and _is_for(one, line)]
            left = [self.left[number] for number in about]
            off = taken_off(one.coupon, left, decimals=self.decimals)
            self.take_off(f"Discount {one.coupon['code']}", one.agreement, off, about)


def _is_for(one: Redeemed, line: Line) -> bool:
    return one.is_for(agreement=line.agreement, plan=line.plan, price=line.price)


def _is_charge(line: Line) -> bool:
    return bool(line.plan) or line.price == "minimum_spend"


def _is_within(line: Line, service: Line) -> bool:
    return (
        line.agreement == service.agreement
        and service.service_start <= line.service_start
        and line.service_end <= service.service_end
    )
