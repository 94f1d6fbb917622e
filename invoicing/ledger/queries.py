"""What may be asked of the books."""

from dataclasses import dataclass

from django.db.models import Count, F, Q, Sum
from moneyed import Money

from billing_site.kernel.money import round_money
from invoicing.ledger.models import JournalEntry, Posting


@dataclass(frozen=True)
class Balance:
    """What stands on one account in one currency: debit positive."""

    account: str
    name: str
    amount: Money


def trial_balance() -> list[Balance]:
    """Return every account's balance by currency; each currency sums to zero."""
    rows = (
        Posting.objects.values("account__code", "account__name", "currency")
        .annotate(balance=Sum("amount"))
        .order_by("currency", "account__code")
    )
    return [
        Balance(row["account__code"], row["account__name"], round_money(row["balance"], row["currency"]))
        for row in rows
    ]


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
