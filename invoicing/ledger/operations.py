"""What may happen in the books: an entry is posted once, balanced, for ever."""

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction
from moneyed import Money

from billing_site.kernel import money
from invoicing.core.posting import (
    ACCOUNT_NAMES,
    BANK,
    BREAKAGE,
    CREDIT_BREAKAGE,
    DEFERRED,
    PREPAID,
    PREPAID_CREDIT,
    PROMOTIONAL_CREDIT,
    RECEIVABLE,
    REFUNDS_PAYABLE,
    REVENUE,
    STRIPE_CLEARING,
    TAX_PAYABLE,
    PostingLine,
)
from invoicing.ledger.models import Account, JournalEntry, Posting

CHART_OF_ACCOUNTS = {
    code: (ACCOUNT_NAMES[code], kind)
    for code, kind in (
        (BANK, Account.Kind.ASSET),
        (STRIPE_CLEARING, Account.Kind.ASSET),
        (RECEIVABLE, Account.Kind.ASSET),
        (PREPAID, Account.Kind.LIABILITY),
        (PREPAID_CREDIT, Account.Kind.LIABILITY),
        (DEFERRED, Account.Kind.LIABILITY),
        (TAX_PAYABLE, Account.Kind.LIABILITY),
        (REFUNDS_PAYABLE, Account.Kind.LIABILITY),
        (REVENUE, Account.Kind.REVENUE),
        (PROMOTIONAL_CREDIT, Account.Kind.REVENUE),
        (BREAKAGE, Account.Kind.REVENUE),
        (CREDIT_BREAKAGE, Account.Kind.REVENUE),
    )
}


def ensure_accounts() -> dict[str, Account]:
    """Make sure that every account of the chart exists and return them by code."""
    Account.objects.bulk_create(
        [Account(code=code, name=name, kind=kind) for code, (name, kind) in CHART_OF_ACCOUNTS.items()],
        ignore_conflicts=True,
    )
    return {account.code: account for account in Account.objects.filter(code__in=CHART_OF_ACCOUNTS)}


@transaction.atomic
def post_entry(
    *, kind: str, reference: str, postings: Sequence[PostingLine], description: str, occurred_at: datetime
) -> JournalEntry:
    """Write one balanced journal entry (S0-118); the same kind and reference a second time changes nothing.

    Debits are positive, credits negative. The database refuses an entry that does not sum to zero. An
    entry that exists with other postings is another fact under the same name: a broken promise of the caller.
    """
    assert postings, "an entry without postings says nothing"
    currency = postings[0].amount.currency.code
    assert money.total((line.amount for line in postings), currency) == Money(0, currency), "debits must equal credits"

    entry, created = JournalEntry.objects.get_or_create(
        kind=kind,
        reference=reference,
        defaults={"currency": currency, "description": description, "occurred_at": occurred_at},
    )
    if created:
        accounts = {account.code: account for account in Account.objects.filter(code__in={p.account for p in postings})}
        if len(accounts) < len({line.account for line in postings}):
            accounts = ensure_accounts()
        Posting.objects.bulk_create(
            [
                Posting(entry=entry, account=accounts[line.account], currency=currency, amount=line.amount)
                for line in postings
            ]
        )
    else:
        written = [(p.account.code, p.amount) for p in entry.postings.select_related("account").order_by("id")]
        wanted = [(line.account, line.amount) for line in postings]
        assert written == wanted, f"{kind} {reference} is in the books with other postings"
    return entry
