"""What may be asked of the books: balances at any moment, what moved in a span, and the entries themselves."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from django.db import connection
from django.db.models import Count, Exists, F, Max, Min, OuterRef, Prefetch, Q, QuerySet, Sum
from moneyed import Money

from billing_site.kernel.money import round_money
from billing_site.kernel.period import Period
from invoicing.entities.models import LegalEntity
from invoicing.ledger.models import Account, Books, JournalEntry, Posting

CHUNK = 2_000
NOTHING = Decimal(0)
# The number of an entry, the key of a legal entity, a currency, and what its postings come to.
Unbalanced = tuple[int, str, str, Decimal]
_summed: "ContextVar[dict[str, list[Balance]] | None]" = ContextVar("summed", default=None)


@dataclass(frozen=True)
class Balance:
    """What stands on one account in one currency: debit positive."""

    account: str
    name: str
    amount: Money


@dataclass(frozen=True)
class JournalFigures:
    """What a span of the journal is: how many entries and postings, what was debited by currency, and the digest of all of it."""

    entries: int
    postings: int
    debited: dict[str, Money]
    digest: str


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


def books_open_from() -> datetime | None:
    """Return the moment from which the books are open; None as long as no month is closed."""
    return Books.objects.filter(pk=1).values_list("open_from", flat=True).first()


def postings_of(*, entity: str) -> "QuerySet[Posting]":
    """Return the postings in the books of the legal entity with this key, or, where it is empty, those of all."""
    return Posting.objects.filter(legal_entity__key=entity) if entity else Posting.objects.all()


def entities_booked(*, span: Period | None = None) -> list[str]:
    """Return the keys of the legal entities in whose books something is booked, at all or in a span, the first first."""
    booked = Posting.objects.filter(legal_entity=OuterRef("key"))
    if span is not None:
        booked = booked.filter(entry__booked_at__gte=span.start, entry__booked_at__lt=span.end)
    return list(LegalEntity.objects.filter(Exists(booked)).order_by("pk").values_list("key", flat=True))


def trial_balance(*, entity: str = "") -> list[Balance]:
    """Return every account's balance by currency, whatever the time, of one legal entity where it is given; each currency sums to zero."""
    summed = _summed.get()
    if summed is None:
        return _balances(postings_of(entity=entity))
    if entity not in summed:
        summed[entity] = _balances(postings_of(entity=entity))
    return list(summed[entity])


@contextmanager
def books_stand_still() -> Iterator[None]:
    """Sum the trial balance once for all who ask for it meanwhile: for who sees one moment, and books nothing."""
    token = _summed.set({})
    try:
        yield
    finally:
        _summed.reset(token)


def balances_before(*, moment: datetime, entity: str = "") -> list[Balance]:
    """Return every account's balance by currency of all that is booked before a moment, as above; each currency sums to zero."""
    return _balances(postings_of(entity=entity).filter(entry__booked_at__lt=moment))


def balance_of(*, account: str, before: datetime, entity: str = "") -> dict[str, Money]:
    """Return what one account has in each currency of all that is booked before a moment, as above."""
    rows = postings_of(entity=entity).filter(account__code=account, entry__booked_at__lt=before)
    return {one.amount.currency.code: one.amount for one in _balances(rows)}


def movements_in(*, span: Period, account: str = "", entity: str = "") -> list[AccountMovement]:
    """Return what moved on every account in a span, or on one, by currency, with the balance before it; of one legal entity where it is given."""
    postings = postings_of(entity=entity)
    if account:
        postings = postings.filter(account__code=account)
    before = Q(entry__booked_at__lt=span.start)
    within = Q(entry__booked_at__gte=span.start)
    rows = (
        postings.filter(entry__booked_at__lt=span.end)
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


def entries_in(*, span: Period, currency: str = "", entity: str = "") -> Iterator[JournalEntry]:
    """Yield the journal entries of a span as they are booked, each with its postings in order; of one currency, or of one legal entity and with
    its postings alone, where these are given.
    """
    entries = JournalEntry.objects.filter(booked_at__gte=span.start, booked_at__lt=span.end)
    if currency:
        entries = entries.filter(currency=currency)
    if entity:
        entries = entries.filter(Exists(postings_of(entity=entity).filter(entry=OuterRef("pk"))))
    postings = Prefetch("postings", postings_of(entity=entity).select_related("account").order_by("id"))
    return entries.order_by("booked_at", "id").prefetch_related(postings).iterator(chunk_size=CHUNK)


def journal_figures(*, span: Period, entity: str = "") -> JournalFigures:
    """Return what the journal of a span comes to; its digest covers every entry and posting, in order, and is made by the database.

    Of one legal entity, where it is given, that is its postings with their entries.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(DISTINCT entry.id), count(*), encode(sha256(coalesce(string_agg(sha256(convert_to(jsonb_build_array(
                       entry.id, entry.kind, entry.reference, entry.currency, entry.description,
                       extract(epoch FROM entry.occurred_at)::text, extract(epoch FROM entry.booked_at)::text,
                       account.code, posting.currency, posting.amount::text)::text, 'UTF8')), ''::bytea
                       ORDER BY entry.booked_at, entry.id, posting.id), ''::bytea)), 'hex')
              FROM invoicing_journalentry entry
              LEFT JOIN invoicing_posting posting ON posting.entry_id = entry.id
              LEFT JOIN invoicing_account account ON account.id = posting.account_id
             WHERE entry.booked_at >= %s AND entry.booked_at < %s AND (%s = '' OR posting.legal_entity_id = %s)
            """,
            [span.start, span.end, entity, entity],
        )
        entries, postings, digest = cursor.fetchone()
    debits = postings_of(entity=entity).filter(
        entry__booked_at__gte=span.start, entry__booked_at__lt=span.end, amount__gt=0
    )
    sums = debits.values_list("currency").annotate(sum=Sum("amount")).order_by("currency")
    return JournalFigures(entries, postings, {code: round_money(amount, code) for code, amount in sums}, digest)


def currencies_booked() -> list[str]:
    """Return the currencies in which there are entries."""
    return list(JournalEntry.objects.order_by("currency").values_list("currency", flat=True).distinct())


def currencies_booked_in(*, span: Period, entity: str = "") -> list[str]:
    """Return the currencies in which there are entries of a span, of one legal entity where it is given."""
    entries = JournalEntry.objects.filter(booked_at__gte=span.start, booked_at__lt=span.end)
    if entity:
        entries = entries.filter(Exists(postings_of(entity=entity).filter(entry=OuterRef("pk"))))
    return list(entries.order_by("currency").values_list("currency", flat=True).distinct())


def days_booked() -> tuple[date, date] | None:
    """Return the days (UTC) of the first and the last entry, or None where there is none."""
    ends = JournalEntry.objects.aggregate(first=Min("booked_at"), last=Max("booked_at"))
    return None if ends["first"] is None else (ends["first"].date(), ends["last"].date())


def accounts_booked_in(*, span: Period, entity: str = "") -> set[str]:
    """Return the codes of the accounts on which something was posted in a span, by one legal entity where it is given."""
    within = postings_of(entity=entity).filter(entry__booked_at__gte=span.start, entry__booked_at__lt=span.end)
    return set(within.values_list("account__code", flat=True).distinct())


def account_by_code(*, code: str) -> Account | None:
    """Return an account of the chart, or None."""
    return Account.objects.filter(code=code).first()


def unbalanced_entries(*, for_entities: "Sequence[Unbalanced] | None" = None) -> list[JournalEntry]:
    """Return the entries whose postings do not sum to zero, over all or for a legal entity, or are of another currency; there should be none.

    `for_entities` is what `unbalanced_for_entities` has told, of whoever has asked already: both read all postings.
    """
    of_entities = {entry for entry, *_ in (unbalanced_for_entities() if for_entities is None else for_entities)}
    return list(
        JournalEntry.objects.annotate(
            balance=Sum("postings__amount"),
            sides=Count("postings"),
            stray=Count("postings", filter=~Q(postings__currency=F("currency"))),
        )
        .filter(~Q(balance=0) | Q(balance__isnull=True) | Q(sides__lt=2) | Q(stray__gt=0) | Q(pk__in=of_entities))
        .order_by("id")
    )


def unbalanced_for_entities() -> list[Unbalanced]:
    """Return (number of an entry, key of a legal entity, currency, what its postings come to) where that is not nothing; there should be none."""
    sums = Posting.objects.values_list("entry", "legal_entity__key", "currency").annotate(sum=Sum("amount"))
    return list(sums.exclude(sum=0).order_by("entry", "legal_entity", "currency"))


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
