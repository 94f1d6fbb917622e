"""Invoices, told again: run after run, lines become bills, and what is learnt later about billed lines rides on later bills."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from fractions import Fraction

from tests.invoicing.reference.advance import openings, settle
from tests.invoicing.reference.billing import DECIMALS, Account, Line, lines_of, periods_of
from tests.invoicing.reference.grants import Grant, Lot, pay
from tests.invoicing.reference.promises import Draw, Promise, Tranche, first_draw, tranches_of
from tests.invoicing.reference.sheet import Sheet
from tests.metering.reference import Fact, Rule

NOTHING = Fraction(0)
# What has a line only where there is something to say.
QUIET = ("commitment_", "invoiced_in_advance", "in_advance", "advance_credit", "credit ")


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
        return sum((line.amount for line in self.lines), NOTHING) + self.corrected


@dataclass
class Kept:
    """What is kept of a bill to tell it again: what was charged, drawn and made up for, and what stays whatever is learnt."""

    charges: list[Line]
    sheet: Sheet
    draws: list[Draw] = field(default_factory=list)
    closed: list[Tranche] = field(default_factory=list)
    fixed: list[Line] = field(default_factory=list)

    @property
    def lines(self) -> list[Line]:
        """What the bill comes to today; credit is who paid, not what it cost."""
        return [*self.sheet.lines, *self.fixed]


@dataclass
class Books:
    """What was billed so far, and what is still to be given back or asked for."""

    kept: dict[tuple[datetime, datetime], Kept] = field(default_factory=dict)
    tranches: list[Tranche] = field(default_factory=list)
    lots: list[Lot] = field(default_factory=list)
    held: dict[str, Fraction] = field(default_factory=dict)
    debit: Fraction = NOTHING
    credit: Fraction = NOTHING

    @property
    def lines(self) -> list[Line]:
        """All lines as they are today."""
        return spoken(line for kept in self.kept.values() for line in kept.lines)

    def promise(self, promise: Promise, account: Account) -> None:
        """Write down what was promised."""
        agreement = next(one for one in account.agreements if one.key == promise.agreement)
        self.tranches += tranches_of(promise, agreement, account.timezone)

    def grant(self, grant: Grant) -> None:
        """Write down what was granted."""
        self.lots.append(Lot(grant))

    def void(self, grant: Grant) -> None:
        """Take back what is left of a grant."""
        lot = next(lot for lot in self.lots if lot.grant == grant)
        lot.taken_back += lot.left


def spoken(lines: object) -> list[Line]:
    """Lines in one order, without those that say nothing."""
    assert not isinstance(lines, str)
    return sorted(line for line in lines if line.amount or not line.price.startswith(QUIET))  # type: ignore[attr-defined]


def first_books() -> Books:
    """Before anything was billed."""
    return Books()


def run(
    books: Books, account: Account, rules: Mapping[str, Rule], facts: Sequence[Fact], *, until: datetime
) -> list[Bill]:
    """Correct what was billed by what is known now, then bill every period that has ended since, the first to end first.

    Returns the new bills. What the customer owes for earlier bills goes on the next one whole; what it gets goes there as
    far as the bill does not become negative, and the rest on the ones after.
    """
    charges: dict[tuple[datetime, datetime], list[Line]] = {}
    for line in lines_of(account, rules, facts, until=until):
        charges.setdefault((line.period_start, line.period_end), []).append(line)
    everything = [line for found in charges.values() for line in found]
    for period in sorted(books.kept):
        _correct(books, account, books.kept[period], charges.get(period, []), everything)

    due = (charges.keys() | openings(account, until=until)) - books.kept.keys()
    new = []
    for start, end in sorted(due, key=lambda period: (period[1], period[0])):
        sheet = Sheet(start, end, DECIMALS[account.currency])
        kept = Kept(charges.get((start, end), []), sheet)
        sheet.charge(kept.charges)
        _commit(books, account, kept)
        sheet.discount(account.redeemed, everything)
        billed = replace(sheet, lines=list(sheet.lines), left=list(sheet.left))
        settle(billed, account, books.held)
        given = min(books.credit, billed.total + books.debit)
        corrected = books.debit - given
        books.debit, books.credit = NOTHING, books.credit - given
        kept.fixed = billed.lines[len(sheet.lines) :]
        pay(billed, books.lots, carried=corrected)
        books.kept[start, end] = kept
        new.append(Bill(start, end, tuple(spoken(billed.lines)), corrected))
    return new


def run_out(books: Books, account: Account, *, at: datetime) -> None:
    """Let expire what has run out, once everything is billed that it could pay for."""
    for lot in books.lots:
        expires_at = lot.grant.expires_at
        if expires_at is None or expires_at > at:
            continue
        payable = {
            (start, end)
            for agreement in account.agreements
            for start, end, stretches in periods_of(agreement, account.timezone, until=expires_at)
            if end <= expires_at and any(one.kind == "active" for one in stretches)
        } | openings(account, until=expires_at)
        if all(period in books.kept for period in payable if period[1] > lot.grant.effective_at):
            lot.expired += lot.left


def _commit(books: Books, account: Account, kept: Kept) -> None:
    """Say what promises have to do with a bill: what is paid before, drawn, beyond, and what becomes of the rest."""
    sheet, ends = kept.sheet, {one.key: one.stretches[-1].end for one in account.agreements}
    draws: list[Draw] = []
    for key in dict.fromkeys(line.agreement for line in kept.charges):
        for tranche in books.tranches:
            promise, ended_at = tranche.promise, ends[key]
            if promise.agreement != key or not tranche.is_due(sheet.end) or ended_at <= tranche.start:
                continue
            if promise.is_paid_before and not tranche.is_begun:
                sheet.owe(key, "commitment_base", tranche.promised)
            tranche.is_begun = True
            if tranche.holds(sheet.start):
                draws.append(first_draw(tranche, _spent(sheet, key), sheet.decimals))
            if tranche.ends_with(sheet.start, sheet.end, ended_at):
                tranche.is_over = True
                if promise.is_paid_before:
                    tranche.close(ended_at)
                else:
                    tranche.missing = tranche.promised - tranche.spent
                    kept.closed.append(tranche)
    kept.draws = draws
    _write_draws(kept)


def _spent(sheet: Sheet, agreement: str) -> Fraction:
    charges = ("minimum_spend", "maximum_spend")
    of = [sheet.lines[number] for number in sheet.of(agreement)]
    return sum((line.amount for line in of if line.plan or line.price in charges), NOTHING)


def _write_draws(kept: Kept) -> None:
    sheet = kept.sheet
    for draw in kept.draws:
        agreement = draw.tranche.promise.agreement
        if draw.beyond < 0:
            parts = draw.parts_beyond if draw.is_settled else None
            about = _charged(sheet, agreement)
            draw.parts_beyond = sheet.take_off("commitment_overage", agreement, -draw.beyond, about, parts)
        else:
            sheet.owe(agreement, "commitment_overage", draw.beyond)
    for tranche in kept.closed:
        sheet.owe(tranche.promise.agreement, "commitment_true_up", tranche.made_up)
    for draw in kept.draws:
        promise = draw.tranche.promise
        if promise.is_paid_before:
            about = _charged(sheet, promise.agreement)
            parts = draw.parts if draw.is_settled else None
            draw.parts = sheet.take_off("commitment_drawdown", promise.agreement, draw.counted, about, parts)


def _charged(sheet: Sheet, agreement: str) -> list[int]:
    numbers = sheet.of(agreement)
    return [number for number in numbers if sheet.lines[number].plan or sheet.lines[number].price == "minimum_spend"]


def _correct(books: Books, account: Account, kept: Kept, charges: Sequence[Line], everything: Sequence[Line]) -> None:
    """Tell a bill again where its charges are others by now, and keep what the customer owes more, or less."""
    assert [_which(line) for line in charges] == [_which(line) for line in kept.charges], "what was billed stays"
    if list(charges) == kept.charges:
        return
    before = {id(one): one.sheet.total for one in books.kept.values()}
    old = kept.sheet
    kept.charges = list(charges)
    kept.sheet = sheet = Sheet(old.start, old.end, old.decimals)
    sheet.charge(charges)
    bases = [line for line in old.lines if line.price == "commitment_base"]
    for draw in kept.draws:
        draw.again(_spent(sheet, draw.tranche.promise.agreement), sheet.decimals)
    for line in bases:
        sheet.owe(line.agreement, line.price, line.amount)
    _write_draws(kept)
    sheet.discount(account.redeemed, everything)
    for other in books.kept.values():
        _make_up_again(other)
    for one in books.kept.values():
        effect = one.sheet.total - before[id(one)]
        books.debit += max(effect, NOTHING)
        books.credit -= min(effect, NOTHING)


def _make_up_again(kept: Kept) -> None:
    """What was made up for at the end of a promise becomes less by what is spent late in any of its bills; two may end on one bill."""
    made_up = [number for number, line in enumerate(kept.sheet.lines) if line.price == "commitment_true_up"]
    for number, tranche in zip(made_up, kept.closed, strict=True):
        assert kept.sheet.lines[number].agreement == tranche.promise.agreement, (
            "in the order in which they were written"
        )
        kept.sheet.lines[number] = replace(kept.sheet.lines[number], amount=tranche.made_up)


def _which(line: Line) -> tuple[object, ...]:
    return line.agreement, line.period_start, line.period_end, line.service_start, line.service_end, line.price
