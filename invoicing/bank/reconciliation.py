"""The bank account of the books against the statements, by currency: to the cent, with what explains each difference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from django.db.models import QuerySet, Sum
from moneyed import Money

from billing_site.kernel.money import round_money, total
from invoicing.bank.models import BankAccount, BankLine, BankStatement
from invoicing.bank.queries import NOTHING, BookedMovement, movements_on_no_statement
from invoicing.core.bank.statement import Statement, StatementFault, StatementLine
from invoicing.core.posting import BANK
from invoicing.ledger.queries import trial_balance


@dataclass(frozen=True)
class AccountStanding:
    """One account: what stood on it before its first statement, what its lines moved, and what the newest balance says.

    `missing` is what the newest statement says beyond both: lines of a statement that was never imported.
    """

    account: BankAccount
    opening: Money
    moved: Money
    stated: Money
    stated_on: date | None

    @property
    def missing(self) -> Money:
        """What no imported line explains."""
        return self.stated - self.opening - self.moved


@dataclass(frozen=True)
class Reconciliation:
    """One currency: what the books and the banks say, and what lies between."""

    currency: str
    booked: Money
    accounts: tuple[AccountStanding, ...]
    on_no_statement: tuple[BookedMovement, ...]

    @property
    def stated(self) -> Money:
        """What the banks say."""
        return total((one.stated for one in self.accounts), self.currency)

    @property
    def difference(self) -> Money:
        """What the banks say beyond the books."""
        return self.stated - self.booked

    @property
    def opening(self) -> Money:
        """What stood on the accounts before their first statements: the books began without it."""
        return total((one.opening for one in self.accounts), self.currency)

    @property
    def missing(self) -> Money:
        """What is on a balance and on no imported line."""
        return total((one.missing for one in self.accounts), self.currency)

    @property
    def by_hand(self) -> Money:
        """What the books have by hand and no statement does."""
        return total((one.left for one in self.on_no_statement), self.currency)

    @property
    def unexplained(self) -> Money:
        """What is left when all is explained: nothing, unless books and lines were changed behind the product."""
        return self.difference - (self.opening + self.missing - self.by_hand)


def reconciliations() -> list[Reconciliation]:
    """Return the bank account of the books against the statements, by currency."""
    booked = {one.amount.currency.code: one.amount for one in trial_balance() if one.account == BANK}
    accounts: dict[str, list[AccountStanding]] = {}
    for account in BankAccount.objects.order_by("currency", "identifier"):
        accounts.setdefault(account.currency, []).append(standing_of(account=account))
    by_hand: dict[str, list[BookedMovement]] = {}
    for movement in movements_on_no_statement():
        by_hand.setdefault(movement.entry.currency, []).append(movement)
    return [
        Reconciliation(
            currency,
            booked.get(currency, Money(0, currency)),
            tuple(accounts.get(currency, ())),
            tuple(by_hand.get(currency, ())),
        )
        for currency in sorted({*booked, *accounts, *by_hand})
    ]


def standing_of(*, account: BankAccount) -> AccountStanding:
    """Return how an account stands; where no statement has balances, its lines alone say so."""
    lines = BankLine.objects.filter(account=account)
    first, newest = _first_and_newest(with_balances(account=account))
    moved = _sum(lines, account)
    if first is None or newest is None:
        return AccountStanding(account, Money(0, account.currency), moved, moved, None)
    # What was moved before the first balance, by files without any, is in that balance.
    before = _sum(lines.filter(booked_on__lt=first.from_date), account)
    later = _sum(lines.filter(booked_on__gt=newest.to_date), account)
    return AccountStanding(
        account,
        round_money(first.opening or NOTHING, account.currency) - before,
        moved,
        round_money(newest.closing or NOTHING, account.currency) + later,
        newest.to_date,
    )


def _first_and_newest(stated: QuerySet[BankStatement]) -> tuple[BankStatement | None, BankStatement | None]:
    """Return the statements that begin and end the row: pages of one day go by their balances, in whichever order they came."""
    earliest, latest = stated.order_by("from_date", "id").first(), stated.order_by("to_date", "id").last()
    if earliest is None or latest is None:
        return None, None
    begins = list(stated.filter(from_date=earliest.from_date).order_by("id"))
    ends = list(stated.filter(to_date=latest.to_date).order_by("-id"))
    closings = {(one.pk, one.closing) for one in begins}
    openings = {(one.pk, one.opening) for one in ends}
    first = next((one for one in begins if not _among(one, one.opening, closings)), earliest)
    newest = next((one for one in ends if not _among(one, one.closing, openings)), latest)
    return first, newest


def _among(one: BankStatement, balance: Decimal | None, balances: set[tuple[int, Decimal | None]]) -> bool:
    return any(key != one.pk and other == balance for key, other in balances)


def with_balances(*, account: BankAccount) -> QuerySet[BankStatement]:
    """Return the statements of an account that state balances."""
    return BankStatement.objects.filter(account=account, opening__isnull=False)


def gap_before(*, statement: BankStatement) -> Money | None:
    """Return what a statement's opening balance says beyond all that was known before it; None where nothing came before, or no balance is stated.

    It follows another where it opens as that closed, or as that opened and the lines until then come to.
    """
    stated = with_balances(account=statement.account)
    first = stated.order_by("from_date", "id").first()
    if statement.opening is None or first is None or first.pk == statement.pk:
        return None
    nothing = Money(0, statement.currency)
    earlier = stated.exclude(pk=statement.pk).filter(from_date__lte=statement.from_date)
    if (
        earlier.filter(closing=statement.opening).exists()
        or earlier.filter(opening=statement.opening, from_date=statement.from_date).exists()
    ):
        return nothing
    lines = BankLine.objects.filter(
        account=statement.account, booked_on__gte=first.from_date, booked_on__lt=statement.from_date
    )
    expected = round_money(first.opening or NOTHING, statement.currency) + _sum(lines, statement.account)
    return round_money(statement.opening, statement.currency) - expected


def check_new_lines(
    *,
    account: BankAccount,
    statement: Statement,
    new: Sequence[StatementLine],
    of_format: tuple[str, Mapping[str, str]],
) -> None:
    """Raise StatementFault where new lines, not stored yet, are likely those that are here already, written otherwise.

    Formats write the same line in different words: on days that came in another one, or by another layout, no new line is believed. And
    where nothing is missing before a statement, all lines come to its closing balance.
    """
    if not new:
        return
    days = [line.booked_on for line in new]
    file_format, layout = of_format
    others = BankStatement.objects.filter(account=account, from_date__lte=max(days), to_date__gte=min(days))
    for other in others.exclude(file__format=file_format, file__layout=dict(layout)).select_related("file"):
        if any(other.from_date <= day <= other.to_date for day in days):
            message = (
                f"the days {other.from_date} to {other.to_date} of {account} are here already by {other.file}, which is written otherwise"
                f" ({other.file.get_format_display()}): each line of them would be booked twice. Leave these days out, or export them as that"
            )
            raise StatementFault(message, place=statement.lines[0].place)
    beyond = _beyond_closing(account, statement, new)
    if beyond.amount:
        message = (
            f"with its {len(new)} new lines the account would stand {beyond.amount} {beyond.currency} beyond the closing balance, though"
            " nothing is missing before: lines of these days are here already with other words, or not in this file. Ask the bank for the"
            " file of these days again, and look at the lines that are here"
        )
        raise StatementFault(message, place=statement.lines[0].place)


def _beyond_closing(account: BankAccount, statement: Statement, new: Sequence[StatementLine]) -> Money:
    """Return what all lines would come to beyond a closing balance; nothing where no balance or a gap lets nobody say."""
    nothing = Money(0, account.currency)
    stated = with_balances(account=account)
    first = stated.order_by("from_date", "id").first()
    if first is None or statement.opening is None or statement.closing is None or not statement.lines:
        return nothing
    days = [line.booked_on for line in statement.lines]
    others = stated.filter(from_date__lte=max(days), to_date__gte=max(days))
    # A page of the same last day: which of its lines came before nobody says.
    if min(days) < first.from_date or others.exclude(closing=statement.closing.amount).exists():
        return nothing
    lines = BankLine.objects.filter(account=account, booked_on__gte=first.from_date)
    begun = round_money(first.opening or NOTHING, account.currency)
    before = begun + _sum(lines.filter(booked_on__lt=min(days)), account)
    if (
        before + total((line.amount for line in new if line.booked_on < min(days)), account.currency)
        != statement.opening
    ):
        return nothing
    after = begun + _sum(lines.filter(booked_on__lte=max(days)), account)
    return (
        after
        + total((line.amount for line in new if line.booked_on <= max(days)), account.currency)
        - statement.closing
    )


def _sum(lines: QuerySet[BankLine], account: BankAccount) -> Money:
    return round_money(lines.aggregate(amount=Sum("amount"))["amount"] or NOTHING, account.currency)
