"""Plan versions are sold between two moments: which one a new subscription takes, and what cannot be dated."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import Client

from billing_site.kernel.errors import BillingError
from invoicing.catalog.draft import draft_next_version
from invoicing.catalog.effective import sell_until, versions_sold
from invoicing.catalog.models import PlanVersion
from invoicing.catalog.queries import version_to_start
from invoicing.subscriptions.amend import change_plan
from invoicing.subscriptions.start import start_subscription
from invoicing.workflows.run_billing import issue_billing
from tests.billing_site.api.caller import Caller, fields_of
from tests.factories import AUGUST, JULY, SEPTEMBER, a_customer, a_plan, a_subscription, amounts, usd_fee

pytestmark = pytest.mark.django_db

JANUARY = datetime(2026, 1, 1, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
WHO = {"actor": "test", "reason": "set up"}
MOMENT = timedelta(microseconds=1)


def costs(amount: str, *, at: datetime = JUNE, **terms: Any) -> None:
    a_plan("pro", usd_fee(amount), at=at, **terms)


def sold(at: datetime) -> int:
    return version_to_start(plan_key="pro", number=None, at=at).number


def refusal(call: Any) -> list[tuple[str, str]]:
    with pytest.raises(BillingError) as refused, transaction.atomic():
        call()
    return [(error.field, error.code) for error in refused.value.field_errors]


def test_a_version_is_sold_from_its_date_on_and_who_has_another_keeps_it() -> None:
    costs("10")
    customer = a_customer()
    a_subscription(customer)

    costs("20", effective_from="2026-08-01T00:00:00Z")

    assert [sold(at) for at in (JANUARY, AUGUST - MOMENT, AUGUST, SEPTEMBER)] == [1, 1, 2, 2]
    late = a_customer("cust_late")
    start_subscription(
        key="late",
        customer=late,
        plan_version=version_to_start(plan_key="pro", number=None, at=AUGUST),
        started_at=AUGUST,
        **WHO,
    )
    invoices = issue_billing(as_of=SEPTEMBER, at=SEPTEMBER).invoices
    assert [(invoice.customer.key, amounts(invoice.lines.all())) for invoice in invoices] == [
        ("cust_acme", ["10.00"]),
        ("cust_acme", ["10.00"]),
        ("cust_late", ["20.00"]),
    ]


def test_the_same_file_again_changes_nothing_before_and_after_its_date() -> None:
    costs("10")
    costs("20", effective_from="2026-08-01T00:00:00Z")

    for at in (JUNE, JULY, AUGUST, SEPTEMBER):
        costs("20", at=at, effective_from="2026-08-01T00:00:00Z")
    costs("10", at=JULY)

    assert PlanVersion.objects.count() == 2


def test_what_is_published_later_replaces_what_was_planned_and_nobody_starts_on_that() -> None:
    costs("10")
    costs("20", effective_from="2026-08-01T00:00:00Z")

    costs("30", effective_from="2026-07-15T00:00:00Z")

    assert [sold(at) for at in (JULY, AUGUST, SEPTEMBER)] == [1, 3, 3]
    planned = PlanVersion.objects.get(number=2)
    assert planned.is_never_sold
    wanted = {"customer": a_customer(), "plan_version": planned, "started_at": SEPTEMBER, **WHO}
    assert refusal(lambda: start_subscription(key="s", **wanted)) == [("plan", "never_sold")]


def test_a_version_is_not_put_in_force_before_it_is_sold() -> None:
    costs("10")
    costs("20", effective_from="2026-08-01T00:00:00Z")
    coming = PlanVersion.objects.get(number=2)

    early = {"customer": a_customer(), "plan_version": coming, "started_at": AUGUST - MOMENT, **WHO}
    assert refusal(lambda: start_subscription(key="s", **early)) == [("plan", "not_sold_yet")]
    running = start_subscription(key="s", **{**early, "plan_version": PlanVersion.objects.get(number=1)})
    assert refusal(lambda: change_plan(subscription=running, plan_version=coming, at=AUGUST - MOMENT, **WHO)) == [
        ("plan", "not_sold_yet")
    ]
    change_plan(subscription=running, plan_version=coming, at=AUGUST, **WHO)


def test_a_plan_is_sold_until_its_end_and_its_last_version_still_to_who_names_it() -> None:
    costs("10", effective_to="2026-08-01T00:00:00Z")

    assert refusal(lambda: version_to_start(plan_key="pro", number=None, at=AUGUST)) == [("plan", "not_sold")]
    assert version_to_start(plan_key="pro", number=1, at=AUGUST).number == 1
    version = PlanVersion.objects.get()
    sell_until(version_id=version.pk, until=None, at=JULY, **WHO)
    assert sold(SEPTEMBER) == 1
    assert "set up" in version.history.latest().history_change_reason


@pytest.mark.parametrize(
    ("terms", "at", "wrong"),
    [
        ({"effective_from": "2026-05-01T00:00:00Z"}, SEPTEMBER, ("plans[0].effective_from", "not_after")),
        ({"effective_from": "2026-07-15T00:00:00Z"}, SEPTEMBER, ("plans[0].effective_from", "invoiced_already")),
        ({"effective_from": "2026-07-15T00:00:00"}, SEPTEMBER, ("plans[0].effective_from", "naive")),
        ({"effective_from": "0206-07-15T00:00:00Z"}, SEPTEMBER, ("plans[0].effective_from", "out_of_range")),
        ({"effective_from": "soon"}, SEPTEMBER, ("plans[0].effective_from", "not_a_time")),
        ({"effective_from": 7}, SEPTEMBER, ("plans[0].effective_from", "not_a_time")),
        (
            {"effective_from": "2026-10-01T00:00:00Z", "effective_to": "2026-10-01T00:00:00Z"},
            SEPTEMBER,
            ("plans[0].effective_to", "not_after"),
        ),
        ({"effective_to": "2026-08-20T00:00:00Z"}, SEPTEMBER, ("plans[0].effective_to", "not_after")),
    ],
)
def test_a_date_that_cannot_be_is_refused_at_its_field_and_nothing_is_kept(
    terms: dict[str, Any], at: datetime, wrong: tuple[str, str]
) -> None:
    costs("10")
    a_subscription(a_customer())
    costs("15")
    issue_billing(as_of=AUGUST, at=SEPTEMBER)

    assert refusal(lambda: costs("20", at=at, **terms)) == [wrong]
    assert PlanVersion.objects.count() == 2
    assert sold(SEPTEMBER) == 2


def test_a_date_after_what_is_invoiced_is_accepted_though_it_has_passed() -> None:
    costs("10")
    a_subscription(a_customer())
    issue_billing(as_of=AUGUST, at=SEPTEMBER)

    costs("20", at=SEPTEMBER, effective_from="2026-08-01T00:00:00Z")

    assert [sold(AUGUST - MOMENT), sold(AUGUST)] == [1, 2]


def test_while_a_version_is_planned_the_next_must_say_from_when() -> None:
    costs("10")
    costs("20", effective_from="2026-08-01T00:00:00Z")

    assert refusal(lambda: costs("30")) == [("plans[0].effective_from", "required")]
    again = {"effective_from": "2026-09-01T00:00:00Z"}
    assert refusal(lambda: costs("20", at=AUGUST, **again)) == [("plans[0].effective_from", "sold_already")]


@pytest.mark.parametrize(
    ("until", "code"),
    [("2026-05-01", "in_the_past"), ("2026-08-02", "sold_by_another")],
)
def test_the_end_of_a_sale_is_neither_past_nor_within_another_versions(until: str, code: str) -> None:
    costs("10")
    costs("20", effective_from="2026-08-01T00:00:00Z")
    first = PlanVersion.objects.get(number=1)

    moment = datetime.fromisoformat(until).replace(tzinfo=UTC)
    assert refusal(lambda: sell_until(version_id=first.pk, until=moment, at=JULY, **WHO)) == [("effective_to", code)]


@pytest.mark.parametrize(
    "attack",
    [
        "UPDATE invoicing_planversion SET effective_to = NULL WHERE number = 1",
        "UPDATE invoicing_planversion SET effective_to = '2026-08-02Z' WHERE number = 1",
        "UPDATE invoicing_planversion SET effective_from = '2026-07-02Z' WHERE number = 2",
        "UPDATE invoicing_planversion SET effective_to = '2026-07-01Z' WHERE number = 2",
    ],
)
def test_raw_sql_cannot_sell_two_versions_at_once_nor_move_a_beginning(attack: str) -> None:
    costs("10")
    costs("20", effective_from="2026-08-01T00:00:00Z")

    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(attack)
    assert [version.number for version in versions_sold(at=JULY)] == [1]


def test_over_the_api_a_subscription_takes_the_version_that_is_sold_when_it_starts() -> None:
    a_customer()
    costs("10")
    caller = Caller()
    plan = {"key": "pro", "name": "Pro", "product": "platform", "prices": [usd_fee("20")]}

    refused = caller.post("/api/v1/plans", plan | {"effective_from": "2026-08-01T00:00:00"})
    dated = caller.post("/api/v1/plans", plan | {"effective_from": "2096-08-01T00:00:00+02:00"})
    start = {"customer_id": "cust_acme", "plan": "pro"}
    before = caller.post("/api/v1/subscriptions", start | {"key": "before", "started_at": "2096-07-01T00:00:00Z"})
    after = caller.post("/api/v1/subscriptions", start | {"key": "after", "started_at": "2096-08-01T00:00:00Z"})
    early = caller.post(
        "/api/v1/subscriptions", start | {"key": "early", "version": 2, "started_at": "2096-07-01T00:00:00Z"}
    )

    assert (refused.status_code, fields_of(refused)) == (422, {"effective_from": "naive"})
    assert dated.json()["versions"][0]["effective_from"] == "2096-07-31T22:00:00Z"
    assert dated.json()["versions"][1]["effective_to"] == "2096-07-31T22:00:00Z"
    assert (before.json()["version"], after.json()["version"]) == (1, 2)
    assert fields_of(early) == {"plan": "not_sold_yet"}


def test_in_the_back_office_a_draft_says_its_dates_and_a_version_is_taken_off_sale(admin_client: Client) -> None:
    costs("10")
    first = PlanVersion.objects.get()
    draft = draft_next_version(plan_id=first.plan_id, actor="test", reason="dearer")
    terms = {"cadence": "month", "proration": "second", "tiers_on_change": "reset"}
    terms |= {"spend-TOTAL_FORMS": "0", "spend-INITIAL_FORMS": "0", "reason": "dearer from August on"}
    edit, publish = (f"/admin/invoicing/planversion/{draft.pk}/{page}" for page in ("change/?edit=1", "publish/"))

    admin_client.post(edit, terms | {"effective_from_0": "2096-08-01", "effective_from_1": "00:00:00"})
    asked = admin_client.get(publish).content.decode()
    admin_client.post(publish, {"reason": "agreed"})
    off = {"effective_to_0": "2097-01-01", "effective_to_1": "00:00:00", "reason": "no longer offered"}
    page = admin_client.post(f"/admin/invoicing/planversion/{draft.pk}/end-sale/", off, follow=True).content.decode()
    past = admin_client.post(
        f"/admin/invoicing/planversion/{first.pk}/end-sale/", off | {"effective_to_0": "2097-01-01"}
    )

    assert "new ones take this one from 2096-08-01 00:00" in asked
    assert "to be sold from 2096-08-01 00:00 (UTC), until 2097-01-01 00:00 (UTC)" in page
    assert past.context["form"].errors["effective_to"]
    first.refresh_from_db()
    assert first.effective_to == datetime(2096, 8, 1, tzinfo=UTC)
