"""Use what a customer has on account: apply it to an invoice, or pay it back by hand; booked, once, and never more than there is."""

from datetime import datetime

from django.db import transaction
from moneyed import Money

from billing_site.kernel.errors import Conflict, InvalidInput, NotFound
from billing_site.kernel.money import is_rounded
from billing_site.kernel.reasons import checked_reason
from invoicing.bank.models import AccountUse, AllocationKind, BankAllocation, UseKind
from invoicing.bank.operations import locked_line, next_use, record_use
from invoicing.bank.queries import rest_of
from invoicing.core.posting import ON_ACCOUNT, postings_for_paying_back
from invoicing.customers.models import SettlementChannel
from invoicing.invoices.models import Invoice
from invoicing.invoices.printed_text import money_text
from invoicing.ledger.models import JournalEntry
from invoicing.ledger.operations import post_entry
from invoicing.workflows.allocate_bank_line import check_takes
from invoicing.workflows.settle_payment import settle_payment


@transaction.atomic
def apply_money_on_account(
    *, lot_id: int, invoice_id: int, amount: Money, rest: Money, at: datetime, actor: str, reason: str
) -> AccountUse:
    """Settle an invoice of the same customer, or a part of it, with money on account; `rest` is what was there when it was looked at.

    Raises NotFound, InvalidInput at `amount` or `reason`, Conflict where there is less, or less is open.
    """
    said = checked_reason(reason=reason)
    lot = _locked_lot(lot_id, amount=amount, rest=rest)
    invoice = Invoice.objects.select_for_update().filter(pk=invoice_id).first()
    if invoice is None:
        raise NotFound("there is no such invoice", field="invoice")
    if invoice.customer_id != lot.customer_id:
        raise Conflict(f"invoice {invoice} is of another customer than the money", field="invoice")
    check_takes(invoice=invoice, amount=amount)
    _, reference = next_use(allocation=lot)
    assert invoice.issued_at is not None, "an invoice that takes money is issued"
    payment = settle_payment(
        invoice_id=invoice.pk,
        channel=SettlementChannel.MANUAL,
        reference=reference,
        amount=amount,
        received_at=max(at, invoice.issued_at),
        reason=said,
        actor=actor,
        held_on=ON_ACCOUNT,
    )
    return record_use(
        allocation=lot, kind=UseKind.APPLIED, amount=amount, payment=payment, at=at, actor=actor, reason=said
    )


@transaction.atomic
def pay_money_back(*, lot_id: int, amount: Money, rest: Money, at: datetime, actor: str, reason: str) -> AccountUse:
    """Record that money on account was transferred back; the bank's line of it is matched with this entry later. Raises as applying does."""
    said = checked_reason(reason=reason)
    lot = _locked_lot(lot_id, amount=amount, rest=rest)
    use = record_use(allocation=lot, kind=UseKind.PAID_BACK, amount=amount, at=at, actor=actor, reason=said)
    post_entry(
        kind=JournalEntry.Kind.PAID_BACK,
        reference=use.reference,
        postings=postings_for_paying_back(amount=amount),
        description=f"Paid back to {lot.customer}: {said}"[:300],
        occurred_at=at,
        entity=_seller_of(lot),
    )
    return use


def _seller_of(lot: BankAllocation) -> str:
    assert lot.customer is not None, "money on account is a customer's"
    return lot.customer.seller_key


def _locked_lot(lot_id: int, *, amount: Money, rest: Money) -> BankAllocation:
    """Return money on account whose line is locked, and of which there is that much."""
    lot = BankAllocation.objects.filter(pk=lot_id, kind=AllocationKind.ON_ACCOUNT).first()
    if lot is None or locked_line(line_id=lot.line_id) is None or hasattr(lot, "reversal"):
        raise NotFound("there is no such money on account", field="lot")
    there = rest_of(lot=lot)
    if there != rest:
        message = f"{money_text(money=there)} are there by now, not {money_text(money=rest)}: look at it again"
        raise Conflict(message, field="rest", code="lot_has_changed")
    if amount.currency != there.currency or amount.amount <= 0 or not is_rounded(amount):
        raise InvalidInput(f"must be a positive number of whole minor units of {lot.currency}", field="amount")
    if amount > there:
        message = f"{money_text(money=there)} are on account, less than {money_text(money=amount)}"
        raise Conflict(message, field="amount", code="more_than_is_left")
    return lot
