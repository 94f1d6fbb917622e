"""Commitments, told again: months of use become bills, out of what was paid before or up to what was promised."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from tests.invoicing.reference.pricing import to_minor_units


@dataclass(frozen=True)
class Promise:
    """Amounts that were promised one after the other, each for a number of months; `rollover_max` None: all of a rest."""

    tranches: Sequence[tuple[int, Fraction]]
    is_paid_before: bool
    overage_rate: Fraction = Fraction(1)
    rolls_over: bool = False
    rollover_max: Fraction | None = None


@dataclass(frozen=True)
class Month:
    """A bill: what it comes to, what of its charges came out of the promise, and what the tranche had before it."""

    total: Fraction
    drawn: Fraction
    available: Fraction


def months_of(promise: Promise, charges: Sequence[Fraction], *, idle: int = 0, decimals: int = 2) -> list[Month]:
    """The bill of each month; the promise begins after so many `idle` ones, on whose last bill the first base stands."""
    months, rolled, left = [], Fraction(0), Fraction(0)
    bounds = [idle]
    for length, _ in promise.tranches:
        bounds.append(bounds[-1] + length)
    for number, charged in enumerate(charges):
        running = next((n for n in range(len(promise.tranches)) if bounds[n] <= number < bounds[n + 1]), None)
        if running is not None and number == bounds[running]:
            left = promise.tranches[running][1] + rolled
        available = left
        drawn = min(charged, left) if running is not None else Fraction(0)
        left -= drawn
        total = charged
        if running is not None:
            total += to_minor_units((charged - drawn) * (promise.overage_rate - 1), decimals)
            total += _settled_at_end(promise, left) if number + 1 == bounds[running + 1] else 0
        total -= drawn if promise.is_paid_before else 0
        months.append(Month(total + _bases(promise, bounds, number), drawn, available))
        if running is not None and number + 1 == bounds[running + 1]:
            rolled, left = _carried(promise, left), Fraction(0)
    return months


def _bases(promise: Promise, bounds: Sequence[int], number: int) -> Fraction:
    """What is paid on the bill of a month for a tranche that begins after it, or with the very first month."""
    if not promise.is_paid_before:
        return Fraction(0)
    due = [max(begins - 1, 0) for begins in bounds[:-1]]
    return sum((amount for at, (_, amount) in zip(due, promise.tranches, strict=True) if at == number), Fraction(0))


def _settled_at_end(promise: Promise, left: Fraction) -> Fraction:
    return Fraction(0) if promise.is_paid_before else left


def _carried(promise: Promise, left: Fraction) -> Fraction:
    if not promise.rolls_over:
        return Fraction(0)
    return left if promise.rollover_max is None else min(left, promise.rollover_max)
