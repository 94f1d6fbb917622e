"""What credit a customer has: on the books, and what the running periods will take of it as they are now."""

from dataclasses import dataclass
from datetime import datetime

from moneyed import Money

from billing_site.kernel.errors import BillingError
from billing_site.kernel.money import total
from invoicing.credits.models import CreditGrant
from invoicing.credits.queries import left_of, open_grants
from invoicing.customers.models import Customer
from invoicing.subscriptions.snapshot import periods_running
from invoicing.workflows.compute_invoice import compute_invoice
from metering.rollup import roll_up


@dataclass(frozen=True)
class CreditBalance:
    """What is left of a customer's grants, and of that what usage that is not billed yet leaves (None: that cannot be computed)."""

    booked: Money
    live: Money | None
    grants: list[CreditGrant]


def credit_balance(*, customer: Customer, at: datetime) -> CreditBalance:
    """Return the balance as of `at`: unbilled usage of the periods that run then is taken off the live one, never below zero."""
    grants = open_grants(customer=customer)
    booked = total((left_of(grant=grant) for grant in grants), customer.currency)
    pending = total((), customer.currency)
    if grants:
        roll_up()
        try:
            for period in periods_running(customer=customer, moment=at):
                assembled = compute_invoice(customer=customer, period=period, until=at).assembled
                pending += total((line.amount * -1 for line in assembled.credits), customer.currency)
        except BillingError:
            # What is wrong with the contract is told where it is billed; what is left stands all the same.
            return CreditBalance(booked=booked, live=None, grants=grants)
    return CreditBalance(booked=booked, live=booked - min(pending, booked), grants=grants)
