"""A customer reads in the portal who sells to it, and whom to ask."""

from tests.billing_site.portal.reading import text_of
from tests.factories import a_customer
from tests.invoicing.selling_entities import an_entity


def test_the_portal_is_that_of_the_customers_seller(acme, visit):
    an_entity()
    a_customer("cust_globex", name="Globex Corp.", legal_entity="us")

    of_globex = visit("cust_globex").get("/portal/").content.decode()
    of_acme = visit("cust_acme").get("/portal/").content.decode()

    assert "Example Inc. · Billing" in text_of(of_globex) and "mailto:billing@example.org" in of_globex
    assert "Example Inference GmbH · Billing" in text_of(of_acme) and "example.org" not in of_acme
