"""The journal entries behind an invoice: of its issue, payments, credit notes, write-offs and disputes."""

from typing import Any

from invoicing.admin.dispute_words import dispute_entries
from invoicing.credit_notes.models import CreditNote
from invoicing.invoices.models import Invoice
from invoicing.ledger.models import JournalEntry
from invoicing.payments.dispute import Dispute
from invoicing.payments.models import Payment
from invoicing.write_offs.models import WriteOff

OF_PAYMENTS = (JournalEntry.Kind.PAYMENT, JournalEntry.Kind.PAYMENT_REVERSAL)


def entries_of(
    *,
    invoice: Invoice,
    payments: list[Payment],
    notes: list[CreditNote],
    write_offs: list[WriteOff],
    disputes: list[Dispute],
) -> list[JournalEntry]:
    """Return the journal entries that an invoice has made, oldest first."""
    if invoice.number is None:
        return []
    payment_references = [f"{payment.channel}:{payment.reference}" for payment in payments]
    issue = JournalEntry.objects.filter(kind=JournalEntry.Kind.ISSUE, reference=invoice.number)
    paid = JournalEntry.objects.filter(kind__in=OF_PAYMENTS, reference__in=payment_references)
    reversed_ = JournalEntry.objects.filter(kind=JournalEntry.Kind.REVERSAL, reference=invoice.number)
    credited = JournalEntry.objects.filter(kind=JournalEntry.Kind.CREDIT_NOTE, reference__in=[n.number for n in notes])
    given_up = JournalEntry.objects.filter(
        kind=JournalEntry.Kind.WRITE_OFF, reference__in=[one.reference for one in write_offs]
    )
    recoveries = [recovery.reference for one in write_offs for recovery in one.recoveries.all()]
    recovered = JournalEntry.objects.filter(kind=JournalEntry.Kind.RECOVERY, reference__in=recoveries)
    entries: Any = (
        (issue | paid | reversed_ | credited | given_up | recovered | dispute_entries(disputes))
        .prefetch_related("postings__account")
        .order_by("occurred_at", "id")
    )
    return list(entries)
