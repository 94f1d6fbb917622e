"""The late-event desk and the backfills in a real browser, as somebody from finance would use them."""

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Page

from invoicing.invoices.models import UsageCorrection
from invoicing.workflows.run_billing import issue_billing
from metering.models import UsageEvent
from tests.browser.conftest import DESKTOP, PHONE
from tests.factories import AUGUST, JULY, a_customer, a_plan, a_subscription, use

LONG_NAME = "Meridian Freight International Holdings and Subsidiaries (Deutschland) Verwaltungsgesellschaft " * 3
DESK = "/admin/invoicing/usagecorrection/desk/"
# A folder here keeps pictures of the pages to look at.
PICTURES = os.environ.get("PICTURES_DIR", "")

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def late_usage(transactional_db: Any) -> None:
    """Usage that came after July's invoices: of a customer who is asked, and of one with a very long name."""
    a_plan()
    a_subscription(a_customer("cust_acme", late_usage_policy="ask"))
    a_subscription(a_customer("cust_long", name=LONG_NAME[:300], late_materiality=5), key="long")
    use("cust_acme", "250", at=JULY, key="first")
    issue_billing(as_of=AUGUST, at=AUGUST + timedelta(hours=9))
    use("cust_acme", "1200", at=JULY + timedelta(days=2))
    use("cust_long", "1234567", at=JULY + timedelta(days=12))
    use("cust_long", "30", at=JULY + timedelta(days=13))


def signed_in(page: Page) -> Page:
    """Sign an administrator in."""
    client = Client()
    client.force_login(User.objects.get_or_create(username="root", is_staff=True, is_superuser=True)[0])
    url = page.evaluate("location.origin") if page.url.startswith("http") else None
    page.goto("/health")
    url = url or page.evaluate("location.origin")
    page.context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": url}])
    return page


def picture(page: Page, name: str) -> None:
    """Keep a picture where somebody wants to look at it."""
    if PICTURES:
        page.screenshot(path=str(Path(PICTURES) / f"{name}.png"), full_page=True)


def test_late_usage_is_decided_on_the_desk(page: Page, late_usage: None) -> None:
    signed_in(page).goto(DESK)
    page.get_by_text("2 issued lines").wait_for()

    page.get_by_label("Decide about INV-2026-00001, line 2").select_option("next_invoice")
    page.get_by_label("All others").select_option("absorbed")
    page.get_by_role("button", name="See what it does").click()
    page.get_by_text("Bill 1 late change on the next invoices, USD 12.00; absorb 1 late change").wait_for()
    picture(page, "desk-confirm")
    page.get_by_label("Reason").fill("agreed on the phone")
    page.get_by_role("button", name="Decide 2 changes").click()

    page.get_by_role("heading", name="2 decided").wait_for()
    picture(page, "desk-decided")
    assert sorted(str(one.decision) for one in UsageCorrection.objects.all()) == ["absorbed", "next_invoice"]
    page.get_by_role("link", name="Back to the desk").click()
    page.get_by_text("Nothing to decide.").wait_for()
    picture(page, "desk-empty")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_the_desk_fits_every_screen(new_page: Any, late_usage: None, width: int, scheme: str) -> None:
    page = signed_in(new_page(width=width, scheme=scheme))
    page.goto(DESK)

    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    picture(page, f"desk-{width}-{scheme}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_a_file_is_uploaded_looked_at_and_committed(
    new_page: Any, late_usage: None, tmp_path: Path, width: int, scheme: str
) -> None:
    events = [
        {
            "event_id": f"old-{number}",
            "idempotency_key": f"old-{number}",
            "event_type": "action.consumed",
            "timestamp": (JULY + timedelta(days=20 * number)).isoformat(),
            "customer_id": customer,
            "quantity": "40000",
        }
        for number, customer in enumerate(("cust_acme", "cust_long", "cust_acme", "cust_nobody"))
    ]
    (tmp_path / "old.ndjson").write_text("\n".join(json.dumps(event) for event in events) + '\n{"event_id": "x"}')
    page = signed_in(new_page(width=width, scheme=scheme))
    page.goto("/admin/invoicing/backfill/add/")
    picture(page, f"backfill-upload-{width}-{scheme}")

    page.locator("input[type=file]").set_input_files(str(tmp_path / "old.ndjson"))
    page.get_by_role("button", name="See what it would do").click()
    page.get_by_text("4 events would be accepted").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    picture(page, f"backfill-{width}-{scheme}")
    page.get_by_role("link", name="Commit", exact=True).last.click()
    picture(page, f"backfill-commit-{width}-{scheme}")
    page.get_by_label("Reason").fill("the collector was down")
    page.get_by_role("button", name="Commit 4 events").click()

    page.get_by_text("Committed: 4 events are accepted.").wait_for()
    picture(page, f"backfill-committed-{width}-{scheme}")
    assert UsageEvent.objects.count() == 8
