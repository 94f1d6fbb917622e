"""Who is on which version, and moving them: in numbers before it is done, with a reason, and as it was shown."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client

from invoicing.plan_migrations.models import PlanMigration
from invoicing.subscriptions.models import SubscriptionPhase
from tests.billing_site.backoffice.test_what_if_pages import text_of
from tests.factories import a_customer, a_plan, a_subscription, usd_fee
from tests.invoicing.test_plan_migrations import a_newer_version
from tests.invoicing.what_ifs import three_customers

IN_FORCE = "/admin/invoicing/plan/in-force/"
LIST = "/admin/invoicing/planmigration/"
ADD = f"{LIST}add/"
# After the newer version began to be sold.
OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)

pytestmark = pytest.mark.django_db


def proposed(client: Client, **fields: Any) -> Any:
    """The page of a move to the newest version, from a day that no clock of the tests has reached."""
    target = a_newer_version()
    return client.post(ADD, {"target": target.pk, "from_date": "2096-01-01", **fields}, follow=True)


def test_the_page_says_who_is_on_which_version_and_leads_to_moving_them(finance: Client, support: Client) -> None:
    three_customers()
    newer = a_newer_version()
    a_subscription(a_customer("cust_new"), started_at=OCTOBER)

    page = finance.get(IN_FORCE)

    text = text_of(page)
    assert "4 subscriptions run at" in text and "3 of them on a version before the one that is sold now" in text
    assert re.search(r"Pro version 2 sold now .* 1 0 Move 3 from older versions here", text)
    assert f"{ADD}?target={newer.pk}" in page.content.decode()
    assert "Move" not in text_of(support.get(IN_FORCE))


def test_a_version_that_is_only_planned_makes_nobody_s_version_an_older_one(finance: Client) -> None:
    three_customers()
    a_plan("pro", usd_fee("21"), effective_from="2096-01-01T00:00:00Z")

    text = text_of(finance.get(IN_FORCE))

    assert "nobody is on a version before the one that is sold now" in text
    assert re.search(r"Pro version 2 planned .* 0 0 version 1 sold now .* 3 0", text)
    assert "from older versions" not in text


def test_without_plans_the_page_says_what_will_fill_it(finance: Client) -> None:
    assert "No plan is published yet" in text_of(finance.get(IN_FORCE))


def test_a_move_is_shown_confirmed_in_numbers_and_done(finance: Client) -> None:
    three_customers()

    shown = proposed(finance)
    migration = PlanMigration.objects.get()
    confirm = finance.get(f"{LIST}{migration.pk}/commit/")
    refused = finance.post(f"{LIST}{migration.pk}/commit/", {"digest": migration.figures_digest, "reason": " "})
    moved_before = SubscriptionPhase.objects.filter(plan_version__number=2).count()
    done = finance.post(
        f"{LIST}{migration.pk}/commit/", {"digest": migration.figures_digest, "reason": "new prices"}, follow=True
    )

    assert "3 subscriptions would move, 0 would stay" in text_of(shown)
    assert "USD 60.00 instead of USD 87.00 : USD (27.00)" in text_of(shown)
    assert "3 subscriptions will be on Pro v2 from the first billing period of 2096-01-01 or later" in text_of(confirm)
    assert refused.context["form"].errors["reason"] and moved_before == 0
    assert "3 subscriptions moved on" in text_of(done) and "by fiona: new prices" in text_of(done)
    assert SubscriptionPhase.objects.filter(plan_version__number=2).count() == 3


def test_what_is_different_by_now_is_told_and_nobody_is_moved(finance: Client) -> None:
    three_customers()
    proposed(finance)
    migration = PlanMigration.objects.get()
    a_subscription(a_customer("cust_other", currency="USD"), started_at=OCTOBER)
    SubscriptionPhase.objects.filter(subscription__key="sub_cust_other")

    page = finance.post(f"{LIST}{migration.pk}/commit/", {"digest": "0" * 64, "reason": "go"}, follow=True)

    assert "Nobody was moved: it would do something else by now" in text_of(page)
    assert PlanMigration.objects.get().committed_at is None
    again = finance.post(f"{LIST}{migration.pk}/again/", follow=True)
    assert "This is what it would do at this moment" in text_of(again)


def test_who_has_no_invoice_yet_is_shown_among_those_who_would_move(finance: Client) -> None:
    a_plan("pro", usd_fee("29"))
    a_subscription(a_customer("cust_new"), started_at=OCTOBER)

    page = proposed(finance)

    assert page.status_code == 200
    assert "none yet" in text_of(page)
    assert "1 subscription would move, 0 would stay" in text_of(page)


def test_a_bad_move_is_refused_at_its_field(finance: Client) -> None:
    three_customers()

    past = proposed(finance, from_date="2020-01-01")
    nothing = finance.post(ADD, {"target": "", "from_date": "x"})

    assert past.context["form"].errors["from_date"] == ["lies in the past: what began is not moved"]
    assert set(nothing.context["form"].errors) == {"target", "from_date"}
    assert not PlanMigration.objects.exists()


def test_nobody_to_move_is_told(finance: Client) -> None:
    a_plan("pro", usd_fee("1"))

    assert "nobody is on these versions" in text_of(proposed(finance))


def test_support_looks_and_moves_nobody(finance: Client, support: Client) -> None:
    three_customers()
    proposed(finance)
    migration = PlanMigration.objects.get()

    assert support.get(f"{LIST}{migration.pk}/change/").status_code == 200
    assert support.get(ADD).status_code == 403
    assert (
        support.post(f"{LIST}{migration.pk}/commit/", {"digest": migration.figures_digest, "reason": "x"}).status_code
        == 403
    )
    assert SubscriptionPhase.objects.filter(plan_version__number=2).count() == 0
