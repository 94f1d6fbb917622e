"""The portal says where its customer is for tax, so that a wrong place is noticed before it is invoiced."""

import pytest

from invoicing.customers.models import Customer
from invoicing.tax.operations import set_customer_tax
from tests.billing_site.portal.reading import text_of
from tests.invoicing.test_taxes import BY, germany

pytestmark = pytest.mark.django_db


def test_the_page_says_where_the_customer_is_for_tax_once_somebody_has_said_it(july, visit):
    germany()
    before = text_of(visit("cust_acme").get("/portal/").content.decode())
    place = {"country": "US", "region": "NY", "postal_code": "10001", "city": "New York", "line1": "350 5th Ave"}
    set_customer_tax(customer=Customer.objects.get(key="cust_acme"), **place, **BY)

    after = text_of(visit("cust_acme").get("/portal/").content.decode())

    assert "For tax you are in" not in before
    assert "For tax you are in US-NY, 350 5th Ave, 10001 New York Without a VAT id." in after
