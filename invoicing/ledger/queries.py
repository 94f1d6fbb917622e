"""What may be asked of the books: balances at any moment, what moved in a span, and the entries themselves."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from django.db.models import Count, F, Max, Min, Prefetch, Q, QuerySet, Sum
from moneyed import Money

from billing_site.kernel.money import round_money
from billing_site.kernel.period import Period
from invoicing.ledger.models import Account, JournalEntry, Posting

CHUNK = 2_000
NOTHING = Decimal(0)


@dataclass(frozen=True)
class Balance:
    """What stands on one account in one currency: debit positive."""

    account: str
    name: str
    amount: Money


@dataclass(frozen=True)
class AccountMovement:
    """What one account in one currency had before a span, and what was debited and credited in it (`credit` is not negative)."""

    account: str
    name: str
    opening: Money
    debit: Money
    credit: Money

    @property
    def closing(self) -> Money:
        """What it has after the span."""
        return self.opening + self.debit - self.credit


def trial_balance() -> list[Balance]:
    """Return every account's balance by currency, whatever the time; each currency sums to zero."""
    return _balances(Posting.objects.all())


def balances_before(*, moment: datetime) -> list[Balance]:
    """Return every account's balance by currency of all that happened before a moment; each currency sums to zero."""
    return _balances(Posting.objects.filter(entry__occurred_at__lt=moment))


def balance_of(*, account: str, before: datetime) -> dict[str, Money]:
    """Return what one account has in each currency of all that happened before a moment."""
    rows = Posting.objects.filter(account__code=account, entry__occurred_at__lt=before)
    return {one.amount.currency.code: one.amount for one in _balances(rows)}


def movements_in(*, span: Period, account: str = "") -> list[AccountMovement]:
    """Return what moved on every account in a span, or on one, by currency, with the balance before it."""
    postings = Posting.objects.filter(account__code=account) if account else Posting.objects.all()
    before = Q(entry__occurred_at__lt=span.start)
    within = Q(entry__occurred_at__gte=span.start)
    rows = (
        postings.filter(entry__occurred_at__lt=span.end)
        .values("account__code", "account__name", "currency")
        .annotate(
            opening=Sum("amount", filter=before),
            debit=Sum("amount", filter=within & Q(amount__gt=0)),
            credit=Sum("amount", filter=within & Q(amount__lt=0)),
        )
        .order_by("currency", "account__code")
    )
    return [
        AccountMovement(
            row["account__code"],
            row["account__name"],
            round_money(row["opening"] or NOTHING, row["currency"]),
            round_money(row["debit"] or NOTHING, row["currency"]),
            round_money(-(row["credit"] or NOTHING), row["currency"]),
        )
        for row in rows
    ]


def entries_in(*, span: Period, currency: str = "") -> Iterator[JournalEntry]:
    """Yield the journal entries of a span as they happened, each with its postings in order; of one currency only where it is given."""
    entries = JournalEntry.objects.filter(occurred_at__gte=span.start, occurred_at__lt=span.end)
    if currency:
        entries = entries.filter(currency=currency)
    postings = Prefetch("postings", Posting.objects.select_related("account").order_by("id"))
    return entries.order_by("occurred_at", "id").prefetch_related(postings).iterator(chunk_size=CHUNK)


def currencies_booked() -> list[str]:
    """Return the currencies in which there are entries."""
    return list(JournalEntry.objects.order_by("currency").values_list("currency", flat=True).distinct())


def currencies_booked_in(*, span: Period) -> list[str]:
    """Return the currencies in which there are entries of a span."""
    entries = JournalEntry.objects.filter(occurred_at__gte=span.start, occurred_at__lt=span.end)
    return list(entries.order_by("currency").values_list("currency", flat=True).distinct())


def days_booked() -> tuple[date, date] | None:
    """Return the days (UTC) of the first and the last entry, or None where there is none."""
    ends = JournalEntry.objects.aggregate(first=Min("occurred_at"), last=Max("occurred_at"))
    return None if ends["first"] is None else (ends["first"].date(), ends["last"].date())


def accounts_booked_in(*, span: Period) -> set[str]:
    """Return the codes of the accounts on which something was posted in a span."""
    within = Posting.objects.filter(entry__occurred_at__gte=span.start, entry__occurred_at__lt=span.end)
    return set(within.values_list("account__code", flat=True).distinct())


def account_by_code(*, code: str) -> Account | None:
    """Return an account of the chart, or None."""
    return Account.objects.filter(code=code).first()


def unbalanced_entries() -> list[JournalEntry]:
    """Return the entries whose postings do not sum to zero or are of another currency; there should be none."""
    return list(
        JournalEntry.objects.annotate(
            balance=Sum("postings__amount"),
            sides=Count("postings"),
            stray=Count("postings", filter=~Q(postings__currency=F("currency"))),
        )
        .filter(~Q(balance=0) | Q(balance__isnull=True) | Q(sides__lt=2) | Q(stray__gt=0))
        .order_by("id")
    )


def _balances(postings: "QuerySet[Posting]") -> list[Balance]:
    rows = (
        postings.values("account__code", "account__name", "currency")
        .annotate(balance=Sum("amount"))
        .order_by("currency", "account__code")
    )
    return [
        Balance(row["account__code"], row["account__name"], round_money(row["balance"], row["currency"]))
        for row in rows
    ]
