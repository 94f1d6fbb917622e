"""Reports, exports and the journal ask for a legal entity where there are several."""

import pytest
from django.test import Client
from django.urls import reverse

from invoicing.ledger.models import JournalEntry
from tests.factories import JULY, a_customer, settle_constraints
from tests.invoicing.disputing import paid_by_card
from tests.invoicing.selling import item, once
from tests.invoicing.selling_entities import an_entity

pytestmark = pytest.mark.django_db


def test_pages_ask_for_a_company_where_there_are_several_and_nobody_where_there_is_one(administrator: Client) -> None:
    once(a_customer(), item("7"), key="of-the-first")
    pages = [reverse(f"admin:{name}") for name in ("backoffice_trial_balance", "backoffice_journal_export")]
    journal = reverse("admin:invoicing_journalentry_changelist")
    for page in (*pages, journal):
        shown = administrator.get(page).content.decode()
        assert 'name="legal_entity"' not in shown and "?legal_entity=" not in shown, page

    an_entity()
    other = once(a_customer("cust_globex", name="Globex Corp.", legal_entity="us"))
    paid_by_card(other, at=JULY)
    settle_constraints()

    for page in pages:
        assert "Example Inc." in administrator.get(page).content.decode(), page
    of_us = administrator.get(pages[0], {"legal_entity": "us"}).content.decode()
    assert "Due from and to affiliated companies" in of_us and "Stripe clearing" not in of_us
    assert "account=1300&amp;currency=USD" in of_us and "&amp;legal_entity=us" in of_us, (
        "an account leads to the same company's general ledger"
    )
    listed = administrator.get(journal, {"legal_entity": "us"}).content.decode()
    assert "us: 1300" in listed and "main: 1100" in listed and "INV-2026-00001" not in listed
    assert administrator.get(pages[0], {"legal_entity": "nobody"}).status_code == 422
    entry = JournalEntry.objects.get(kind="payment")
    shown = administrator.get(reverse("admin:invoicing_journalentry_change", args=[entry.pk])).content.decode()
    assert "Example Inc." in shown
