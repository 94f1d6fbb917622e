"""Legal entities in the back office: added and changed with a reason, refused by the field; customers are given to one."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from invoicing.customers.models import Customer
from invoicing.entities.models import LegalEntity
from invoicing.entities.operations import first_entity
from invoicing.workflows.run_billing import issue_billing
from tests.billing_site.backoffice.test_what_if_pages import text_of
from tests.factories import AUGUST, a_customer, a_plan, a_subscription
from tests.invoicing.selling_entities import AMERICAN, an_entity
from tests.invoicing.test_invoice_document import a_logo

pytestmark = pytest.mark.django_db

ENTITIES = "/admin/invoicing/legalentity/"
WHY = {"why": "the company in New York begins to sell"}


def test_finance_adds_a_legal_entity_and_gives_it_a_customer(finance: Client, support: Client) -> None:
    first_entity()

    refused = finance.post(f"{ENTITIES}add/", AMERICAN | WHY | {"invoice_prefix": "inv"})
    picture = SimpleUploadedFile("logo.gif", b"GIF89a")
    undrawable = finance.post(f"{ENTITIES}add/", AMERICAN | WHY | {"new_logo": picture})
    nobody = support.post(f"{ENTITIES}add/", AMERICAN | WHY)
    finance.post(f"{ENTITIES}add/", AMERICAN | WHY | {"new_logo": SimpleUploadedFile("logo.png", a_logo())})
    american = LegalEntity.objects.get(key="us")
    customer = {"key": "cust_globex", "name": "Globex Corp.", "currency": "USD", "timezone": "UTC", "reason": "new"}
    terms = {"settlement_channel": "manual", "net_terms_days": "14", "late_usage_policy": "next_invoice"}
    limits = {"late_materiality": "0", "grace_hours": "0", "legal_entity": "us"}
    finance.post("/admin/invoicing/customer/add/", customer | terms | limits)

    assert "is a prefix of another legal entity" in text_of(refused)
    assert "is no PNG or JPEG file" in text_of(undrawable)
    assert nobody.status_code == 403
    assert (american.name, american.logo_id is not None) == ("Example Inc.", True)
    assert american.history.get().history_change_reason == f"fiona: {WHY['why']}"
    assert Customer.objects.get().legal_entity == american
    assert "Example Inc." in text_of(support.get(f"{ENTITIES}{american.pk}/change/"))


def test_what_a_seller_is_called_changes_and_its_numbers_stay_once_it_has_issued(finance: Client) -> None:
    american = an_entity()
    page = f"{ENTITIES}{american.pk}/change/"
    words = {name: text for name, text in AMERICAN.items() if name != "key"} | WHY
    finance.post(page, words | {"invoice_prefix": "NY"})
    a_plan()
    a_subscription(a_customer("cust_globex", legal_entity="us"))
    [invoice] = issue_billing(as_of=AUGUST, at=AUGUST).invoices

    finance.post(page, words | {"name": "Example Holdings Inc.", "invoice_prefix": "US"})

    american.refresh_from_db()
    assert invoice.number == "NY-2026-00001"
    assert (american.name, american.invoice_prefix) == ("Example Holdings Inc.", "NY")
    assert "Example Holdings Inc." in text_of(finance.get(ENTITIES))
    edited = finance.get(f"/admin/invoicing/customer/{invoice.customer_id}/change/?edit=1").content.decode()
    assert 'name="currency"' not in edited and 'name="legal_entity"' not in edited
    assert "NY-2026-00001" in text_of(finance.get("/admin/invoicing/invoice/?customer__legal_entity__key__exact=us"))
