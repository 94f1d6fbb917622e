"""Accounts that are billed together, as the back office shows them: who pays, for whom, and an invoice in sections."""

import pytest
from django.test import Client

from invoicing.customers.models import Customer
from tests.billing_site.backoffice.test_what_if_pages import text_of
from tests.factories import a_customer
from tests.invoicing.accounts import EAST, a_company, an_account, billed

pytestmark = pytest.mark.django_db

CUSTOMERS = "/admin/invoicing/customer/"


def page(key: str, more: str = "") -> str:
    return f"{CUSTOMERS}{Customer.objects.get(key=key).pk}/change/{more}"


def fields(key: str, **changes: object) -> dict[str, object]:
    """What the form of a customer sends."""
    customer = Customer.objects.get(key=key)
    names = ("name", "email", "settlement_channel", "net_terms_days", "late_usage_policy", "late_materiality")
    known = {name: getattr(customer, name) for name in names}
    return {**known, "grace_hours": 0, "legal_entity": "main", "reason": "joined the group", **changes}


def test_the_page_of_who_pays_lists_its_accounts_and_theirs_says_who_pays(finance: Client) -> None:
    a_company()
    july = billed()

    of_acme, of_east = text_of(finance.get(page("cust_acme"))), text_of(finance.get(page(EAST)))
    invoice = text_of(finance.get(f"/admin/invoicing/invoice/{july.pk}/change/"))

    assert "Accounts billed together with this one East cust_east West cust_west" in of_acme
    assert "Billed to Acme GmbH" in of_east and "On invoices of Acme GmbH" in of_east and "USD 39.00" in of_east
    for words in ("Subtotal Acme GmbH USD 30.00", "Subtotal East USD 39.00", "Subtotal West USD 49.00"):
        assert words in invoice


def test_finance_bills_an_account_to_its_company_and_is_refused_beside_the_field(finance: Client) -> None:
    a_company()
    a_customer("cust_north", name="North")
    a_customer("cust_euro", currency="EUR")
    acme, east = Customer.objects.get(key="cust_acme").pk, Customer.objects.get(key=EAST).pk

    nested = finance.post(page("cust_north", "?edit=1"), fields("cust_north", billed_to=east))
    other = finance.post(page("cust_euro", "?edit=1"), fields("cust_euro", billed_to=acme))
    done = finance.post(page("cust_north", "?edit=1"), fields("cust_north", billed_to=acme))

    assert "is billed to cust_acme: name that one" in text_of(nested)
    assert "another currency" in text_of(other)
    assert done.status_code == 302
    assert Customer.objects.get(key="cust_north").payer_id == acme
    assert finance.get(page("cust_north")).status_code == 200


def test_an_account_is_added_for_its_company(finance: Client) -> None:
    a_company()
    acme = Customer.objects.get(key="cust_acme").pk
    an_account("cust_north")
    sent = {**fields("cust_north"), "key": "cust_south", "name": "South", "currency": "USD", "timezone": "UTC"}

    done = finance.post(f"{CUSTOMERS}add/", {**sent, "billed_to": acme})

    assert done.status_code == 302
    assert Customer.objects.get(key="cust_south").payer_id == acme
