"""The bank account of the books against the statements, by currency: to the cent, with what explains each difference."""

from dataclasses import dataclass
from datetime import date

from django.db.models import QuerySet, Sum
from moneyed import Money

from billing_site.kernel.money import round_money, total
from invoicing.bank.models import BankAccount, BankLine, BankStatement
from invoicing.bank.queries import NOTHING, BookedMovement, movements_on_no_statement
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
    stated = with_balances(account=account)
    first, newest = stated.order_by("from_date", "id").first(), stated.order_by("to_date", "id").last()
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


def _sum(lines: QuerySet[BankLine], account: BankAccount) -> Money:
    return round_money(lines.aggregate(amount=Sum("amount"))["amount"] or NOTHING, account.currency)
