"""Progressive invoices in the back office and the portal: the threshold on the customer's page, and which invoice takes off which."""

import pytest
from django.test import Client

from invoicing.progressive.models import ProgressiveThreshold
from tests.billing_site.backoffice.test_what_if_pages import text_of
from tests.factories import a_customer, a_plan, a_subscription, usd_fee, usd_per_action
from tests.invoicing.progressive import billed, threshold, used

pytestmark = pytest.mark.django_db

THRESHOLDS = "/admin/invoicing/progressivethreshold/"


def test_a_threshold_is_set_with_a_reason_shown_and_retired(finance: Client, support: Client) -> None:
    customer = a_customer()
    form = {"customer": str(customer.pk), "reached": "100", "further": "50", "why": "agreed"}

    wrong = finance.post(f"{THRESHOLDS}add/", form | {"reached": "0"})
    made = finance.post(f"{THRESHOLDS}add/", form)
    known = ProgressiveThreshold.objects.get()
    page = text_of(finance.get(f"/admin/invoicing/customer/{customer.pk}/change/"))
    listed = text_of(finance.get(THRESHOLDS))
    shown = text_of(finance.get(f"{THRESHOLDS}{known.pk}/change/"))
    retired = finance.post(f"{THRESHOLDS}{known.pk}/retire/", {"reason": "over"})

    assert wrong.status_code == 200 and made.status_code == 302
    assert known.reason == "agreed" and known.actor
    assert "Usage is invoiced from" in page
    assert "From USD 100.00 on, then each USD 50.00" in listed
    known.refresh_from_db()
    assert "agreed" in shown and retired.status_code == 302
    assert known.retired_because == "over"
    assert support.post(f"{THRESHOLDS}add/", form).status_code == 403


def test_each_page_names_the_invoices_that_belong_together(finance: Client) -> None:
    a_plan("pro", usd_fee("29"), usd_per_action("1"))
    customer = a_customer()
    a_subscription(customer)
    threshold(customer)
    [invoice] = used("120", day=3)
    pages = [f"/admin/invoicing/invoice/{invoice.pk}/"]

    before = text_of(finance.get(f"{pages[0]}change/"))
    july = billed()
    after = text_of(finance.get(f"{pages[0]}change/"))
    last = text_of(finance.get(f"/admin/invoicing/invoice/{july.pk}/change/"))
    proof = text_of(finance.get(f"{pages[0]}proof/"))
    listed = text_of(finance.get("/admin/invoicing/invoice/"))

    assert "Taken off by the invoice of the period" in before and "Declare void" in before
    assert f"Taken off by {july.number}" in after and "Declare void" not in after
    assert f"Takes off {invoice.number}" in last
    assert "Usage so far" in proof
    assert "progressive" in listed
