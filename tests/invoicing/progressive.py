"""Words for tests of progressive invoices: a threshold, the sweep, the invoice of the period, and what all of them come to."""

from datetime import datetime, timedelta
from decimal import Decimal

from moneyed import Money

from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice
from invoicing.progressive.models import ProgressiveThreshold
from invoicing.progressive.operations import set_threshold
from invoicing.workflows.bill_progressively import sweep_progressive
from invoicing.workflows.run_billing import issue_billing
from tests.factories import AUGUST, JULY, settle_constraints, use

DAY = timedelta(days=1)
NOTHING = Decimal(0)


def threshold(
    customer: Customer, amount: str = "100", step: str = "", *, key: str = "threshold"
) -> ProgressiveThreshold:
    return set_threshold(
        customer=customer,
        key=key,
        amount=Money(amount, customer.currency),
        step=Money(step, customer.currency) if step else None,
        at=JULY,
        actor="test",
        reason="agreed",
    )


def swept(at: datetime) -> list[Invoice]:
    """What a sweep at a moment invoices; nothing may fail."""
    report = sweep_progressive(at=at)
    assert not report.failures, report.failures
    settle_constraints()
    return report.made


def used(quantity: str, *, day: int, month: datetime = JULY) -> list[Invoice]:
    """What is invoiced an hour after so much was used on a day of a month."""
    use("cust_acme", quantity, at=month + (day - 1) * DAY)
    return swept(month + (day - 1) * DAY + timedelta(hours=1))


def billed(until: datetime = AUGUST) -> Invoice:
    """The one invoice that a run makes of the period that ends then."""
    report = issue_billing(as_of=until, at=until + timedelta(hours=7))
    assert not report.failures, report.failures
    settle_constraints()
    [invoice] = report.invoices
    return invoice


def taken_off(invoice: Invoice) -> dict[str, str]:
    """What an invoice takes off, by the number of the progressive invoice."""
    lines = invoice.lines.filter(progressive__isnull=False).select_related("progressive__invoice").order_by("position")
    return {str(line.progressive.invoice.number): f"{line.amount.amount:.2f}" for line in lines if line.progressive}


def subtotals(*invoices: Invoice) -> list[str]:
    return [f"{invoice.subtotal.amount:.2f}" for invoice in invoices]
