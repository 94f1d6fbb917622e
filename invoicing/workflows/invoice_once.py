"""Invoice something once: what somebody states becomes an issued invoice that bills no period."""

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from billing_site.kernel.errors import FieldError, InvalidFields
from billing_site.kernel.text import is_storable
from invoicing.customers.models import Customer
from invoicing.customers.operations import lock_customer
from invoicing.invoices.models import Invoice
from invoicing.invoices.one_off import NewItem, assembled_once, invoice_of_key, save_once
from invoicing.workflows.issue_invoice import issue_computed

REASON_MAX = 300


@transaction.atomic
def invoice_once(
    *, customer: Customer, key: str, items: Sequence[NewItem], at: datetime, actor: str, reason: str
) -> Invoice:
    """Issue a one-off invoice over stated items, through the same path as any other; the same key again returns the one that exists.

    Credit does not pay for it, and no billing run looks at it. Raises InvalidFields naming each field that cannot be accepted
    (`lines[0].quantity`), Conflict where the key stands for something else, or tax data is missing (code `tax_data_missing`). `assembled_once` shows it before.
    """
    customer = lock_customer(customer_id=customer.pk)
    assembled = assembled_once(customer=customer, items=items, at=at)
    check_reason(reason)
    if (existing := invoice_of_key(key=key, customer=customer, assembled=assembled)) is not None:
        return existing
    draft = save_once(customer=customer, key=key, assembled=assembled, at=at, actor=actor, reason=reason)
    return issue_computed(invoice_id=draft.pk, at=at, actor=actor, reason=reason)


def check_reason(reason: str) -> None:
    """Raise InvalidFields unless a reason says something that can be kept."""
    if not reason.strip() or len(reason) > REASON_MAX or not is_storable(reason):
        message = f"say why, in at most {REASON_MAX} characters"
        raise InvalidFields((FieldError("reason", "required", message),))
