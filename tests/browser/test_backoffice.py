"""The back office in a real browser: nothing in the console, no request to another host, and the keyboard works."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Page, expect, sync_playwright

from invoicing.catalog.draft import draft_next_version
from invoicing.catalog.models import Plan
from invoicing.invoices.models import Invoice
from invoicing.workflows.issue_invoice import issue_invoice
from invoicing.workflows.run_billing import draft_billing
from invoicing.workflows.settle_payment import settle_payment
from tests.factories import JULY, a_customer, a_plan, a_subscription, use

CHROMIUM = Path("/usr/bin/chromium")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
AT = datetime(2026, 8, 3, 9, tzinfo=UTC)
LONG_NAME = "Meridian Freight International Holdings and Subsidiaries (Deutschland) Verwaltungsgesellschaft " * 3

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no /usr/bin/chromium here"),
    pytest.mark.django_db(transaction=True),
]


@pytest.fixture
def complaints() -> list[str]:
    """What the browser complained about; a test ends with none."""
    return []


@pytest.fixture
def page(live_server: Any, complaints: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """A browser page of a signed-in administrator."""
    # Playwright runs an event loop in this thread; Django's ORM is still called from ordinary code only.
    monkeypatch.setitem(os.environ, "DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    signed_in = Client()
    signed_in.force_login(User.objects.create_superuser("root", "root@example.com", "root"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=OPTIONS)
        context = browser.new_context(base_url=live_server.url, timezone_id="Asia/Tokyo")
        session = signed_in.cookies["sessionid"].value
        context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "response",
            lambda answer: complaints.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None,
        )
        page.on(
            "request",
            lambda request: (
                complaints.append(f"request to another host: {request.url}")
                if not request.url.startswith((live_server.url, "data:", "blob:"))
                else None
            ),
        )
        yield page
        browser.close()


@pytest.fixture
def invoices(transactional_db: Any) -> list[Invoice]:
    """One issued invoice and one draft, one of them for a very long name."""
    a_plan()
    for customer in (a_customer("cust_acme"), a_customer("cust_long", name=LONG_NAME[:300])):
        a_subscription(customer, started_at=JULY)
    use("cust_acme", "250", at=datetime(2026, 7, 9, 12, tzinfo=UTC), key="first")
    drafts = draft_billing(as_of=datetime(2026, 8, 1, tzinfo=UTC), at=AT).invoices
    return [issue_invoice(invoice_id=drafts[0].pk, at=AT, actor="fiona", reason="checked"), drafts[1]]


def addresses(invoice: Invoice) -> list[str]:
    return [
        reverse("admin:index"),
        reverse("admin:invoicing_invoice_changelist"),
        reverse("admin:invoicing_invoice_change", args=[invoice.pk]),
        reverse("admin:invoicing_invoice_proof", args=[invoice.pk]) + "?line=2",
        reverse("admin:invoicing_customer_changelist"),
        reverse("admin:invoicing_customer_change", args=[invoice.customer_id]),
        reverse("admin:invoicing_customer_change", args=[invoice.customer_id]) + "?edit=1",
        reverse("admin:invoicing_planversion_changelist"),
        reverse("admin:backoffice_trial_balance"),
        reverse("admin:backoffice_aged_receivables"),
        reverse("admin:backoffice_deferred_revenue"),
        reverse("admin:backoffice_mrr_by_customer"),
        reverse("admin:backoffice_journal_export"),
        reverse("admin:backoffice_changes"),
        reverse("admin:backoffice_usage_problems"),
        reverse("admin:api_apikey_add"),
        reverse("admin:auth_user_changelist"),
    ]


# The amounts that somebody would have to scroll for, or would not see at all.
CUT_MONEY = """() => [...document.querySelectorAll(".bo-money")].filter(amount => {
  const box = amount.getBoundingClientRect();
  if (!amount.getClientRects().length) return false;
  if (box.right > innerWidth + 1 || box.left < -1) return true;
  for (let around = amount.parentElement; around !== document.body; around = around.parentElement) {
    const edge = around.getBoundingClientRect();
    const cuts = getComputedStyle(around).overflowX !== "visible";
    if (cuts && (box.right > edge.right + 1 || box.left < edge.left - 1)) return true;
  }
  return false;
}).map(amount => amount.textContent)"""


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_money_is_never_cut(page: Page, invoices: list[Invoice], width: int) -> None:
    amount = invoices[0].total
    settle_payment(
        invoice_id=invoices[0].pk, channel="manual", reference="TRANSFER-" + "0" * 80, amount=amount, received_at=AT
    )
    page.set_viewport_size({"width": width, "height": 900})
    lists = ["invoicing_journalentry", "invoicing_payment"]

    for address in [*addresses(invoices[0]), *(reverse(f"admin:{name}_changelist") for name in lists)]:
        page.goto(address, wait_until="networkidle")
        for button in page.locator(".bo-toggle").all():
            button.click()

        assert page.evaluate(CUT_MONEY) == [], address


def test_a_table_that_fits_stays_a_table_and_one_that_does_not_becomes_lists(
    page: Page, invoices: list[Invoice]
) -> None:
    page.set_viewport_size({"width": 2560, "height": 900})
    page.goto(reverse("admin:invoicing_customer_change", args=[invoices[0].customer_id]), wait_until="networkidle")
    assert page.locator(".bo-stacked").count() == 0

    page.set_viewport_size({"width": 390, "height": 900})
    page.locator(".bo-stacked td[data-label='Total']").first.wait_for()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_complains_calls_out_or_is_wider_than_the_window(
    page: Page, invoices: list[Invoice], complaints: list[str], width: int, theme: Any
) -> None:
    page.emulate_media(color_scheme=theme)
    page.set_viewport_size({"width": width, "height": 900})

    for address in addresses(invoices[0]):
        page.goto(address, wait_until="networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, address

    assert complaints == []


def test_an_invoice_proves_itself_after_it_has_opened(
    page: Page, invoices: list[Invoice], complaints: list[str]
) -> None:
    page.goto(reverse("admin:invoicing_invoice_change", args=[invoices[0].pk]))

    page.get_by_text("✓ equal").wait_for()
    page.get_by_role("button", name="Actions").click()

    expect(page.get_by_text("250 × 0.01 = 2.50")).to_be_visible()
    assert complaints == []


def test_times_are_told_in_the_readers_zone_with_exact_utc_on_hover(page: Page, invoices: list[Invoice]) -> None:
    page.goto(reverse("admin:invoicing_invoice_change", args=[invoices[0].pk]))

    issued = page.locator("time").first
    expect(issued).to_have_text("2026-08-03 18:00 GMT+9")
    expect(issued).to_have_attribute("title", "2026-08-03 09:00:00 UTC")


def test_the_keyboard_searches_moves_opens_and_lists_its_keys(page: Page, invoices: list[Invoice]) -> None:
    page.goto(reverse("admin:index"), wait_until="networkidle")
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip to content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.locator("#main :focus").count() == 1, "the next stop is on the page, not in the sidebar"
    page.keyboard.press("Escape")
    page.locator("body").press("Escape")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("/")
    page.keyboard.type("cust_acme")
    page.keyboard.press("Enter")
    page.wait_for_url("**/invoicing/customer/*/change/")

    page.goto(reverse("admin:invoicing_customer_changelist"), wait_until="networkidle")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    page.wait_for_url("**/invoicing/customer/*/change/")
    page.keyboard.press("?")

    expect(page.locator("dialog#bo-keys")).to_be_visible()


def test_a_price_tells_what_a_quantity_costs_while_it_is_typed(page: Page, invoices: list[Invoice]) -> None:
    line = invoices[0].lines.get(position=2)
    page.goto(reverse("admin:invoicing_price_change", args=[line.price_id]), wait_until="networkidle")

    page.get_by_label("What would this cost?").fill("1250")

    page.locator("#bo-preview .bo-big", has_text="USD 12.50").wait_for()


def test_a_draft_is_issued_with_two_clicks_and_a_reason(page: Page, invoices: list[Invoice]) -> None:
    page.goto(reverse("admin:invoicing_invoice_change", args=[invoices[1].pk]))
    page.get_by_role("link", name="Issue", exact=True).click()
    expect(page.get_by_text("Issue 1 invoice, USD 29.00.")).to_be_visible()
    page.get_by_label("Reason").fill("checked")
    page.get_by_role("button", name="Issue the invoice").click()

    page.get_by_text("Issued as INV-2026-00002 over USD 29.00.").wait_for()


def test_the_form_of_a_price_asks_only_for_what_its_model_has(page: Page, transactional_db: Any) -> None:
    a_plan()
    version = draft_next_version(plan_id=Plan.objects.get().pk, actor="test", reason="set up")
    page.goto(f"/admin/invoicing/price/add/?plan_version={version.pk}")

    def asked() -> dict[str, bool]:
        places = {
            "fee": "#id_unit_amount",
            "package": "#id_package_size",
            "tiers": "#tiers-group",
            "cells": "#cells-group",
        }
        return {name: page.locator(place).is_visible() for name, place in places.items()}

    assert asked() == {"fee": True, "package": False, "tiers": False, "cells": False}
    page.select_option("[name=model]", "graduated")
    page.locator("#tiers-group").wait_for()
    assert asked() == {"fee": False, "package": False, "tiers": True, "cells": False}
    page.select_option("[name=model]", "package")
    page.locator("#id_package_size").wait_for()
    page.fill("[name=package_size]", "5")
    page.select_option("[name=model]", "flat")
    page.locator("#id_unit_amount").wait_for()
    assert asked()["package"], "what would be refused stays in sight"
