"""What a preview says beside its totals: the lines, and what has not begun yet."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from billing_site.kernel.errors import NotFound
from invoicing.catalog.queries import published_version
from invoicing.invoices.models import Invoice
from invoicing.workflows.preview_invoice import preview_invoice
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.settle_late_usage import settle_late_changes
from tests.billing_site.api.caller import Caller
from tests.factories import AUGUST, JULY, SEPTEMBER, a_customer, a_plan, a_subscription, usd_fee, use
from tests.invoicing.test_carried_tiers import bill, changed, july

pytestmark = pytest.mark.django_db
MID_JULY = JULY + timedelta(days=15)


@pytest.fixture
def in_july(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the pages believe that it is the 16th of July."""
    for place in (
        "invoicing.admin.subscription_change.now",
        "invoicing.admin.customers.now",
        "billing_site.kernel.clock.now",
    ):
        monkeypatch.setattr(place, lambda: MID_JULY)


def test_a_change_of_plan_shows_each_line_before_and_after(admin_client: Client, in_july: Any) -> None:
    a_plan("pro", usd_fee("31"))
    a_plan("max", usd_fee("62"))
    subscription = a_subscription(a_customer())
    version = published_version(plan_key="max").pk
    asked = {"kind": "plan", "plan_version": version, "timing": "stated", "at_0": "2026-07-17", "at_1": "00:00:00"}

    page = admin_client.post(reverse("admin:invoicing_subscription_change_terms", args=[subscription.pk]), asked)
    answer = Caller().post(
        f"/api/v1/subscriptions/{subscription.key}/changes",
        {"change": "plan", "plan": "max", "at": "2026-07-17T00:00:00Z", "preview": True},
    )

    said = page.content.decode()
    assert "Lines of 2026-07" in said
    for words in ("2026-07-01 to 2026-07-16", "2026-07-17 to 2026-07-31"):
        assert f"Base fee, {words}" in said
    [first, _] = answer.json()["periods"]
    assert [(line["before"] or {}).get("amount") for line in first["lines"]] == ["31.00", None]
    assert [line["after"]["amount"] for line in first["lines"]] == ["16.00", "30.00"]
    assert [line["difference"]["amount"] for line in first["lines"]] == ["-15.00", "30.00"]
    assert first["difference"]["amount"] == "15.00"


def test_a_fee_after_a_trial_is_not_owed_so_far(admin_client: Client, in_july: Any) -> None:
    a_plan("pro", usd_fee("31"))
    customer = a_customer()
    a_subscription(customer, trial_ends_at=JULY + timedelta(days=21))

    page = admin_client.get(reverse("admin:invoicing_customer_change", args=[customer.pk]))

    running = page.context["page"].running
    assert (str(running.so_far.amount), str(running.to_come.amount), str(running.total.amount)) == (
        "0.00",
        "10.00",
        "10.00",
    )
    assert "more for time still to come" in page.content.decode()


@pytest.mark.parametrize(
    ("started_at", "words"),
    [
        (None, "there is no subscription of cust_acme"),
        (AUGUST, "no subscription of cust_acme has begun by 2026-07-16 02:00 (Europe/Berlin)"),
    ],
)
def test_why_there_is_no_running_period_is_said_in_the_customers_time(started_at: datetime | None, words: str) -> None:
    a_plan("pro", usd_fee("31"))
    customer = a_customer(timezone="Europe/Berlin")
    if started_at is not None:
        a_subscription(customer, started_at=started_at)

    with pytest.raises(NotFound) as refused:
        preview_invoice(customer_key="cust_acme", as_of=MID_JULY)

    assert (refused.value.field, refused.value.message) == ("as_of", words)


def test_a_correction_that_only_moves_places_in_tiers_says_so() -> None:
    changed(tiers_on_change="carry")
    bill()
    use("cust_acme", "2", at=july(6))
    settle_late_changes(at=datetime(2026, 8, 2, tzinfo=UTC))

    [august] = issue_billing(as_of=SEPTEMBER, at=SEPTEMBER + timedelta(hours=9)).invoices

    number = Invoice.objects.order_by("pk")[0].number
    texts = [
        (line.description, line.rated["explanation"])
        for line in august.lines.filter(kind="correction").order_by("position")
    ]
    assert texts[1][0] == f"Late usage of 16 – 31 July 2026: 8 actions priced anew on invoice {number}, line 2"
    assert texts[1][1].startswith(
        "Not all usage before it in the same billing period was known when Actions was invoiced:"
        " its tiers go on from 10 actions, not from 8 actions."
    )
