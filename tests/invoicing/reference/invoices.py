"""Invoices, told again: run after run, lines become bills, and what is learnt later about billed lines rides on later bills."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from itertools import groupby

from tests.invoicing.reference.billing import Account, Line, lines_of
from tests.metering.reference import Fact, Rule


@dataclass(frozen=True)
class Bill:
    """An invoice as it was issued: its lines, and what it took of the corrections of earlier ones."""

    start: datetime
    end: datetime
    lines: tuple[Line, ...]
    corrected: Fraction

    @property
    def total(self) -> Fraction:
        """What the customer owes for it."""
        return sum((line.amount for line in self.lines), Fraction(0)) + self.corrected


@dataclass
class Books:
    """What was billed so far, and what is still to be given back or asked for."""

    bills: list[Bill]
    lines: list[Line]
    debit: Fraction = Fraction(0)
    credit: Fraction = Fraction(0)


def first_books() -> Books:
    """Before anything was billed."""
    return Books([], [])


def run(
    books: Books, account: Account, rules: Mapping[str, Rule], facts: Sequence[Fact], *, until: datetime
) -> list[Bill]:
    """Correct what was billed by what is known now, then bill every period that has ended since, the first to end first.

    Returns the new bills. What the customer owes for earlier bills goes on the next one whole; what it gets goes there as
    far as the bill does not become negative, and the rest on the ones after.
    """
    lines = lines_of(account, rules, facts, until=until)
    billed = {(bill.start, bill.end) for bill in books.bills}
    old = [line for line in lines if (line.period_start, line.period_end) in billed]
    assert [_which(line) for line in old] == [_which(line) for line in books.lines], "what was billed stays the same"
    for before, now in zip(books.lines, old, strict=True):
        effect = now.amount - before.amount
        if effect > 0:
            books.debit += effect
        else:
            books.credit -= effect

    new = []
    due = [line for line in lines if (line.period_start, line.period_end) not in billed]
    for (end, start), found in groupby(sorted(due, key=_ended), key=_ended):
        charges = tuple(sorted(found))
        room = sum((line.amount for line in charges), Fraction(0)) + books.debit
        given = min(books.credit, room)
        new.append(Bill(start, end, charges, books.debit - given))
        books.debit, books.credit = Fraction(0), books.credit - given
    books.bills += new
    books.lines = lines
    return new


def _ended(line: Line) -> tuple[datetime, datetime]:
    return line.period_end, line.period_start


def _which(line: Line) -> tuple[object, ...]:
    return line.agreement, line.period_start, line.period_end, line.service_start, line.service_end, line.price
