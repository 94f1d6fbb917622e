"""One-off invoices and sold credit in the back office: shown before they are issued, sent twice without harm, declared void."""

import re

import pytest
from django.test import Client

from invoicing.invoices.models import Invoice
from invoicing.top_ups.models import TopUp
from tests.billing_site.backoffice.test_what_if_pages import text_of
from tests.factories import a_customer
from tests.invoicing.selling import paid

pytestmark = pytest.mark.django_db

INVOICES = "/admin/invoicing/invoice/"
ROWS = {"lines-TOTAL_FORMS": "5", "lines-INITIAL_FORMS": "0"}


def row(place: int, description: str, quantity: str, unit_amount: str) -> dict[str, str]:
    names = {"description": description, "quantity": quantity, "unit": "hour", "unit_amount": unit_amount}
    return {f"lines-{place}-{name}": value for name, value in names.items()}


def test_it_is_shown_first_and_issued_exactly_so_once(finance: Client, support: Client) -> None:
    page = f"{INVOICES}once/?customer={a_customer().pk}"
    key = str(re.search(r'name="key" value="([^"]+)"', finance.get(page).content.decode())[1])  # type: ignore[index]
    form = ROWS | row(0, "Workshop", "2.5", "99.99") | {"reason": "order 4711", "key": key}

    shown = finance.post(page, form)
    digest = shown.context["shown"].digest
    other = finance.post(page, form | row(1, "Travel", "1", "80") | {"digest": digest})
    nothing_yet = Invoice.objects.count()
    issued = [finance.post(page, form | {"digest": digest}) for _ in range(2)]

    assert "249.98" in text_of(shown) and "Issue the invoice over" in text_of(shown)
    assert "329.98" in text_of(other) and nothing_yet == 0
    invoice = Invoice.objects.get()
    assert {answer.url for answer in issued} == {f"{INVOICES}{invoice.pk}/change/"}
    assert "2.5 hours" in text_of(finance.get(f"{INVOICES}{invoice.pk}/change/"))
    assert "It was stated once" in text_of(finance.get(f"{INVOICES}{invoice.pk}/proof/"))
    assert support.get(page).status_code == 403


def test_what_cannot_be_invoiced_is_told_at_its_field(finance: Client) -> None:
    page = f"{INVOICES}once/?customer={a_customer().pk}"
    form = ROWS | row(1, "Workshop", "0", "-1") | {"reason": "order", "key": "k"}

    answer = finance.post(page, form)

    assert set(answer.context["items"].forms[1].errors) == {"quantity", "unit_amount"}
    assert "state at least one line" in text_of(finance.post(page, ROWS | {"reason": "order", "key": "k"}))
    assert finance.get(f"{INVOICES}once/?customer=999999").status_code == 404
    assert not Invoice.objects.exists()


def test_credit_is_sold_waits_on_the_customers_page_and_is_granted_or_void(finance: Client) -> None:
    customer = a_customer()
    page = f"{INVOICES}sell-credit/?customer={customer.pk}"
    form = {"amount": "100", "name": "Prepaid credit", "valid_days": "365", "reason": "order", "key": "first"}

    refused = finance.post(page, form | {"amount": "0.005"})
    for _ in range(2):
        finance.post(page, form)
    finance.post(page, form | {"key": "second"})
    first, second = TopUp.objects.order_by("id")
    waits = text_of(finance.get(f"/admin/invoicing/customer/{customer.pk}/change/"))
    finance.post(f"{INVOICES}{second.invoice_id}/void/", {"reason": "twice"})
    paid(first.invoice)
    listed = text_of(finance.get("/admin/invoicing/topup/"))

    assert "whole minor units" in text_of(refused)
    assert waits.count("are sold and wait for the payment of") == 2
    assert "paid" in listed and "void" in listed
    assert finance.get(f"/admin/invoicing/topup/{first.pk}/change/").status_code == 200
    assert "Declare void" not in text_of(finance.get(f"{INVOICES}{first.invoice_id}/change/"))
