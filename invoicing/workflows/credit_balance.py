"""What credit a customer has: on the books, and what is due and what runs will take of it as they are now."""

from dataclasses import dataclass
from datetime import datetime

from moneyed import Money

from billing_site.kernel.errors import BillingError
from billing_site.kernel.money import total
from invoicing.credits.models import CreditGrant
from invoicing.credits.queries import left_of, open_grants
from invoicing.customers.models import Customer
from invoicing.workflows.invoices_to_come import invoices_to_come
from metering.rollup import roll_up


@dataclass(frozen=True)
class CreditBalance:
    """What is left of each of a customer's grants and in all, and of that what usage that is not billed yet leaves (None: that cannot be computed)."""

    booked: Money
    live: Money | None
    lots: list[tuple[CreditGrant, Money]]


def credit_balance(*, customer: Customer, at: datetime) -> CreditBalance:
    """Return the balance as of `at`, with what is used until then: see `balance_as_rolled_up`."""
    grants = open_grants(customer=customer)
    if grants:
        roll_up()
    return _balance(customer, grants, at=at)


def balance_as_rolled_up(*, customer: Customer, at: datetime) -> CreditBalance:
    """Return the balance as of `at`: what credit would pay of the periods that run then, or ended without an invoice, is off the live one.

    Each period sees what those before it leave. It is never below zero. Roll up first.
    """
    return _balance(customer, open_grants(customer=customer), at=at)


def _balance(customer: Customer, grants: list[CreditGrant], *, at: datetime) -> CreditBalance:
    lots = [(grant, left_of(grant=grant)) for grant in grants]
    booked = total((left for _, left in lots), customer.currency)
    pending = total((), customer.currency)
    if grants:
        try:
            for invoice in invoices_to_come(customer=customer, at=at):
                pending += total((line.amount * -1 for line in invoice.credits), customer.currency)
        except BillingError:
            # What is wrong with the contract is told where it is billed; what is left stands all the same.
            return CreditBalance(booked=booked, live=None, lots=lots)
    return CreditBalance(booked=booked, live=booked - min(pending, booked), lots=lots)
