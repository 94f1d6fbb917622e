"""Interest for late payment: simple, by the day, on what was open and not objected to, rounded once.

A day counts from the day after the due date on, if something was open at its end where the customer is: the day on which money
arrives bears none. A year has 365 days, leap years too (actual/365 fixed): a day of a leap year costs what any other does.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

from moneyed import Money

from billing_site.kernel.money import plain, round_money

DAYS_OF_A_YEAR = 365
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Rate:
    """How many percent a year are charged from a day on; nothing ends with 0."""

    valid_from: date
    percent: Decimal


@dataclass(frozen=True)
class Objected:
    """What was objected to, from a day on until a day, both included; None: until today."""

    amount: Decimal
    first: date
    last: date | None


@dataclass(frozen=True)
class Stretch:
    """Days `[start, end)` on which the same was owed at the same rate, and what they cost, not rounded."""

    start: date
    end: date
    principal: Decimal
    percent: Decimal

    @property
    def days(self) -> int:
        """How many days it has."""
        return (self.end - self.start).days

    @property
    def amount(self) -> Fraction:
        """What it costs."""
        return Fraction(self.principal) * Fraction(self.percent) * self.days / (100 * DAYS_OF_A_YEAR)


@dataclass(frozen=True)
class Owed:
    """What an invoice asked for from its due date on, what came on which day, and what was objected to when."""

    due: date
    amount: Decimal
    payments: tuple[tuple[date, Decimal], ...] = ()
    objections: tuple[Objected, ...] = ()

    def at_the_end_of(self, day: date) -> Decimal:
        """Return what is open at the end of a day and not objected to; never less than nothing."""
        paid = sum((amount for on, amount in self.payments if on <= day), Decimal(0))
        # There is one at a time: what is left of one that ended begins on the day on which that ended.
        objected = max(
            (one.amount for one in self.objections if one.first <= day and (one.last is None or day <= one.last)),
            default=Decimal(0),
        )
        return max(Decimal(0), self.amount - paid - objected)

    def turns(self, *, first: date, until: date) -> list[date]:
        """Return the days in `[first, until)` from which on something else may be open, the first among them."""
        found = {first} | {on for on, _ in self.payments}
        found |= {one.first for one in self.objections} | {one.last + DAY for one in self.objections if one.last}
        return sorted(day for day in found if first <= day < until)


def stretches_of(
    *, owed: Owed, rates: Sequence[Rate], until: date, settled: Collection[tuple[date, date]] = ()
) -> tuple[Stretch, ...]:
    """Return the days before `until` that cost something, in their order; those of `settled`, `[start, end)`, are charged or waived already."""
    first = owed.due + DAY
    if until <= first or not rates:
        return ()
    turns = {*owed.turns(first=first, until=until), until} | {rate.valid_from for rate in rates}
    turns |= {day for span in settled for day in span}
    days = sorted(day for day in turns if first <= day <= until)
    found: list[Stretch] = []
    for start, end in pairwise(days):
        if any(begin <= start < stop for begin, stop in settled):
            continue
        begun = [rate for rate in rates if rate.valid_from <= start]
        percent = max(begun, key=lambda rate: rate.valid_from).percent if begun else Decimal(0)
        principal = owed.at_the_end_of(start)
        if principal and percent:
            found.append(Stretch(start, end, principal, percent))
    return tuple(found)


def interest(*, stretches: Sequence[Stretch], currency: str) -> Money:
    """Return what stretches come to, rounded once by the currency's exponent."""
    return round_money(sum((one.amount for one in stretches), Fraction(0)), currency)


def proof_of(*, stretches: Sequence[Stretch]) -> list[dict[str, Any]]:
    """Return the principal, days and rate of each stretch, as it is kept with what was charged."""
    return [
        {
            "from": one.start.isoformat(),
            "to": (one.end - DAY).isoformat(),
            "days": one.days,
            "principal": plain(one.principal),
            "percent": plain(one.percent),
        }
        for one in stretches
    ]
