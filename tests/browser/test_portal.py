"""The portal in a real browser: readable on every screen, by keyboard, in the dark, on paper, and silent."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

from billing_site.kernel import clock
from invoicing.customers.portal_links import link_for
from invoicing.workflows.run_billing import issue_billing
from metering.ingest import accept_events
from tests.browser.conftest import DESKTOP, PHONE, WALL
from tests.factories import AUGUST, JULY, MILLION_TIERS, a_customer, a_plan, a_subscription, an_event, usd_per_action

pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime(2026, 8, 21, 9, 30, tzinfo=UTC)
LONG_NAME = (
    "Gesellschaft für angewandte Sprachmodellforschung und "
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamten mbH"
)
ADDRESSES = ("/portal/", "/portal/alerts/", "/portal/invoices/", "/portal/invoices/INV-2026-00001/")
# Contrast of text and ground as WCAG 2.2 defines it, for every element that has text of its own.
FAINT_TEXT = """
() => {
  const channel = value => { value /= 255; return value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4 };
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = colour => { const [r, g, b] = numbers(colour).map(channel); return .2126 * r + .7152 * g + .0722 * b };
  const ground = node => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if ((numbers(colour)[3] ?? 1) > 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  return [...document.querySelectorAll("body *")]
    .filter(node => !node.closest("svg") && node.checkVisibility()
      && [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim()))
    .map(node => {
      const [one, other] = [light(getComputedStyle(node).color), light(ground(node))].sort((a, b) => b - a);
      return [(one + .05) / (other + .05), node.className, node.textContent.trim().slice(0, 40)];
    })
    .filter(([contrast]) => contrast < 4.5);
}
"""
SMALL_TARGETS = """
() => [...document.querySelectorAll("a, button, summary")]
  .filter(node => node.checkVisibility() && !node.closest("p, .foot, .skip") && !node.matches(".skip"))
  .map(node => [node.textContent.trim().slice(0, 30), node.getBoundingClientRect()])
  .filter(([, box]) => box.height < 44 || box.width < 24)
  .map(([text, box]) => `${text}: ${box.width} × ${box.height}`)
"""

OpenPage = Callable[..., Page]


@pytest.fixture
def acme(live_server, settings, monkeypatch) -> None:
    """A customer with a very long name, a month invoiced and twenty days of the next."""
    settings.PUBLIC_URL = live_server.url
    monkeypatch.setattr(clock, "now", lambda: NOW)
    a_plan(
        "pro",
        {"key": "base", "name": "Base fee", "currency": "USD", "model": "flat", "unit_amount": "29"},
        usd_per_action(model="graduated", unit_amount=None, tiers=MILLION_TIERS),
    )
    a_subscription(a_customer(name=LONG_NAME, timezone="America/New_York"), started_at=JULY + timedelta(hours=4))
    accept_events(
        events=[
            an_event("cust_acme", str(20_000 + 1_717 * hour), at=JULY + timedelta(hours=hour))
            for hour in range(5, 24 * 51, 7)
        ]
    )
    report = issue_billing(as_of=AUGUST + timedelta(days=1), at=AUGUST + timedelta(days=1))
    assert [invoice.number for invoice in report.invoices] == ["INV-2026-00001"]


def enter(page: Page, customer_key: str = "cust_acme") -> Page:
    page.goto(link_for(customer_key=customer_key))
    expect(page.get_by_role("link", name="Usage and cost")).to_be_visible()
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESKTOP, WALL])
def test_every_page_fits_its_screen_and_can_be_read(acme, new_page: OpenPage, width: int, scheme: str) -> None:
    page = enter(new_page(width=width, scheme=scheme))

    for address in ADDRESSES:
        page.goto(address)
        for summary in page.locator("summary").all():
            if summary.is_visible():
                summary.click()
        assert page.evaluate("document.documentElement.scrollWidth") == width, f"{address} is too wide"
        assert page.evaluate(FAINT_TEXT) == [], address


def test_targets_are_large_enough_for_a_thumb(acme, new_page: OpenPage) -> None:
    page = enter(new_page(width=PHONE, touch=True))

    for address in ADDRESSES:
        page.goto(address)
        assert page.evaluate(SMALL_TARGETS) == [], address


def test_a_huge_amount_fits_a_phone(acme, new_page: OpenPage) -> None:
    a_plan("huge", usd_per_action("999999.99"))
    a_subscription(a_customer("cust_huge"), plan="huge", started_at=JULY)
    for at in (JULY, AUGUST):
        accept_events(events=[an_event("cust_huge", "9999999999", at=at + timedelta(days=1))])
    [invoice] = issue_billing(as_of=AUGUST, at=AUGUST, customer_key="cust_huge").invoices
    page = enter(new_page(width=PHONE), "cust_huge")

    for address in ("/portal/", "/portal/invoices/", f"/portal/invoices/{invoice.number}/"):
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE, address
        expect(page.get_by_text("9,999,999,899,000,000.01").first).to_be_visible()


def test_from_the_total_to_the_usage_of_a_day_in_three_clicks(acme, page: Page) -> None:
    enter(page)

    page.get_by_role("link", name="INV-2026-00001", exact=True).first.click()
    page.locator("summary", has_text="Actions").click()
    expect(page.get_by_text("First 1,000,000 actions at USD 25.00 per million")).to_be_visible()
    page.get_by_text("The same as a table").click()

    expect(page.get_by_role("row", name="1 July 2026 186,454 actions", exact=True)).to_be_visible()
    expect(page.get_by_test_id("check")).to_contain_text("calculated every line again: equal")


def test_the_keyboard_alone_opens_a_line_and_its_place_is_seen(acme, page: Page) -> None:
    enter(page)

    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('.line > summary')"):
            break
    assert page.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "3px"
    page.keyboard.press("Enter")

    expect(page.locator("details.line").first).to_have_attribute("open", "")
    expect(page.get_by_text("Flat fee of USD 29.00 for the billing period.")).to_be_visible()


def test_paper_shows_what_is_folded_and_nothing_to_click(acme, page: Page) -> None:
    enter(page)
    page.goto("/portal/invoices/INV-2026-00001/")

    page.emulate_media(media="print")

    expect(page.get_by_text("First 1,000,000 actions at USD 25.00 per million")).to_be_visible()
    expect(page.get_by_role("button", name="Sign out")).to_be_hidden()
    expect(page.get_by_role("link", name="Open PDF")).to_be_hidden()


def test_times_are_told_in_the_customers_zone_with_utc_on_hover(acme, page: Page) -> None:
    enter(page)

    counted = page.locator("time").first
    expect(counted).to_have_text("21 August 2026, 05:30 America/New York")
    expect(counted).to_have_attribute("title", "2026-08-21 09:30:00 UTC")


def test_the_pdf_is_served_to_the_portals_session(acme, page: Page) -> None:
    enter(page)
    page.goto("/portal/invoices/INV-2026-00001/")

    address = page.get_by_role("link", name="Open PDF").get_attribute("href")
    answer = page.request.get(str(address))

    assert (answer.status, answer.headers["content-type"]) == (200, "application/pdf")


def test_a_customer_signs_out_and_is_told_so(acme, page: Page, browser_log) -> None:
    enter(page)

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    page.goto("/portal/")

    expect(page.get_by_role("heading", name="You need a link to see this page")).to_be_visible()
    # Chromium reports the 401 that this page rightly has.
    assert all("401" in line for line in browser_log.console)
    browser_log.clear()
