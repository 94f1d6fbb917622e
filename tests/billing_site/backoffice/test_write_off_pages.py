"""Writing off in the back office, over the API, and what the customer sees of it: that the debt stays."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from billing_site.kernel.clock import now
from billing_site.portal.queries.invoices import invoice_row, open_invoices
from billing_site.portal.queries.notices import overdue_bar
from billing_site.portal.words import situation_text
from invoicing.invoices.models import Invoice
from invoicing.workflows.invoice_document import document_of
from tests.billing_site.api.caller import Caller, fields_of
from tests.factories import a_customer, settle_constraints
from tests.invoicing.selling import item, once, paid

pytestmark = pytest.mark.django_db


@pytest.fixture
def workshop() -> Invoice:
    """Over USD 100, 60 of them paid, overdue."""
    at = now() - timedelta(days=60)
    invoice = once(a_customer(settlement_channel="manual", net_terms_days=14), item("10", "10"), at=at)
    paid(invoice, "60", at=at)
    return invoice


def page_of(client: Client, name: str, invoice: Invoice, **posted: Any) -> str:
    where = reverse(f"admin:invoicing_invoice_{name}", args=[invoice.pk])
    answer = client.post(where, posted, follow=True) if posted else client.get(where)
    return answer.content.decode()


def test_finance_writes_off_sees_it_everywhere_and_takes_it_back(finance: Client, workshop: Invoice) -> None:
    before = page_of(finance, "change", workshop)
    asked = page_of(finance, "write_off", workshop)
    after = page_of(finance, "write_off", workshop, reason="insolvency, file 12")
    listed = finance.get(reverse("admin:invoicing_writeoff_changelist"), {"state": "given_up"}).content.decode()
    found = finance.get(reverse("admin:invoicing_invoice_changelist"), {"state": "written_off"}).content.decode()

    assert "Part-paid, and unpaid for the rest 46 days after its due date." in before
    assert "USD 40.00 are open and become a loss in the books." in asked
    assert "USD 40.00 of INV-" in after
    assert "Written off: USD 40.00 are a loss in the books." in after
    assert after.count("insolvency, file 12") >= 2
    assert "6000 Bad debt" in after
    assert f"{workshop.number}/1" in listed
    assert workshop.number in found
    assert "is a loss no more" in page_of(finance, "record_transfer", workshop)

    back = page_of(finance, "expect_again", workshop, reason="they pay after all")
    assert "USD 40.00 of INV-" in back
    assert "taken back" in back
    settle_constraints()


def test_support_does_not_write_off(support: Client, workshop: Invoice) -> None:
    assert reverse("admin:invoicing_invoice_write_off", args=[workshop.pk]) not in page_of(support, "change", workshop)
    for name in ("write_off", "expect_again"):
        where = reverse(f"admin:invoicing_invoice_{name}", args=[workshop.pk])
        assert support.post(where, {"reason": "nice customer"}).status_code == 403


def test_services_write_off_list_and_take_back(workshop: Invoice) -> None:
    caller = Caller()
    path = f"/api/v1/invoices/{workshop.number}/write-off"

    assert list(fields_of(caller.post(path, {}))) == ["reason"]
    made, again = (caller.post(path, {"reason": "insolvency"}) for _ in range(2))
    read = caller.get(f"/api/v1/invoices/{workshop.number}").json()
    listed = caller.get("/api/v1/invoices?status=written_off").json()["data"]
    written_off = caller.get(f"/api/v1/write-offs?invoice={workshop.number}").json()["data"]
    back = caller.post(f"{path}/reversal", {"reason": "they pay after all"}).json()

    assert (made.status_code, again.status_code) == (200, 200), made.content
    assert made.json() == again.json() == written_off[0]
    assert made.json()["amount"] == {"amount": "40.00", "currency": "USD"}
    assert (read["status"], read["stage"], read["amount_written_off"]["amount"], read["amount_due"]["amount"]) == (
        "written_off",
        "written_off",
        "40.00",
        "0.00",
    )
    assert [one["number"] for one in listed] == [workshop.number]
    assert (back["status"], back["stage"], back["amount_due"]["amount"]) == ("issued", "part_paid", "40.00")
    assert Caller("invoices:write").post(path, {"reason": "x"}).status_code == 403
    settle_constraints()


def test_the_customer_reads_that_nobody_asks_for_it_any_more_and_how_to_pay_it_all_the_same(
    finance: Client, workshop: Invoice
) -> None:
    page_of(finance, "write_off", workshop, reason="insolvency")
    workshop.refresh_from_db()

    row = invoice_row(invoice=workshop, at=now())
    told = situation_text(row=row, charged_automatically=True, refused_because="")
    owed = open_invoices(customer=workshop.customer, at=now())

    assert (row.state, row.open.amount) == ("written off", 0)
    assert told.startswith("USD 40.00 of this invoice was not paid. We have written it off")
    assert "transfer it and name the invoice number" in told
    assert (owed.count, owed.amount.amount, owed.overdue, owed.written_off.amount) == (0, 0, (), 40)
    assert overdue_bar(customer=workshop.customer, at=now()) is None
    assert document_of(invoice=workshop).amount_due.amount == 40
