"""Invoice something once: what somebody states becomes an issued invoice that bills no period."""

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from billing_site.kernel.reasons import checked_reason
from invoicing.customers.models import Customer
from invoicing.customers.operations import lock_who_pays
from invoicing.invoices.models import Invoice
from invoicing.invoices.one_off import NewItem, assembled_once, invoice_of_key, save_once
from invoicing.workflows.issue_invoice import issue_computed


@transaction.atomic
def invoice_once(
    *, customer: Customer, key: str, items: Sequence[NewItem], at: datetime, actor: str, reason: str
) -> Invoice:
    """Issue a one-off invoice over stated items, through the same path as any other; the same key again returns the one that exists.

    Credit does not pay for it, and no billing run looks at it. Raises InvalidFields naming each field that cannot be accepted
    (`lines[0].quantity`), Conflict where the key stands for something else, or tax data is missing (code `tax_data_missing`). `assembled_once` shows it before.
    """
    customer = lock_who_pays(customer_id=customer.pk)
    assembled = assembled_once(customer=customer, items=items, at=at)
    checked_reason(reason=reason)
    if (existing := invoice_of_key(key=key, customer=customer, assembled=assembled)) is not None:
        return existing
    draft = save_once(customer=customer, key=key, assembled=assembled, at=at, actor=actor, reason=reason)
    return issue_computed(invoice_id=draft.pk, at=at, actor=actor, reason=reason)
