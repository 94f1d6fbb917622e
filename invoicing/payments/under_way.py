"""Payments that are begun at Stripe and not decided: a direct debit takes days, in which its payer is asked for nothing."""

from collections.abc import Collection
from datetime import datetime

from billing_site.kernel.among import among
from billing_site.kernel.written_query import WrittenQuery
from invoicing.payments.models import PushIntent
from invoicing.payments.remote import RemoteInvoice


def note_under_way(*, present: RemoteInvoice, invoice_id: int, at: datetime) -> bool:
    """Keep since when a payment of an invoice is under way, as Stripe says now; returns whether one that was so is decided."""
    intents = PushIntent.objects.filter(invoice=invoice_id)
    if present.is_under_way:
        intents.filter(under_way_since=None).update(under_way_since=at)
        return False
    return intents.exclude(under_way_since=None).update(under_way_since=None) > 0


def under_way(*, invoice_ids: Collection[int]) -> set[int]:
    """Return those of the invoices of which a payment is under way, as Stripe said last; one query."""
    return {number for (number,) in _UNDER_WAY.rows(invoices=list(invoice_ids))} if invoice_ids else set()


_UNDER_WAY = WrittenQuery(
    lambda invoices: PushIntent.objects.filter(among("invoice", invoices), under_way_since__isnull=False).values_list(
        "invoice"
    ),
    invoices=list,
)
