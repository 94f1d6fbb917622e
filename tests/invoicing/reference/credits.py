"""Credit, told again: who is asked first, and how much of a bill each lot pays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction


@dataclass(frozen=True)
class Lot:
    """What is left of credit that was given away or paid for; `number` counts lots as they were granted."""

    name: str
    amount: Fraction
    priority: int
    expires: date | None
    was_given: bool
    number: int


def taken_from(lots: Sequence[Lot], to_pay: Fraction) -> Mapping[str, Fraction]:
    """What each lot pays of a bill: the smaller priority first, then what runs out first, what was given, what is older."""

    def turn(lot: Lot) -> tuple[int, bool, date, int, int]:
        return (lot.priority, lot.expires is None, lot.expires or date.max, 0 if lot.was_given else 1, lot.number)

    taken = {}
    for lot in sorted(lots, key=turn):
        part = min(lot.amount, to_pay)
        to_pay -= part
        if part:
            taken[lot.name] = part
    return taken
