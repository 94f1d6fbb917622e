"""Issue an invoice: number and seal, books, and the intent to push it, in one transaction."""

from datetime import datetime

from django.db import transaction

from billing_site.kernel.money import from_minor_units
from invoicing.core.posting import postings_for_issue
from invoicing.customers.models import SettlementChannel
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.invoices.operations import apply_payment, issue, nothing_due
from invoicing.ledger.models import JournalEntry
from invoicing.ledger.operations import post_entry
from invoicing.payments.push import plan_push


@transaction.atomic
def issue_invoice(*, invoice_id: int, at: datetime, actor: str, reason: str) -> Invoice:
    """Issue a draft, post it to the books and plan its push; a second time changes nothing.

    An invoice over nothing is paid at once and goes nowhere.
    """
    invoice = issue(invoice_id=invoice_id, at=at, actor=actor, reason=reason)
    if invoice.status != InvoiceStatus.ISSUED:
        return invoice
    assert invoice.number is not None
    post_entry(
        kind=JournalEntry.Kind.ISSUE,
        reference=invoice.number,
        postings=postings_for_issue(total=invoice.total, currency=invoice.currency),
        description=f"Invoice {invoice.number}, {invoice.customer_name}"[:300],
        occurred_at=invoice.issued_at or at,
    )
    if nothing_due(invoice=invoice):
        nothing = from_minor_units(0, invoice.currency)
        return apply_payment(invoice_id=invoice.pk, amount=nothing, paid_at=at, actor=actor, reason="nothing is due")
    if invoice.settlement_channel == SettlementChannel.STRIPE:
        plan_push(invoice=invoice)
    return invoice
