"""Who is billed for an account: the customer that it names, as far as both are of one company and billed on the same terms."""

from django.db import IntegrityError

from billing_site.kernel.errors import FieldError
from invoicing.customers.accounts import (
    BEGAN_BEFORE,
    HAS_ACCOUNTS,
    HAS_ITS_OWN,
    IS_INVOICED,
    NOT_OF_ITS_COMPANY,
)
from invoicing.customers.models import Customer

# What the database refuses, as code and sentence of a field.
REFUSALS = {
    HAS_ACCOUNTS: ("has_accounts", "is not possible: others are billed to it"),
    HAS_ITS_OWN: (
        "has_its_own",
        "is not possible: it has, or had, invoices, credit, coupons or top-up rules of its own. Bill another account together with others",
    ),
    IS_INVOICED: ("invoiced", "stays: an invoice or a draft of who is billed for it charges its subscriptions"),
    NOT_OF_ITS_COMPANY: ("differs", "must have the same currency, time zone and legal entity, and be billed itself"),
    BEGAN_BEFORE: (
        "invoiced_already",
        "has issued invoices for periods in which subscriptions of this account run: nobody would bill these",
    ),
}


def payer_of_key(*, key: str) -> Customer | None:
    """Return the customer with a key; None for "", and where there is none."""
    return Customer.objects.filter(key=key).first() if key else None


def payer_errors(*, customer: Customer) -> list[FieldError]:
    """Return why a customer, as it is to be, is not billed to the one that it names, at the field `billed_to`; that one is locked."""
    payer = customer.billed_to
    assert payer is not None, "it names somebody"
    if payer.pk == customer.pk:
        return [FieldError("billed_to", "itself", "must be another customer; empty: it is billed itself")]
    if payer.billed_to is not None:
        message = f"{payer.key} is billed to {payer.billed_to.key}: name that one"
        return [FieldError("billed_to", "nested", message)]
    if customer.pk is not None and customer.accounts.exists():
        return [FieldError("billed_to", *REFUSALS[HAS_ACCOUNTS])]
    compared = {
        "currency": (customer.currency, payer.currency),
        "time zone": (customer.timezone, payer.timezone),
        "legal entity": (customer.seller_key, payer.seller_key),
    }
    different = [name for name, (own, other) in compared.items() if own != other]
    if different:
        message = f"{payer.key} has another {', another '.join(different)}: accounts of one invoice share them"
        return [FieldError("billed_to", "differs", message)]
    return []


def refused_by_database(*, problem: IntegrityError, field: str) -> FieldError | None:
    """Return what the database refused about who is billed, at a field; None where it was something else."""
    for words, (code, message) in REFUSALS.items():
        if words in str(problem):
            return FieldError(field, code, message)
    return None
