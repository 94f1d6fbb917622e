"""The portal tells what credit is left, what it pays for, and what was bought."""

from datetime import UTC, datetime

from invoicing.customers.models import Customer
from invoicing.workflows.run_billing import issue_billing
from tests.billing_site.backoffice.test_what_if_pages import text_of
from tests.billing_site.portal.conftest import AUGUST_BERLIN, JULY_BERLIN
from tests.factories import a_customer, a_plan
from tests.invoicing.selling import item, once, paid, sold
from tests.invoicing.test_automatic_top_ups import rule
from tests.invoicing.test_credits import grant


def test_what_is_left_what_it_pays_for_and_what_happened_stand_on_one_page(acme, visit, present) -> None:
    customer = Customer.objects.get()
    grant(
        customer,
        "30",
        "welcome",
        effective_at=JULY_BERLIN,
        expires_at=datetime(2027, 1, 1, tzinfo=UTC),
        meters=["actions"],
    )
    bought = sold(customer, "100", at=JULY_BERLIN)
    paid(bought.invoice, at=JULY_BERLIN)
    waiting = sold(customer, "50", key="second", at=AUGUST_BERLIN)
    rule(customer)
    [july] = issue_billing(as_of=AUGUST_BERLIN, at=AUGUST_BERLIN).invoices

    page = text_of(visit("cust_acme").get("/portal/credit/"))

    # 29.00, 25.00 and 10.00 for July; the gift pays for actions, what was bought for the rest.
    assert "USD 66.00" in page and "130.00 added so far" in page
    assert "Welcome" in page or "Expired" not in page
    assert f"Paid for an invoice : {july.number}" in page.replace("\n", " ") or str(july.number) in page
    assert str(waiting.invoice.number) in page and "the credit is there once it is paid" in page
    assert "As soon as less than" in page


def test_without_credit_the_page_says_what_will_fill_it(visit, present, db) -> None:
    a_customer()

    assert "You have no credit yet" in text_of(visit("cust_acme").get("/portal/credit/"))


def test_a_one_off_invoice_has_its_page_and_its_row_without_a_period(visit, present, db) -> None:
    a_plan()
    customer = a_customer(timezone="Europe/Berlin")
    invoice = once(customer, item("99.99", "2.5", unit="hour"), at=AUGUST_BERLIN)
    portal = visit("cust_acme")

    page = text_of(portal.get(f"/portal/invoices/{invoice.number}/"))
    rows = text_of(portal.get("/portal/invoices/"))

    assert "2.5 hours at USD 99.99 each" in page and "calculated every line again: equal" in page
    assert "Period" not in page
    assert "one-off, 1 August 2026" in rows or "one-off" in rows
