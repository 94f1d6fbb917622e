"""Words for tests of accounts that are billed together."""

from datetime import datetime, timedelta
from typing import Any

from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice
from invoicing.workflows.run_billing import issue_billing
from tests.factories import AUGUST, JULY, a_customer, a_plan, a_subscription, usd_fee, usd_per_action, use

EAST, WEST = "cust_east", "cust_west"


def an_account(key: str, *, billed_to: str = "cust_acme", **fields: Any) -> Customer:
    """A customer that Acme is billed for."""
    return a_customer(key, **({"name": key.removeprefix("cust_").capitalize(), "billed_to": billed_to} | fields))


def a_company(*, at: datetime = JULY) -> tuple[Customer, Customer, Customer]:
    """Acme and its accounts East and West, each with a fee of USD 29 and USD 0.01 an action; in July Acme used 100, East 1,000, West 2,000."""
    a_plan("pro", usd_fee("29"), usd_per_action("0.01"))
    company = (a_customer(), an_account(EAST), an_account(WEST))
    for customer, quantity in zip(company, ("100", "1000", "2000"), strict=True):
        a_subscription(customer, started_at=at)
        use(customer.key, quantity, at=JULY + timedelta(days=2))
    return company


def billed(at: datetime = AUGUST, **asked: Any) -> Invoice:
    """The one invoice of a run."""
    report = issue_billing(as_of=at, at=at + timedelta(hours=7), **asked)
    assert not report.failures, report.failures
    [invoice] = report.invoices
    return invoice


def by_account(invoice: Invoice) -> dict[str, list[str]]:
    """The amounts of an invoice's lines by the customer whose subscription they are about, "" of all."""
    found: dict[str, list[str]] = {}
    for line in invoice.lines.select_related("subscription__customer").order_by("position"):
        key = line.subscription.customer.key if line.subscription else ""
        found.setdefault(key, []).append(f"{line.amount.amount:.2f}")
    return found
