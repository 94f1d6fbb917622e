"""Invoice what paying late has cost: damages, which no service stands behind and no tax is charged on."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import connection
from moneyed import Money

from invoicing.core.one_off import assemble_once
from invoicing.core.stated import StatedItem
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice
from invoicing.invoices.one_off import day_of, save_once
from invoicing.invoices.taxes import tax_terms_of_damages
from invoicing.workflows.issue_invoice import issue_computed


@dataclass(frozen=True)
class Damage:
    """Interest or a fee: what stands on the invoice, and how much."""

    words: str
    amount: Money


def invoice_late_payment(
    *, customer: Customer, key: str, damages: Sequence[Damage], at: datetime, actor: str, reason: str
) -> Invoice:
    """Issue a one-off invoice over interest and fees, without tax; its key is new, which the caller knows under the lock of the customer."""
    assert connection.in_atomic_block, "it is issued together with what is written down about it"
    day = day_of(customer=customer, at=at)
    items = [StatedItem(one.words, Decimal(1), one.amount.amount) for one in damages]
    assembled = assemble_once(
        customer=customer.key,
        currency=customer.currency,
        items=items,
        day=day,
        tax=tax_terms_of_damages(customer=customer, day=day),
    )
    draft = save_once(customer=customer, key=key, assembled=assembled, at=at, actor=actor, reason=reason)
    return issue_computed(invoice_id=draft.pk, at=at, actor=actor, reason=reason)
