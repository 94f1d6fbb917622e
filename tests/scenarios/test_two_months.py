"""Two months in the life of a customer, from the first event to the paid invoice that explains itself."""

from datetime import timedelta

import pytest
from moneyed import Money

from billing_site.kernel.money import plain
from invoicing.invoices.models import InvoiceStatus
from invoicing.ledger.queries import trial_balance
from invoicing.workflows.explain_invoice import explain_invoice
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.settle_payment import settle_payment
from invoicing.workflows.verify import verify
from tests.factories import AUGUST, JULY, SEPTEMBER, a_customer, a_plan, a_subscription, usd_fee, usd_per_action, use

pytestmark = pytest.mark.django_db


def test_two_months_of_usage_are_billed_paid_by_transfer_and_explained() -> None:
    a_plan("pro", usd_fee("99"), usd_per_action("0.0008", free_units="100000"))
    a_subscription(a_customer())
    for day in range(31):
        use("cust_acme", "5000", at=JULY + timedelta(days=day, hours=day % 24))
    use("cust_acme", "40000", at=AUGUST + timedelta(days=5))

    [july] = issue_billing(as_of=AUGUST, at=AUGUST + timedelta(hours=6)).invoices
    settle_payment(
        invoice_id=july.pk,
        channel="manual",
        reference="bank statement 17",
        amount=july.total,
        received_at=AUGUST + timedelta(days=10),
        reason="transfer arrived",
        actor="finance",
    )
    [august] = issue_billing(as_of=SEPTEMBER, at=SEPTEMBER + timedelta(hours=6)).invoices

    july.refresh_from_db()
    assert (july.total, july.status) == (Money("143", "USD"), InvoiceStatus.PAID)
    assert (august.total, august.status) == (Money("99", "USD"), InvoiceStatus.ISSUED)
    assert {balance.name: plain(balance.amount.amount) for balance in trial_balance()} == {
        "Bank": "143",
        "Receivable": "99",
        "Revenue": "-242",
    }
    explained = explain_invoice(number="INV-2026-00001")
    usage_line = explained["lines"][1]
    assert explained["equal"] is True
    assert usage_line["quantity"] == "155000"
    assert usage_line["events"]["count"] == usage_line["events"]["recounted"] == 31
    assert usage_line["rerated_amount"] == usage_line["amount"] == {"amount": "44.00", "currency": "USD"}
    assert verify() == []
