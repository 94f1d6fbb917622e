"""What may happen in the books: an entry is posted once, balanced, for ever."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Prefetch
from moneyed import Money

from billing_site.kernel import money
from billing_site.kernel.among import among
from billing_site.kernel.bulk import insert_rows
from billing_site.kernel.new_row import new_row
from invoicing.core.posting import (
    ACCOUNT_NAMES,
    AT_STRIPE,
    BAD_DEBT,
    BANK,
    BANK_FEES,
    BREAKAGE,
    CREDIT_BREAKAGE,
    DEFERRED,
    DISPUTE_FEES,
    DISPUTE_LOSSES,
    DISPUTED,
    ELSEWHERE,
    INTERCOMPANY,
    ON_ACCOUNT,
    PAYMENT_FEES,
    PAYOUTS_IN_TRANSIT,
    PREPAID,
    PREPAID_CREDIT,
    PROMOTIONAL_CREDIT,
    RECEIVABLE,
    REFUNDS_PAYABLE,
    REVENUE,
    STRIPE_CLEARING,
    TAX_PAYABLE,
    UNIDENTIFIED,
    EntityLine,
    PostingLine,
    divided,
)
from invoicing.entities.operations import entity_by_key
from invoicing.ledger.models import Account, Books, JournalEntry, Posting

CHART_OF_ACCOUNTS = {
    code: (ACCOUNT_NAMES[code], kind)
    for code, kind in (
        (BANK, Account.Kind.ASSET),
        (STRIPE_CLEARING, Account.Kind.ASSET),
        (PAYOUTS_IN_TRANSIT, Account.Kind.ASSET),
        (DISPUTED, Account.Kind.ASSET),
        (RECEIVABLE, Account.Kind.ASSET),
        (INTERCOMPANY, Account.Kind.ASSET),
        (ELSEWHERE, Account.Kind.ASSET),
        (PREPAID, Account.Kind.LIABILITY),
        (PREPAID_CREDIT, Account.Kind.LIABILITY),
        (ON_ACCOUNT, Account.Kind.LIABILITY),
        (DEFERRED, Account.Kind.LIABILITY),
        (TAX_PAYABLE, Account.Kind.LIABILITY),
        (REFUNDS_PAYABLE, Account.Kind.LIABILITY),
        (UNIDENTIFIED, Account.Kind.LIABILITY),
        (REVENUE, Account.Kind.REVENUE),
        (PROMOTIONAL_CREDIT, Account.Kind.REVENUE),
        (BREAKAGE, Account.Kind.REVENUE),
        (CREDIT_BREAKAGE, Account.Kind.REVENUE),
        (BAD_DEBT, Account.Kind.EXPENSE),
        (DISPUTE_LOSSES, Account.Kind.EXPENSE),
        (DISPUTE_FEES, Account.Kind.EXPENSE),
        (BANK_FEES, Account.Kind.EXPENSE),
        (PAYMENT_FEES, Account.Kind.EXPENSE),
    )
}


def ensure_accounts() -> dict[str, Account]:
    """Make sure that every account of the chart exists and return them by code."""
    Account.objects.bulk_create(
        [Account(code=code, name=name, kind=kind) for code, (name, kind) in CHART_OF_ACCOUNTS.items()],
        ignore_conflicts=True,
    )
    return {account.code: account for account in Account.objects.filter(code__in=CHART_OF_ACCOUNTS)}


@dataclass(frozen=True)
class NewEntry:
    """A journal entry to be written: debits are positive, credits negative. `kind` and `reference` name the fact.

    `entity` is the key of the legal entity whose fact it is; `held` says of accounts in it who else holds them: a bank account is of one company.
    """

    kind: str
    reference: str
    postings: Sequence[PostingLine]
    description: str
    occurred_at: datetime
    entity: str
    held: Mapping[str, str] = field(default_factory=dict)

    @property
    def currency(self) -> str:
        """The one currency of its postings."""
        return self.postings[0].amount.currency.code


def stripe_holder() -> str:
    """Return the key of the legal entity that has the account at Stripe."""
    return str(settings.STRIPE_LEGAL_ENTITY)


def post_entry(
    *,
    kind: str,
    reference: str,
    postings: Sequence[PostingLine],
    description: str,
    occurred_at: datetime,
    entity: str,
    held: Mapping[str, str] | None = None,
) -> JournalEntry:
    """Write one balanced journal entry (S0-118), as `post_entries` does."""
    [entry] = post_entries(entries=[NewEntry(kind, reference, postings, description, occurred_at, entity, held or {})])
    return entry


@transaction.atomic
def post_entries(*, entries: Sequence[NewEntry]) -> list[JournalEntry]:
    """Write balanced journal entries (S0-118); the same kind and reference a second time changes nothing.

    Here, and nowhere else, an entry is divided among the legal entities that hold what it moves (`core.posting.divided`).
    The database refuses an entry that does not sum to zero for each of them, and books it when it happened, or as the first open month begins: nobody
    else decides it (`booked_at`). An entry that exists with other postings is another fact under the same name: a broken promise of
    the caller. The number of queries does not grow with the entries; what the database says of new ones is not read back.
    """
    for entry in entries:
        assert entry.postings, "an entry without postings says nothing"
        owed = money.total((line.amount for line in entry.postings), entry.currency)
        assert owed == Money(0, entry.currency), "debits must equal credits"
    written = _written(entries)
    missing = [entry for entry in entries if (entry.kind, entry.reference) not in written]
    created = [_row(entry) for entry in missing]
    try:
        with transaction.atomic():
            insert_rows(created)
    except IntegrityError:
        # Somebody wrote one of them at the same moment: then it is there by now.
        if len(_written(entries)) == len(written):
            raise
        return post_entries(entries=entries)
    _post(missing, created)
    for entry in entries:
        if (there := written.get((entry.kind, entry.reference))) is not None:
            # Who holds an account may be another by now: what stands between companies follows from that.
            rows = [posting for posting in there.postings.all() if posting.account.code != INTERCOMPANY]
            said = [(posting.account.code, posting.amount) for posting in rows]
            wanted = [(line.account, line.amount) for line in entry.postings]
            assert said == wanted, f"{entry.kind} {entry.reference} is in the books with other postings"
    written |= {(row.kind, row.reference): row for row in created}
    return [written[entry.kind, entry.reference] for entry in entries]


def _row(entry: NewEntry) -> JournalEntry:
    return new_row(
        JournalEntry,
        kind=entry.kind,
        reference=entry.reference,
        currency=entry.currency,
        description=entry.description,
        occurred_at=entry.occurred_at,
    )


def _written(entries: Sequence[NewEntry]) -> dict[tuple[str, str], JournalEntry]:
    """Return those of some entries that are in the books, with their postings."""
    postings = Posting.objects.select_related("account").order_by("id")
    rows = JournalEntry.objects.filter(
        among("reference", [entry.reference for entry in entries]), kind__in={entry.kind for entry in entries}
    )
    return {(row.kind, row.reference): row for row in rows.prefetch_related(Prefetch("postings", postings))}


def _post(entries: Sequence[NewEntry], rows: Sequence[JournalEntry]) -> None:
    divisions = [_divided(entry) for entry in entries]
    codes = {one.line.account for lines in divisions for one in lines}
    accounts = {account.code: account for account in Account.objects.filter(code__in=codes)}
    if len(accounts) < len(codes):
        accounts = ensure_accounts()
    if codes & set(AT_STRIPE):
        # Refused by its name where the settings name none.
        entity_by_key(key=stripe_holder(), field="STRIPE_LEGAL_ENTITY")
    numbers = {code: account.pk for code, account in accounts.items()}
    insert_rows(
        [
            new_row(
                Posting,
                entry_id=row.pk,
                account_id=numbers[one.line.account],
                legal_entity_id=one.entity,
                currency=entry.currency,
                amount=one.line.amount,
            )
            for entry, row, lines in zip(entries, rows, divisions, strict=True)
            for one in lines
        ]
    )


def _divided(entry: NewEntry) -> tuple[EntityLine, ...]:
    holders = {**dict.fromkeys(AT_STRIPE, stripe_holder()), **entry.held}
    return divided(postings=entry.postings, entity=entry.entity, holders=holders)


def lock_books() -> Books:
    """Lock the state of the books for whoever closes or opens a month: who posts has committed, or waits."""
    if not Books.objects.exists():
        Books.objects.bulk_create([Books()], ignore_conflicts=True)
    return Books.objects.select_for_update().get()
