"""Tax in the back office: set up with a reason, refused by the field, shown on customer and invoice, missing data listed."""

from datetime import timedelta

import pytest
from django.test import Client

from invoicing.invoices.models import Invoice
from invoicing.tax.models import CustomerTax, SellerTax, TaxRate
from invoicing.workflows.run_billing import issue_billing
from tests.billing_site.backoffice.test_what_if_pages import text_of
from tests.factories import AUGUST, JULY, a_customer, a_plan, a_subscription, use

pytestmark = pytest.mark.django_db

ADMIN = "/admin/invoicing/"
WHY = {"why": "tax office"}
RATE = {"jurisdiction": "DE", "name": "VAT", "rate": "0.19", "valid_from": "2026-01-01", **WHY}


def test_tax_is_set_up_in_the_admin_and_invoices_show_it(finance: Client, support: Client) -> None:
    a_plan()
    customer = a_customer()
    a_subscription(customer)
    use("cust_acme", "1500", at=JULY + timedelta(days=3))
    before = text_of(finance.get(f"{ADMIN}sellertax/")), text_of(finance.get("/admin/"))

    finance.post(f"{ADMIN}sellertax/add/", {"valid_from": "2026-01-01", "country": "DE", "rounding": "", **WHY})
    finance.post(
        f"{ADMIN}taxregistration/add/",
        {"jurisdiction": "DE", "number": "DE136695976", "valid_from": "2026-01-01", **WHY},
    )
    refused = finance.post(f"{ADMIN}taxrate/add/", RATE | {"rate": "1.9"})
    nobody = support.post(f"{ADMIN}taxrate/add/", RATE)
    finance.post(f"{ADMIN}taxrate/add/", RATE)
    issue_billing(as_of=AUGUST, at=AUGUST)
    draft = Invoice.objects.get()
    listed = text_of(finance.get("/admin/"))
    waits = text_of(finance.get(f"{ADMIN}invoice/{draft.pk}/change/"))
    wrong = finance.post(
        f"{ADMIN}customertax/add/", {"customer": customer.pk, "country": "DE", "vat_id": "DE136695970", **WHY}
    )
    finance.post(f"{ADMIN}customertax/add/", {"customer": customer.pk, "country": "DE", "region": "", **WHY})
    known = CustomerTax.objects.get()
    finance.post(
        f"{ADMIN}customertax/{known.pk}/change/", {"country": "DE", "region": "", "vat_id": "136695976", **WHY}
    )
    issue_billing(as_of=AUGUST, at=AUGUST)
    page = text_of(finance.get(f"{ADMIN}invoice/{draft.pk}/change/"))
    of_customer = text_of(finance.get(f"{ADMIN}customer/{customer.pk}/change/"))

    assert "No tax is charged: invoices are issued without" in before[0]
    assert "Customers without tax data" not in before[1]
    assert (SellerTax.objects.get().rounding, SellerTax.objects.get().actor) == ("per_invoice", "fiona")
    assert "must be a fraction of one" in text_of(refused) and nobody.status_code == 403
    assert "Customers without tax data" in listed and "Drafts that cannot be taxed" in listed
    assert "the country of Acme GmbH" in waits
    assert "is no VAT id of DE" in text_of(wrong)
    assert CustomerTax.objects.get().vat_id == "DE136695976"
    assert "VAT 19 % (DE)" in page and "52.36" in page
    assert "DE136695976" in of_customer


def test_a_rate_is_ended_with_a_reason_and_never_edited(finance: Client, support: Client) -> None:
    finance.post(f"{ADMIN}taxrate/add/", RATE)
    rate = TaxRate.objects.get()
    url = f"{ADMIN}taxrate/{rate.pk}/end/"

    nobody = support.post(url, {"valid_to": "2026-08-01", "reason": "malice"})
    asked = text_of(finance.get(url))
    finance.post(f"{ADMIN}taxrate/{rate.pk}/change/", RATE | {"rate": "0.07"})
    finance.post(url, {"valid_to": "2025-08-01", "reason": "typo"})
    before = TaxRate.objects.get().valid_to
    finance.post(url, {"valid_to": "2026-08-01", "reason": "new law"})

    assert nobody.status_code == 403 and "Invoices that are issued keep what they were taxed by" in asked
    assert before is None
    rate.refresh_from_db()
    assert (f"{rate.rate:.2f}", f"{rate.valid_to}") == ("0.19", "2026-08-01")
    assert [row.history_change_reason for row in rate.history.order_by("history_id")] == [
        "fiona: tax office",
        "fiona: new law",
    ]
