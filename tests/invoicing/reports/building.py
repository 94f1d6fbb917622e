"""A small history for reports: two customers, three months, part payments and a customer in yen."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from moneyed import Money

from invoicing.invoices.models import Invoice
from invoicing.reports.asking import Question
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.settle_payment import settle_payment
from tests.factories import (
    AUGUST,
    JULY,
    SEPTEMBER,
    a_customer,
    a_plan,
    a_subscription,
    settle_constraints,
    usd_fee,
    usd_per_action,
    use,
)

OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)


def as_of(day: date | str, **members: object) -> Question:
    """A question about one day, and about the month until it."""
    day = date.fromisoformat(day) if isinstance(day, str) else day
    return Question(as_of=day, start=day.replace(day=1), end=day, **members)  # type: ignore[arg-type]


def pay(invoice: Invoice, amount: str, *, at: datetime, reference: str) -> None:
    """A bank transfer for an invoice."""
    money = Money(amount, invoice.currency)
    settle_payment(invoice_id=invoice.pk, channel="manual", reference=reference, amount=money, received_at=at)


def a_quarter() -> dict[str, list[Invoice]]:
    """Acme (30 days) and Kyoto (14 days, in yen) are billed for July, August and September; Acme pays 20 of the first 44.

    Acme: 44.00 issued 1 August, due 31 August; 29.00 issued 1 September, due 1 October; 29.00 issued 1 October.
    """
    a_plan("pro", usd_fee(), usd_per_action(), {**usd_fee("4000"), "currency": "JPY"})
    acme = a_customer(net_terms_days=30)
    kyoto = a_customer("cust_kyoto", name="Kyoto KK", currency="JPY")
    for customer in (acme, kyoto):
        a_subscription(customer)
    use("cust_acme", "1500", at=JULY + timedelta(days=3))
    invoices: dict[str, list[Invoice]] = {"cust_acme": [], "cust_kyoto": []}
    for moment in (AUGUST, SEPTEMBER, OCTOBER):
        for invoice in issue_billing(as_of=moment, at=moment).invoices:
            invoices[invoice.customer.key].append(invoice)
        settle_constraints()
    pay(invoices["cust_acme"][0], "20.00", at=SEPTEMBER + timedelta(days=9), reference="T-1")
    assert [one.total.amount for one in invoices["cust_acme"]] == [Decimal(44), Decimal(29), Decimal(29)]
    return invoices
