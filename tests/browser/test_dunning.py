"""A dunning case in a real browser: the list, its story, a promise, and who gets what tomorrow."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from billing_site.kernel.clock import now
from dunning.cases.models import DunningCase
from dunning.notices.template_operations import install_built_ins
from dunning.policies.operations import ensure_presets
from invoicing.workflows.move_life_cycle import sweep_life_cycles
from tests.browser.conftest import DESKTOP, PHONE
from tests.browser.test_subscription_change import NAME, look, signed_in
from tests.dunning.chasing import by_policy, chase
from tests.factories import a_customer, a_plan, a_subscription, usd_fee
from tests.invoicing.selling import item, once

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def chased(transactional_db: Any) -> DunningCase:
    """Somebody who is suspended, and two who are reminded tomorrow."""
    at = now().replace(hour=9, minute=0)
    ensure_presets()
    install_built_ins(at=at)
    a_plan("pro", usd_fee("31"))
    worst = a_customer(name=NAME)
    a_subscription(worst, started_at=at - timedelta(days=60))
    once(worst, item("12345.67"), at=at - timedelta(days=27))
    by_policy("short", worst)
    once(
        a_customer("cust_yen", currency="JPY", name="Kabushiki-gaisha Nippon"),
        item("98000", currency="JPY"),
        key="yen",
        at=at - timedelta(days=15),
    )
    once(
        a_customer("cust_kwd", currency="KWD", name="Al-Kuwait"),
        item("9.875", currency="KWD"),
        key="kwd",
        at=at - timedelta(days=14),
    )
    for hours in range(-24 * 13, 1, 24):
        chase(at + timedelta(hours=hours))
        sweep_life_cycles(at=at + timedelta(hours=hours))
    return DunningCase.objects.get(customer=worst)


@pytest.mark.parametrize(("width", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")])
def test_a_case_is_read_and_its_customer_promises_to_pay(
    new_page: Callable[..., Page], live_server: Any, chased: DunningCase, width: int, scheme: str
) -> None:
    page = signed_in(new_page(width=width, scheme=scheme), live_server.url)
    page.goto("/admin/dunning/dunningcase/")
    look(page, f"cases-{width}")
    page.goto(f"/admin/dunning/dunningcase/{chased.pk}/change/")
    expect(page.get_by_text("suspend service").first).to_be_visible()
    look(page, f"case-{width}")

    page.get_by_role("link", name="Promise to pay").click()
    page.get_by_label("Day of instalment 1").fill(f"{now() + timedelta(days=9):%Y-%m-%d}")
    page.get_by_label("Amount of instalment 1").fill("12,000.67")
    expect(page.get_by_text("They come to 12,000.67: 345.00 is missing.")).to_be_visible()
    page.get_by_label("Amount of instalment 1").fill("12345.67")
    expect(page.get_by_text("They come to 12,345.67, what is late.")).to_be_visible()
    page.get_by_label("Reason").fill("called us")
    look(page, f"promise-{width}")
    page.get_by_role("button", name="Promise to pay").click()

    expect(page.get_by_text("called us")).to_be_visible()
    page.goto("/admin/dunning/dunningcase/rehearsal/")
    expect(page.get_by_text("Al-Kuwait")).to_be_visible()
    look(page, f"rehearsal-{width}")
    page.goto("/admin/dunning/policyversion/")
    look(page, f"policies-{width}")


def test_the_holidays_of_a_country_are_filled_in_beside_those_that_somebody_wrote(
    new_page: Callable[..., Page], live_server: Any, chased: DunningCase
) -> None:
    page = signed_in(new_page(width=DESKTOP), live_server.url)
    page.goto(f"/admin/dunning/policyversion/add/?from={chased.policy_id}")
    terms = page.locator(".bo-terms")
    holidays = terms.get_by_label("Holidays, with commas between them")
    year = now().year
    holidays.fill(f"{year}-02-03, {year}-12-25")
    place = terms.get_by_label("Country whose public holidays are filled in")
    place.fill("nowhere")
    terms.get_by_role("button", name="Add those").click()
    expect(terms.get_by_text("'NOWHERE' are not known")).to_be_visible()
    place.fill("sa")
    terms.get_by_role("button", name="Add those").click()
    expect(terms.get_by_text("holidays of SA added")).to_be_visible()
    expect(terms.get_by_label("Friday")).to_be_checked()
    expect(terms.get_by_label("Sunday")).not_to_be_checked()
    place.fill("DE")
    terms.get_by_role("button", name="Add those").click()
    expect(terms.get_by_text("holidays of DE added")).to_be_visible()
    look(page, "policy-holidays")

    days = [day.strip() for day in holidays.input_value().split(",")]
    assert days == sorted(set(days)) and {f"{year}-02-03", f"{year}-12-25", f"{year + 2}-10-03"} <= set(days)
    expect(terms.get_by_label("Only on business days")).to_be_checked()
    expect(terms.get_by_label("Saturday")).to_be_checked()
