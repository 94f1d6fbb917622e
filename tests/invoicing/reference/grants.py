"""Credit, told again: lots pay for what is left of bills, in their turn, until nothing is left of them or they run out."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from tests.invoicing.reference.billing import FOR_EVER
from tests.invoicing.reference.sheet import Sheet

NOTHING = Fraction(0)


@dataclass(frozen=True)
class Grant:
    """What was given, or paid for, to a customer: for charges of some meters and plans, or for everything."""

    key: str
    amount: str
    is_prepaid: bool
    effective_at: datetime
    expires_at: datetime | None = None
    priority: int = 50
    plans: tuple[str, ...] = ()
    meters: tuple[str, ...] = ()

    def is_for(self, *, plan: str, price: str) -> bool:
        """Whether it may pay for a charge."""
        return bool(plan) and (not self.plans or plan in self.plans) and (not self.meters or price in self.meters)


@dataclass
class Lot:
    """What became of a grant: granted = drawn + expired + taken back + left."""

    grant: Grant
    drawn: Fraction = NOTHING
    expired: Fraction = NOTHING
    taken_back: Fraction = NOTHING

    @property
    def left(self) -> Fraction:
        """What it can still pay."""
        return Fraction(self.grant.amount) - self.drawn - self.expired - self.taken_back


def in_turn(lots: Iterable[Lot]) -> list[Lot]:
    """The smaller priority first, then what expires first, then what was given before what was paid for, then the oldest."""
    return sorted(
        lots,
        key=lambda lot: (
            lot.grant.priority,
            lot.grant.expires_at or FOR_EVER,
            lot.grant.is_prepaid,
            lot.grant.effective_at,
        ),
    )


def pay(sheet: Sheet, lots: Iterable[Lot], *, carried: Fraction) -> None:
    """Pay for a bill and what it carries of earlier ones, as far as lots go that are in force at its last moment."""
    for lot in in_turn(lots):
        grant = lot.grant
        in_force = grant.effective_at < sheet.end and (grant.expires_at is None or sheet.end <= grant.expires_at)
        if not in_force:
            continue
        to_pay = sheet.total + carried
        if not grant.plans and not grant.meters:
            # It comes after what is for some charges only: of which lines it comes off changes nothing.
            paid = min(lot.left, to_pay)
            sheet.owe("", f"credit {grant.key}", -paid)
        else:
            about = [
                number
                for number, line in enumerate(sheet.lines)
                if sheet.left[number] > 0 and grant.is_for(plan=line.plan, price=line.price)
            ]
            paid = min(lot.left, to_pay, sum((sheet.left[number] for number in about), NOTHING))
            sheet.take_off(f"credit {grant.key}", "", paid, about)
        lot.drawn += paid
