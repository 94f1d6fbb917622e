"""What Stripe Tax told in the back office: found by customer, shown as it was sent, asked again by whoever may; never edited."""

from datetime import date
from typing import Any

import pytest
from django.test import Client

from invoicing.customers.models import Customer
from invoicing.tax.asking import begin_inquiry, record_answer, record_refusal
from invoicing.tax.inquiries import TaxAnswer
from invoicing.tax.operations import set_customer_tax
from invoicing.tax.stripe_questions import PROVIDER
from invoicing.tax.stripe_tax import Inquiry
from tests.billing_site.api.caller import Caller
from tests.billing_site.backoffice.conftest import AT
from tests.billing_site.backoffice.test_what_if_pages import text_of
from tests.factories import a_customer, a_plan, a_subscription
from tests.invoicing.payments.building import queued_jobs
from tests.invoicing.test_taxes import BY, germany
from tests.invoicing.told_tax import new_york

pytestmark = pytest.mark.django_db
ANSWERS = "/admin/invoicing/taxanswer/"


@pytest.fixture
def acme(settings: Any) -> Customer:
    """A New Yorker, where Stripe decides; of whom nothing was told yet."""
    settings.TAX_PROVIDER = PROVIDER
    germany()
    a_plan()
    customer = a_customer()
    set_customer_tax(customer=customer, country="US", region="NY", postal_code="10001", **BY)
    a_subscription(customer)
    return customer


def told(customer: Customer) -> TaxAnswer:
    asked = Inquiry(customer.key, date(2026, 7, 31), {"address": {"country": "US", "postal_code": "10001"}})
    begun = begin_inquiry(customer_id=customer.pk, inquiry=asked, at=AT)
    return record_answer(inquiry=begun, stripe_id="taxcalc_1", body=new_york(), at=AT)


def refused(customer: Customer) -> TaxAnswer:
    asked = Inquiry(customer.key, date(2026, 8, 1), {"address": {"country": "US", "postal_code": "00000"}})
    begun = begin_inquiry(customer_id=customer.pk, inquiry=asked, at=AT)
    return record_refusal(inquiry=begun, message="The location isn't recognized.", field="postal_code", at=AT)


def test_answers_are_found_by_customer_and_shown_as_stripe_sent_them(acme: Customer, support: Client) -> None:
    empty = text_of(support.get(ANSWERS))
    answer = told(acme)
    refused(acme)

    listed = text_of(support.get(ANSWERS, {"q": "cust_acme"}))
    nobody = text_of(support.get(ANSWERS, {"q": "cust_globex"}))
    problems = text_of(support.get(ANSWERS, {"outcome": "refused"}))
    page = text_of(support.get(f"{ANSWERS}{answer.pk}/change/"))

    assert "a job asks it how customers are taxed" in empty
    assert "Sales tax 4 % (US-NY)" in listed and "the postal code: The location" in listed
    assert "4 % (US-NY)" not in nobody and "4 % (US-NY)" not in problems
    assert "taxcalc_1" in page and "percentage_decimal" in page and str(answer.inquiry.key) in page
    assert support.post(f"{ANSWERS}{answer.pk}/change/", {"kind": "exempt"}).status_code == 403
    assert support.get(f"{ANSWERS}add/").status_code == 403


def test_a_customers_page_says_what_was_told_last_and_asks_again(
    acme: Customer, finance: Client, support: Client
) -> None:
    page = f"/admin/invoicing/customer/{acme.pk}/change/"
    before = text_of(finance.get(page))
    told(acme)
    refused(acme)

    after = text_of(finance.get(page))
    asked = text_of(finance.get(f"{ANSWERS}ask/{acme.pk}/"))
    done = text_of(finance.post(f"{ANSWERS}ask/{acme.pk}/", follow=True))
    nobody = support.post(f"{ANSWERS}ask/{acme.pk}/")

    assert "nothing yet: it is asked before the next billing run" in before
    assert "Sales tax 4 % (US-NY)" in after and "the postal code: The location" in after
    assert "Its newest answer about a day holds" in asked
    assert "Stripe is asked about Acme GmbH" in done
    assert queued_jobs()[-1] == ("invoicing.tasks.ask_stripe_tax_again", (acme.pk,))
    assert nobody.status_code == 403
    assert "Customers without tax data" in text_of(finance.get("/admin/"))


def test_a_place_is_said_with_its_postal_code_in_the_admin_and_over_the_api(
    acme: Customer, finance: Client, settings: Any
) -> None:
    row = acme.tax
    wrong = finance.post(
        f"/admin/invoicing/customertax/{row.pk}/change/", {"country": "US", "region": "NY", "why": "moved"}
    )
    finance.post(
        f"/admin/invoicing/customertax/{row.pk}/change/",
        {"country": "US", "region": "NY", "postal_code": "12207", "city": "Albany", "why": "moved"},
    )
    answer = told(acme)
    read = Caller().get("/api/v1/customers/cust_acme/tax").json()
    settings.TAX_PROVIDER = "invoicing.tax.provider.TaxTable"
    plain = text_of(finance.get(f"/admin/invoicing/customer/{acme.pk}/change/"))

    assert "Stripe Tax needs it" in text_of(wrong)
    assert (read["postal_code"], read["city"]) == ("12207", "Albany")
    assert (read["told"]["id"], read["told"]["rates"][0]["rate"]) == (answer.pk, "0.04")
    assert "Stripe Tax told" not in plain
