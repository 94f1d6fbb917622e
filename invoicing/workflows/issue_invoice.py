"""Issue an invoice: number and seal, books, and the intent to push it, in one transaction."""

from datetime import datetime

from django.db import transaction

from billing_site.kernel.errors import Conflict
from billing_site.kernel.money import from_minor_units
from billing_site.kernel.period import Period, as_utc
from invoicing.core.posting import postings_for_issue
from invoicing.customers.models import SettlementChannel
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.invoices.operations import apply_payment, issue, locked_invoice, nothing_due
from invoicing.ledger.models import JournalEntry
from invoicing.ledger.operations import post_entry
from invoicing.payments.push import plan_push
from invoicing.subscriptions.snapshot import contract_at


@transaction.atomic
def issue_invoice(*, invoice_id: int, at: datetime, actor: str, reason: str) -> Invoice:
    """Issue a draft that people have looked at; a second time changes nothing.

    Raises Conflict where the contract has changed since the draft was made: it would charge for a
    service that has ended, or leave out one that has begun. A billing run refreshes it.
    """
    draft = locked_invoice(invoice_id=invoice_id)
    if draft.status == InvoiceStatus.DRAFT and _charged(draft) != _to_be_charged(draft):
        raise Conflict(f"the contract has changed since {draft} was made: bill the customer again", code="outdated")
    return issue_computed(invoice_id=invoice_id, at=at, actor=actor, reason=reason)


@transaction.atomic
def issue_computed(*, invoice_id: int, at: datetime, actor: str, reason: str) -> Invoice:
    """Issue a draft that was computed in this transaction, post it to the books and plan its push.

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


def _charged(draft: Invoice) -> set[tuple[int, int, datetime, datetime]]:
    return set(draft.lines.values_list("subscription_id", "price_id", "service_start", "service_end"))


def _to_be_charged(draft: Invoice) -> set[tuple[int, int, datetime, datetime]]:
    period = Period(as_utc(draft.period_start), as_utc(draft.period_end))
    contract = contract_at(customer=draft.customer, period=period)
    charges = ((charge, contract.sources[charge.reference]) for charge in contract.snapshot.charges)
    return {
        (source.subscription.pk, source.price.pk, charge.service_period.start, charge.service_period.end)
        for charge, source in charges
    }
