"""Credit in the back office: granted with a reason, looked at with all its entries, taken back."""

import pytest
from django.test import Client

from invoicing.credits.models import CreditGrant
from tests.billing_site.backoffice.test_what_if_pages import text_of
from tests.factories import a_customer

pytestmark = pytest.mark.django_db

GRANTS = "/admin/invoicing/creditgrant/"


def test_credit_is_granted_shown_and_taken_back(finance: Client, support: Client) -> None:
    form = {
        "key": "welcome",
        "customer": a_customer().pk,
        "kind": "promotional",
        "name": "Welcome",
        "worth": "25",
        "priority": "50",
        "effective_at_0": "2026-07-01",
        "effective_at_1": "00:00:00",
        "why": "fair",
    }

    refused = finance.post(f"{GRANTS}add/", form | {"meters": "nothing"})
    nobody = support.post(f"{GRANTS}add/", form)
    asked_for = finance.get(f"{GRANTS}add/?customer={form['customer']}")
    done = finance.post(f"{GRANTS}add/", form)
    grant = CreditGrant.objects.get()
    pages = [text_of(finance.get(url)) for url in (GRANTS, f"{GRANTS}{grant.pk}/change/")]
    asked = text_of(finance.get(f"{GRANTS}{grant.pk}/take-back/"))
    finance.post(f"{GRANTS}{grant.pk}/take-back/", {"reason": "over"})

    assert "there is no meter 'nothing'" in text_of(refused).replace("&#x27;", "'") and nobody.status_code == 403
    assert "Grant credit" in text_of(asked_for) and b'value="cust_acme-credit-1"' in asked_for.content
    assert done.headers["Location"] == f"{GRANTS}{grant.pk}/change/"
    assert all("25.00" in page for page in pages)
    assert "USD 25.00 of Acme GmbH" in asked
    assert [(entry.kind, entry.actor) for entry in grant.entries.order_by("sequence")] == [
        ("grant", "fiona"),
        ("void", "fiona"),
    ]
