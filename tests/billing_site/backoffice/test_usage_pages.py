"""From an event to what it is in, or why it is in nothing; and the small things that every reader meets."""

from datetime import UTC, datetime

import pytest
from django.contrib import admin
from django.test import Client, RequestFactory
from django.urls import reverse

from invoicing.invoices.models import Invoice
from invoicing.workflows.issue_invoice import issue_invoice
from metering.models import UsageEvent
from metering.rollup import roll_up
from tests.billing_site.backoffice.conftest import AT
from tests.factories import JULY, use

pytestmark = pytest.mark.django_db


def page_of(client: Client, key: str) -> str:
    event = UsageEvent.objects.get(idempotency_key=key)
    return client.get(reverse("admin:metering_usageevent_change", args=[event.pk])).content.decode()


def test_an_event_leads_to_its_window_and_to_the_line_that_billed_it(
    administrator: Client, drafts: list[Invoice]
) -> None:
    issued = issue_invoice(invoice_id=drafts[0].pk, at=AT, actor="test", reason="test")

    page = page_of(administrator, "first")

    proof = reverse("admin:invoicing_invoice_proof", args=[issued.pk])
    assert f'href="{proof}?line=2#events"' in page
    assert f"{issued.number}, line 2: Actions" in page
    assert "counts 250 of the " in page
    assert "/admin/metering/usagewindow/" in page


def test_an_event_that_came_after_the_draft_is_taken_in_by_refreshing_it(
    administrator: Client, drafts: list[Invoice]
) -> None:
    use("cust_acme", "1", at=datetime(2026, 7, 20, tzinfo=UTC), key="after the draft")

    page = page_of(administrator, "after the draft")

    assert "refreshing the draft takes it in" in page
    assert "not summed yet" in page


def test_an_event_that_came_too_late_says_which_invoice_missed_it(administrator: Client, drafts: list[Invoice]) -> None:
    issued = issue_invoice(invoice_id=drafts[0].pk, at=AT, actor="test", reason="test")
    use("cust_acme", "1", at=datetime(2026, 7, 20, tzinfo=UTC), key="after the invoice")
    roll_up()

    page = page_of(administrator, "after the invoice")

    assert "Not on " in page
    assert issued.number is not None and issued.number in page
    assert "it came after its invoice was rated" in page


@pytest.mark.parametrize(
    ("customer", "at", "event_type", "why"),
    [
        ("cust_nobody", JULY, "action.consumed", "there is no such customer"),
        ("cust_acme", datetime(2026, 6, 30, tzinfo=UTC), "action.consumed", "no subscription was in force"),
        ("cust_kyoto", datetime(2026, 7, 2, tzinfo=UTC), "action.consumed", "no plan in force has a price"),
        (
            "cust_acme",
            datetime(2026, 8, 2, tzinfo=UTC),
            "action.consumed",
            "the billing run after the end of its period",
        ),
        ("cust_acme", datetime(2026, 7, 2, tzinfo=UTC), "dance.danced", "no meter counts this event type"),
    ],
)
def test_an_event_on_no_invoice_says_why(
    administrator: Client, drafts: list[Invoice], customer: str, at: datetime, event_type: str, why: str
) -> None:
    use(customer, "1", at=at, key="lost", event_type=event_type)
    roll_up()

    page = page_of(administrator, "lost")

    assert "On no invoice" in page
    assert why in page


def test_each_kind_of_unbilled_usage_says_what_to_do(administrator: Client) -> None:
    page = administrator.get(reverse("admin:backoffice_usage_problems")).content.decode()

    assert page.count("What to do: ") == 4


def test_the_first_column_of_every_list_opens_the_row_and_has_a_name_on_a_phone(administrator: Client) -> None:
    request = RequestFactory().get("/")
    request.user = administrator.get(reverse("admin:index")).context["user"]
    for model, model_admin in admin.site._registry.items():
        columns = model_admin.get_list_display(request)
        links = model_admin.get_list_display_links(request, columns)

        assert columns[0] in links, model


def test_lists_are_named_as_in_the_menu(administrator: Client) -> None:
    pushes = administrator.get(reverse("admin:invoicing_pushintent_changelist")).content.decode()
    keys = administrator.get(reverse("admin:api_apikey_changelist")).content.decode()

    assert "Push intents" not in pushes
    assert "Api keys" not in keys


@pytest.mark.parametrize("address", ["/nope", "/admin/nope/", "/admin/invoicing/invoice/0/proof"])
def test_an_address_without_a_page_is_answered_with_doors_that_lead_on(administrator: Client, address: str) -> None:
    answer = administrator.get(address, follow=True)

    assert answer.status_code == 404
    assert "There is nothing at this address" in answer.content.decode()
    assert reverse("admin:backoffice_search") in answer.content.decode()


def test_the_browsers_own_question_for_an_icon_is_answered(client: Client) -> None:
    answer = client.get("/favicon.ico")

    assert answer["Location"] == "/static/billing/backoffice-icon.svg"


def test_the_start_of_a_subscription_names_its_zone(administrator: Client) -> None:
    page = administrator.get(reverse("admin:invoicing_subscription_add")).content.decode()

    assert "Started at (UTC)" in page
