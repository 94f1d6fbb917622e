"""Words for tests that invoice something once, or sell prepaid credit."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from moneyed import Money

from invoicing.credits.models import CreditGrant
from invoicing.credits.queries import left_of, with_balance
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice
from invoicing.invoices.one_off import NewItem
from invoicing.ledger.queries import trial_balance
from invoicing.payments.models import Payment
from invoicing.top_ups.models import TopUp, TopUpStatus
from invoicing.top_ups.operations import TopUpTerms
from invoicing.workflows.invoice_once import invoice_once
from invoicing.workflows.sell_credit import sell_credit
from invoicing.workflows.settle_payment import settle_payment
from tests.factories import JULY


def item(unit_amount: str = "120", quantity: Any = "1", description: str = "Workshop", **others: Any) -> NewItem:
    currency = others.pop("currency", "USD")
    return NewItem(description, Decimal(quantity), Money(unit_amount, currency), **others)


def once(customer: Customer, *items: NewItem, key: str = "workshop", at: datetime = JULY) -> Invoice:
    stated = items or (item(),)
    return invoice_once(customer=customer, key=key, items=stated, at=at, actor="test", reason="agreed by phone")


def sold(customer: Customer, amount: str = "100", *, key: str = "top-up", at: datetime = JULY, **terms: Any) -> TopUp:
    wanted = TopUpTerms(amount=Money(amount, customer.currency), **terms)
    return sell_credit(customer=customer, key=key, terms=wanted, at=at, actor="test", reason="asked for it")


def paid(invoice: Invoice, amount: str = "", *, reference: str = "", at: datetime = JULY) -> Payment:
    return settle_payment(
        invoice_id=invoice.pk,
        channel="manual",
        reference=reference or f"transfer for {invoice.number}",
        amount=Money(amount, invoice.currency) if amount else invoice.total,
        received_at=at,
    )


def books() -> dict[str, str]:
    return {one.account: f"{one.amount.amount:.2f}" for one in trial_balance() if one.amount.amount}


def owed_for_credit() -> tuple[str, str]:
    """What the books owe for prepaid credit, and what is left of it or sold and not paid for."""
    left = sum(left_of(grant=grant).amount for grant in with_balance(CreditGrant.objects.filter(kind="prepaid")))
    waiting = sum(one.amount.amount for one in TopUp.objects.filter(status=TopUpStatus.OPEN))
    return f"{-sum(one.amount.amount for one in trial_balance() if one.account == '2110'):.2f}", f"{left + waiting:.2f}"
