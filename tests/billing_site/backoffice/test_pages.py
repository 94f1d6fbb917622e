"""Every page of the back office opens, empty and filled, says what it is about, and edits nothing that is issued."""

import re
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import NoReverseMatch, reverse
from moneyed import Money

from billing_site.backoffice.navigation import GROUPS
from invoicing.catalog.draft import draft_next_version
from invoicing.catalog.models import Plan, PlanVersion, Price
from invoicing.catalog.operations import load_catalog, publish_version
from invoicing.invoices.models import Invoice
from invoicing.workflows.issue_invoice import issue_invoice
from invoicing.workflows.settle_payment import settle_payment
from metering.models import Meter
from tests.billing_site.backoffice.conftest import AT

pytestmark = pytest.mark.django_db


@pytest.fixture
def issued(drafts: list[Invoice]) -> Invoice:
    return issue_invoice(invoice_id=drafts[0].pk, at=AT, actor="fiona", reason="checked")


def test_every_entry_of_the_sidebar_leads_somewhere(administrator: Client) -> None:
    for _, items in GROUPS:
        for item in items:
            assert administrator.get(reverse(f"admin:{item.view}")).status_code == 200, item.title


def test_every_list_is_in_the_sidebar_once_and_only_its_own_group_is_unfolded(administrator: Client) -> None:
    views = [item.view for _, items in GROUPS for item in items]
    lists = {f"{model._meta.app_label}_{model._meta.model_name}_changelist" for model in admin.site._registry}

    assert lists - set(views) == set() and len(views) == len(set(views))
    assert len({title for title, _ in GROUPS}) == len(GROUPS), "folded groups are kept by their titles"
    page = administrator.get(reverse("admin:dunning_notice_changelist")).content.decode()
    unfolded = re.findall(r'<details open data-menu="([^"]+)">', page)
    assert unfolded == ["Work", "Dunning"] and page.count("data-menu=") == len(GROUPS)
    for view in views:
        assert f'href="{reverse(f"admin:{view}")}"' in page, view


def test_every_list_opens_when_it_is_empty_and_finds_nothing_when_asked(administrator: Client) -> None:
    for model, model_admin in admin.site._registry.items():
        page = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")

        assert administrator.get(page).status_code == 200, model
        if model_admin.search_fields:
            assert administrator.get(page, {"q": "nothing has this"}).status_code == 200, model


def test_every_row_that_there_is_opens(administrator: Client, issued: Invoice) -> None:
    settle_payment(invoice_id=issued.pk, channel="manual", reference="T1", amount=Money("1", "USD"), received_at=AT)
    opened = 0
    for model in admin.site._registry:
        for row in model._default_manager.all()[:3]:
            page = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[row.pk])
            assert administrator.get(page).status_code == 200, row
            opened += 1

    assert opened > 15


def test_lists_are_filtered_by_every_choice_that_they_offer(administrator: Client, issued: Invoice) -> None:
    for model in ("invoice", "customer", "subscription", "payment", "pushintent", "stripenotice", "journalentry"):
        page = reverse(f"admin:invoicing_{model}_changelist")
        choices = set(re.findall(r'href="(\?[^"]+)"', administrator.get(page).content.decode()))

        for choice in choices:
            assert administrator.get(page + choice.replace("&amp;", "&")).status_code == 200, (model, choice)


def test_the_invoice_list_totals_what_is_filtered_by_currency(administrator: Client, drafts: list[Invoice]) -> None:
    page = reverse("admin:invoicing_invoice_changelist")

    totals = {total.currency.code: total.amount for _, total, _ in administrator.get(page).context["draft_totals"]}
    only_yen = administrator.get(page, {"currency__exact": "JPY"}).context["draft_totals"]

    assert totals == {"JPY": 4000, "USD": Money("31.50", "USD").amount}
    assert [(number, total) for number, total, _ in only_yen] == [(1, Money(4000, "JPY"))]


def test_the_invoice_page_tells_its_life_with_actor_and_reason(administrator: Client, issued: Invoice) -> None:
    page = administrator.get(reverse("admin:invoicing_invoice_change", args=[issued.pk])).content.decode()

    assert "Issued by fiona" in page
    assert "checked" in page
    assert "Waits for a bank transfer" in page or "after its due date" in page
    assert f"/billing/invoices/{issued.number}/pdf" in page


@pytest.mark.requirement("S0-151")
def test_the_proof_page_goes_from_the_line_to_the_event_and_finds_all_equal(
    administrator: Client, issued: Invoice
) -> None:
    page = administrator.get(reverse("admin:invoicing_invoice_proof", args=[issued.pk]), {"line": "2"})
    text = page.content.decode()

    assert page.context["page"].proof.equal
    assert "250 actions" in text
    assert ">first<" in text
    assert "250 × 0.01 = 2.50" in text
    assert "different" not in text


def test_the_proof_state_is_answered_apart_so_that_the_invoice_page_opens_at_once(
    administrator: Client, issued: Invoice
) -> None:
    answer = administrator.get(reverse("admin:invoicing_invoice_proof_state", args=[issued.pk])).content.decode()

    assert "equal" in answer
    assert "2 lines" in answer


@pytest.mark.parametrize("after", ["nonsense", "2026-07-01T00:00:00+00:00/x", "2026-07-01T00:00:00/1", "/", "99" * 40])
def test_a_forged_page_mark_of_the_event_list_shows_the_first_page(
    administrator: Client, issued: Invoice, after: str
) -> None:
    page = administrator.get(reverse("admin:invoicing_invoice_proof", args=[issued.pk]), {"line": "2", "after": after})

    assert len(page.context["page"].events) == 1


def test_issued_invoices_offer_no_form_no_delete_and_no_way_to_write(administrator: Client, issued: Invoice) -> None:
    page = reverse("admin:invoicing_invoice_change", args=[issued.pk])

    assert b"_save" not in administrator.get(page).content
    assert administrator.post(page, {"total": "1"}).status_code == 200
    assert administrator.post(reverse("admin:invoicing_invoice_delete", args=[issued.pk])).status_code == 403
    issued.refresh_from_db()
    assert issued.total == Money("31.50", "USD")


def test_the_pages_cost_a_bounded_number_of_queries(
    administrator: Client, issued: Invoice, django_assert_max_num_queries: Any
) -> None:
    for view, arguments, limit in (
        ("admin:invoicing_invoice_changelist", [], 14),
        ("admin:invoicing_customer_changelist", [], 10),
        ("admin:invoicing_invoice_change", [issued.pk], 24),
        ("admin:invoicing_journalentry_changelist", [], 13),
        ("admin:backoffice_changes", [], 24),
    ):
        with django_assert_max_num_queries(limit):
            assert administrator.get(reverse(view, args=arguments)).status_code == 200


def test_a_published_version_is_read_only_and_says_its_prices_in_words(
    administrator: Client, drafts: list[Invoice]
) -> None:
    version = PlanVersion.objects.get()
    price = Price.objects.get(key="actions")

    page = administrator.get(reverse("admin:invoicing_planversion_change", args=[version.pk])).content.decode()
    form = administrator.get(reverse("admin:invoicing_price_change", args=[price.pk])).content.decode()

    assert "USD 29.00 per month." in page
    assert "USD 0.01 per action." in page
    assert "Publish" not in page.replace("Published", "")
    assert 'name="unit_amount"' not in form


def test_the_price_preview_writes_out_what_a_quantity_costs(administrator: Client, drafts: list[Invoice]) -> None:
    price = Price.objects.get(key="actions")
    address = reverse("admin:invoicing_price_preview", args=[price.pk])

    assert b"USD 12.50" in administrator.get(address, {"quantity": "1,250"}).content
    assert b"bo-note" in administrator.get(address, {"quantity": "many"}).content


def test_a_matrix_is_edited_said_in_words_and_tried_cell_by_cell(administrator: Client, drafts: list[Invoice]) -> None:
    meter = {"key": "gb", "event_type": "gb", "dimensions": ["region"], "unit": "GB"}
    load_catalog(document={"meters": [meter]}, at=AT, actor="test", reason="test")
    draft = draft_next_version(plan_id=Plan.objects.get().pk, actor="test", reason="test")
    price = draft.prices.get(key="actions")
    address = reverse("admin:invoicing_price_change", args=[price.pk])
    fields = {
        "plan_version": draft.pk,
        "key": "gb",
        "name": "Traffic",
        "meter": Meter.objects.get(key="gb").pk,
        "currency": "USD",
        "position": "1",
        "model": "matrix",
        "free_units": "0",
        "first_dimension": "region",
        "default_unit_amount": "0.09",
        "tiers-TOTAL_FORMS": "0",
        "tiers-INITIAL_FORMS": "0",
        "cells-TOTAL_FORMS": "2",
        "cells-INITIAL_FORMS": "0",
        "cells-0-position": "0",
        "cells-0-first_value": "eu",
        "cells-0-unit_amount": "0.05",
        "cells-1-position": "1",
        "cells-1-first_value": "",
        "cells-1-unit_amount": "0.01",
        "reason": "regions cost differently",
    }

    assert administrator.post(address, fields).status_code == 302
    page = administrator.get(reverse("admin:invoicing_planversion_change", args=[draft.pk])).content.decode()
    tried = administrator.get(
        reverse("admin:invoicing_price_preview", args=[price.pk]), {"cell-0": "1,000", "cell-1": "", "other": "2"}
    ).content.decode()

    for words in ("region eu: USD 0.05 per GB", "no region: USD 0.01 per GB", "any other region: USD 0.09 per GB"):
        assert words in page
    assert "USD 50.18" in tried
    assert "2 with any other region at 0.09 each" in tried
    assert 'name="cell-1"' in administrator.get(address).content.decode()
    assert publish_version(version_id=draft.pk, at=AT, actor="test", reason="test").published_at == AT


def test_the_trial_balance_is_zero_in_each_currency(administrator: Client, drafts: list[Invoice]) -> None:
    for draft in drafts:
        issue_invoice(invoice_id=draft.pk, at=AT, actor="test", reason="test")

    page = administrator.get(reverse("admin:backoffice_trial_balance"))

    shown = [(tie.currency, tie.difference.amount) for tie in page.context["report"].ties]
    assert shown == [("JPY", 0), ("USD", 0)]


@pytest.mark.requirement("S0-113")
def test_the_changes_page_lists_who_what_and_why_over_all_models(administrator: Client, issued: Invoice) -> None:
    page = administrator.get(reverse("admin:backoffice_changes"))
    by_fiona = administrator.get(reverse("admin:backoffice_changes"), {"actor": "fiona"}).context["changes"]
    of_plans = administrator.get(reverse("admin:backoffice_changes"), {"model": "invoicing.plan"}).context["changes"]

    assert {change.model for change in page.context["changes"]} >= {"invoice", "customer", "plan", "meter"}
    assert [(change.model, change.subject, change.reason) for change in by_fiona] == [
        ("invoice", issued.number, "checked")
    ]
    assert {change.model for change in of_plans} == {"plan"}


@pytest.mark.parametrize("term", ["acme", "cust_kyoto", "31.50", "USD 31.50", "first", "1e999999", "%", "'", "\x00"])
def test_the_search_takes_any_text(administrator: Client, issued: Invoice, term: str) -> None:
    answer = administrator.get(reverse("admin:backoffice_search"), {"q": term})

    assert answer.status_code in (200, 302)


def test_the_search_goes_straight_to_an_exact_number_and_finds_amounts_and_event_keys(
    administrator: Client, issued: Invoice
) -> None:
    address = reverse("admin:backoffice_search")

    exact = administrator.get(address, {"q": issued.number})
    by_amount = administrator.get(address, {"q": "31.5"}).content.decode()
    by_event = administrator.get(address, {"q": "first"}).content.decode()

    assert exact["Location"] == reverse("admin:invoicing_invoice_change", args=[issued.pk])
    assert issued.number in by_amount
    assert "action.consumed of cust_acme" in by_event


def test_a_portal_link_is_offered_on_the_customers_page(administrator: Client, drafts: list[Invoice]) -> None:
    page = administrator.get(reverse("admin:invoicing_customer_change", args=[drafts[0].customer_id])).content.decode()

    assert "/portal/enter/" in page


def test_names_are_text_never_markup(administrator: Client, drafts: list[Invoice]) -> None:
    Invoice.objects.filter(pk=drafts[0].pk).update(customer_name="<script>alert(1)</script>")

    for view in ("admin:invoicing_invoice_changelist", "admin:backoffice_search"):
        page = administrator.get(reverse(view), {"q": "script"}).content.decode()
        assert "<script>alert" not in page


def test_hidden_models_of_other_packages_have_no_page() -> None:
    with pytest.raises(NoReverseMatch):
        reverse("admin:djstripe_coupon_changelist")
