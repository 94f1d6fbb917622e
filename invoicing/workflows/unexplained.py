"""What moved Stripe's balance and nothing explains: counted and summed by the database, named page by page, however much there is."""

from dataclasses import dataclass
from datetime import datetime

from django.db import connection
from moneyed import Money

from billing_site.kernel.money import round_money
from invoicing.payments.payout import GONE_BACK, StripeTransaction
from invoicing.workflows.explain_payouts import (
    CHARGES,
    FEES,
    OF_DISPUTES,
    PAYOUTS,
    PAYOUTS_BACK,
    REFUNDS,
    Explained,
    explained,
)

# So many are named at once; the queue in the admin has pages.
NAMED_MAX = 100
_SIGNS = " ".join(f"WHEN '{kind}' THEN {sign}" for kind, sign in OF_DISPUTES.items())
# The parts of what `explain_payouts` finds booked of each, in SQL; a test holds the two against each other.
_SUMS = f"""
    WITH waiting AS (
        SELECT id, stripe_id, source, kind, currency, net, fee, created_at FROM invoicing_stripetransaction WHERE explained_at IS NULL
    ), part AS (
        SELECT waiting.id, payment.currency, payment.amount FROM waiting
          JOIN invoicing_payment payment ON payment.channel = 'stripe' AND payment.reference = waiting.source
         WHERE waiting.kind = ANY(%(charges)s)
        UNION ALL
        SELECT waiting.id, refund.currency, -refund.amount FROM waiting
          JOIN invoicing_refund refund ON refund.channel = 'stripe' AND refund.status = 'paid' AND refund.reference = waiting.source
         WHERE waiting.kind = ANY(%(refunds)s)
        UNION ALL
        SELECT waiting.id, moved.currency, moved.amount * CASE moved.kind {_SIGNS} END FROM waiting
          JOIN invoicing_disputemovement moved ON moved.reference IN (waiting.stripe_id, waiting.stripe_id || '/fee')
        UNION ALL
        SELECT waiting.id, payout.currency, CASE WHEN waiting.kind = ANY(%(payouts)s) THEN -payout.amount ELSE payout.amount END FROM waiting
          JOIN invoicing_payout payout ON payout.stripe_id = waiting.source
         WHERE waiting.kind = ANY(%(payouts)s) OR waiting.kind = ANY(%(back)s) AND payout.status = ANY(%(gone)s)
        UNION ALL
        SELECT id, currency, CASE WHEN kind = ANY(%(fees)s) THEN net ELSE -fee END FROM waiting
         WHERE kind = ANY(%(fees)s) OR kind = ANY(%(charges)s) OR kind = ANY(%(refunds)s)
        UNION ALL
        SELECT waiting.id, said.currency, said.amount FROM waiting
          JOIN invoicing_transactionexplanation said ON said.transaction_id = waiting.id
    ), booked AS (
        SELECT waiting.id, sum(part.amount) AS amount FROM waiting
          JOIN part ON part.id = waiting.id AND part.currency = waiting.currency GROUP BY waiting.id
    )
    SELECT waiting.currency, count(*), min(waiting.created_at), array_agg(DISTINCT waiting.kind),
           sum(waiting.net - coalesce(booked.amount, 0))
      FROM waiting LEFT JOIN booked ON booked.id = waiting.id GROUP BY waiting.currency ORDER BY waiting.currency
"""


@dataclass(frozen=True)
class Unexplained:
    """One currency: how many transactions nothing explains, since when, of which kinds, and what is left of them together."""

    currency: str
    count: int
    oldest: datetime
    kinds: tuple[str, ...]
    difference: Money


def unexplained_sums() -> list[Unexplained]:
    """Return what nothing explains, by currency: one query, a row a currency."""
    asked = {
        "charges": [*CHARGES],
        "refunds": [*REFUNDS],
        "payouts": [*PAYOUTS],
        "back": [*PAYOUTS_BACK],
        "gone": [status.value for status in GONE_BACK],
        "fees": [*FEES],
    }
    with connection.cursor() as cursor:
        cursor.execute(_SUMS, asked)
        rows = cursor.fetchall()
    return [
        Unexplained(currency, count, oldest, tuple(sorted(kinds)), round_money(left, currency))
        for currency, count, oldest, kinds, left in rows
    ]


def unexplained(*, before: datetime | None = None) -> list[Explained]:
    """Return the oldest transactions that nothing explains, so many, with what is left of each; of before a moment where one is given."""
    rows = StripeTransaction.objects.filter(explained_at__isnull=True).select_related("payout")
    if before is not None:
        rows = rows.filter(created_at__lt=before)
    return explained(transactions=rows.order_by("created_at", "id")[:NAMED_MAX])
