"""A subscription is changed in a real browser: first what it would do, then the change."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Page, expect

from invoicing.subscriptions.models import Subscription, SubscriptionPhase
from tests.browser.conftest import DESKTOP, PHONE
from tests.factories import a_customer, a_plan, a_subscription, usd_fee, usd_per_action, use

# A folder here keeps pictures of the pages to look at.
PICTURES = os.environ.get("PICTURES_DIR", "")
NAME = "Meridian Freight International Holdings and Subsidiaries (Deutschland) Verwaltungsgesellschaft"

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def subscription(transactional_db: Any) -> Subscription:
    """In a trial that is over, since the first of a month that is long past; used once."""
    a_plan("pro", usd_fee("31"), usd_per_action())
    a_plan("max", usd_fee("62"), usd_per_action("0.005"))
    start, trial_end = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 8, tzinfo=UTC)
    customer = a_customer(name=NAME, timezone="Asia/Kathmandu")
    use("cust_acme", "1000", at=trial_end)
    return a_subscription(customer, started_at=start, trial_ends_at=trial_end)


@pytest.mark.parametrize(("width", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")])
def test_a_plan_is_changed_after_its_effect_was_seen(
    new_page: Callable[..., Page], live_server: Any, subscription: Subscription, width: int, scheme: str
) -> None:
    page = signed_in(new_page(width=width, scheme=scheme), live_server.url)
    page.goto(f"/admin/invoicing/subscription/{subscription.pk}/change/")
    look(page, f"subscription-{width}")

    page.get_by_role("link", name="Change", exact=True).first.click()
    expect(page.get_by_label("From when on")).to_be_visible()
    expect(page.get_by_label("Seats"), "only what another plan needs is asked for").to_have_count(0)
    look(page, f"change-{width}")
    page.get_by_label("Plan").select_option(label="Max v1")
    page.get_by_label("From when on").select_option("stated")
    page.locator("#id_at_0").fill("2026-11-16")
    page.locator("#id_at_1").fill("00:00:00")
    page.get_by_role("button", name="See what it would do").click()

    expect(page.get_by_text("the customer owes")).to_be_visible()
    assert SubscriptionPhase.objects.count() == 2
    look(page, f"preview-{width}")
    page.get_by_label("Reason").fill("wants more")
    page.get_by_role("button", name="Make the change").click()

    expect(page.get_by_text("In time")).to_be_visible()
    look(page, f"changed-{width}")
    assert [phase.kind for phase in SubscriptionPhase.objects.order_by("starts_at")] == ["trial", "active", "active"]


def signed_in(page: Page, url: str) -> Page:
    """Sign an administrator in."""
    client = Client()
    client.force_login(User.objects.create_superuser("root", "root@example.com", "root"))
    page.context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": url}])
    return page


def look(page: Page, name: str) -> None:
    """Hold that the page is not wider than the window, and keep a picture where somebody wants to look at it."""
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{name} is too wide"
    if PICTURES:
        page.screenshot(path=str(Path(PICTURES) / f"{name}.png"), full_page=True)
