"""Sell prepaid credit: a one-off invoice over it, and the credit itself once that is paid."""

from datetime import datetime
from decimal import Decimal

from django.db import transaction

from billing_site.kernel.errors import InvalidFields
from billing_site.kernel.reasons import checked_reason
from invoicing.core.one_off import assemble_once
from invoicing.core.stated import StatedItem, StatedKind
from invoicing.customers.models import Customer
from invoicing.customers.operations import lock_who_pays
from invoicing.invoices.one_off import day_of, invoice_of_key, save_once
from invoicing.invoices.taxes import tax_terms_of_credit
from invoicing.top_ups.models import TopUp
from invoicing.top_ups.operations import TopUpTerms, mistakes_of_terms
from invoicing.top_ups.rules import TopUpRule
from invoicing.workflows.issue_invoice import issue_computed


@transaction.atomic
def sell_credit(
    *,
    customer: Customer,
    key: str,
    terms: TopUpTerms,
    at: datetime,
    actor: str,
    reason: str,
    rule: TopUpRule | None = None,
) -> TopUp:
    """Issue an invoice that sells prepaid credit, asked for by somebody or by a `rule`; the same key again returns the top-up that exists.

    The issue books it as owed to the customer, never as revenue, and without tax; the credit is granted when the invoice is paid in full. Raises
    InvalidFields naming each field that cannot be accepted, Conflict where the key stands for something else.
    """
    customer = lock_who_pays(customer_id=customer.pk)
    if errors := mistakes_of_terms(terms=terms, customer=customer):
        raise InvalidFields(tuple(errors))
    checked_reason(reason=reason)
    day = day_of(customer=customer, at=at)
    assembled = assemble_once(
        customer=customer.key,
        currency=customer.currency,
        items=[
            StatedItem(
                description=terms.name.strip(),
                quantity=Decimal(1),
                unit_amount=terms.amount.amount,
                kind=StatedKind.TOP_UP,
                valid_days=terms.valid_days,
            )
        ],
        day=day,
        tax=tax_terms_of_credit(customer=customer, day=day),
    )
    if (existing := invoice_of_key(key=key, customer=customer, assembled=assembled)) is not None:
        return existing.top_up
    draft = save_once(customer=customer, key=key, assembled=assembled, at=at, actor=actor, reason=reason)
    top_up = TopUp.objects.create(
        invoice=draft,
        customer=customer,
        name=terms.name.strip(),
        currency=customer.currency,
        amount=terms.amount,
        valid_days=terms.valid_days,
        rule=rule,
        made_at=at,
        actor=actor,
        reason=reason,
    )
    top_up.invoice = issue_computed(invoice_id=draft.pk, at=at, actor=actor, reason=reason)
    return top_up
