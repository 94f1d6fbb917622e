"""A change is looked at before it is made: the invoices of the running and the next periods, before and after."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from billing_site.kernel.errors import Conflict
from invoicing.catalog.queries import published_version
from invoicing.core.phases import PhaseKind
from invoicing.subscriptions.change import Change, ChangeKind, Timing, moment_of
from invoicing.subscriptions.models import Subscription, SubscriptionPhase
from invoicing.workflows.preview_change import ChangePreview, make_change, preview_change
from invoicing.workflows.run_billing import issue_billing
from tests.billing_site.api.caller import Caller, fields_of
from tests.factories import (
    AUGUST,
    JULY,
    SEPTEMBER,
    a_customer,
    a_plan,
    a_subscription,
    settle_constraints,
    usd_fee,
    usd_per_action,
    use,
)

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 7, 21, tzinfo=UTC)
WHO = {"actor": "test", "reason": "asked for it"}


@pytest.fixture
def subscription() -> Subscription:
    """On `pro`: a fee of 31 and 0.01 an action; 1,000 actions were used. `max` costs 62 and 0.005 an action."""
    a_plan("pro", usd_fee("31"), usd_per_action())
    a_plan("max", usd_fee("62"), usd_per_action("0.005"))
    subscription = a_subscription(a_customer())
    use("cust_acme", "1000", at=JULY + timedelta(days=2))
    return subscription


def to_max(at: datetime) -> Change:
    return Change(ChangeKind.PLAN, at, plan_version=published_version(plan_key="max"))


def shown(preview: ChangePreview) -> list[tuple[str, str, str]]:
    return [
        (f"{one.period.start:%m}", f"{one.before.total.amount:.2f}", f"{one.after.total.amount:.2f}")
        for one in preview.periods
    ]


def test_a_preview_shows_the_running_and_the_next_invoice_and_keeps_nothing(subscription: Subscription) -> None:
    preview = preview_change(subscription=subscription, change=to_max(NOW), at=NOW)

    assert shown(preview) == [("07", "41.00", "52.00"), ("08", "31.00", "62.00")]
    assert f"{preview.difference.amount:.2f}" == "42.00"
    assert SubscriptionPhase.objects.count() == 1
    assert subscription.history.count() == 1


def test_a_change_at_renewal_shows_the_next_invoice_as_other_only(subscription: Subscription) -> None:
    at = moment_of(subscription=subscription, timing=Timing.RENEWAL, now=NOW)

    preview = preview_change(subscription=subscription, change=to_max(at), at=NOW)

    assert at == AUGUST
    assert shown(preview) == [("07", "41.00", "41.00"), ("08", "31.00", "62.00"), ("09", "31.00", "62.00")]


def test_what_was_previewed_is_what_is_made_and_then_billed(subscription: Subscription) -> None:
    preview = preview_change(subscription=subscription, change=to_max(NOW), at=NOW)

    done = make_change(subscription=subscription, change=to_max(NOW), at=NOW, digest=preview.digest, **WHO)

    assert done == preview
    [invoice] = issue_billing(as_of=AUGUST, at=SEPTEMBER).invoices
    assert invoice.total == preview.periods[0].after.total


def test_a_change_that_would_do_something_else_by_now_is_not_made(subscription: Subscription) -> None:
    preview = preview_change(subscription=subscription, change=to_max(NOW), at=NOW)
    use("cust_acme", "1", at=JULY + timedelta(days=3))

    with pytest.raises(Conflict, match="look at the preview again"):
        make_change(subscription=subscription, change=to_max(NOW), at=NOW, digest=preview.digest, **WHO)

    assert SubscriptionPhase.objects.count() == 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (Change(ChangeKind.QUANTITY, NOW, quantity=2), [("07", "41.00", "52.00"), ("08", "31.00", "62.00")]),
        (Change(ChangeKind.PAUSE, NOW), [("07", "41.00", "30.00"), ("08", "31.00", "0.00")]),
        (Change(ChangeKind.CANCEL, NOW), [("07", "41.00", "30.00"), ("08", "31.00", "0.00")]),
    ],
)
def test_every_kind_of_change_can_be_looked_at(
    subscription: Subscription, change: Change, expected: list[tuple[str, str, str]]
) -> None:
    assert shown(preview_change(subscription=subscription, change=change, at=NOW)) == expected
    assert SubscriptionPhase.objects.count() == 1


def test_an_extension_of_a_trial_shows_what_is_given_away() -> None:
    a_plan("pro", usd_fee("31"))
    subscription = a_subscription(a_customer(), trial_ends_at=JULY + timedelta(days=14))
    change = Change(ChangeKind.TRIAL_END, AUGUST)

    preview = preview_change(subscription=subscription, change=change, at=JULY + timedelta(days=10))

    assert shown(preview)[:2] == [("07", "17.00", "0.00"), ("08", "31.00", "31.00")]
    assert [phase.kind for phase in preview.after.phases] == [PhaseKind.TRIAL, PhaseKind.ACTIVE]


def test_a_preview_costs_the_same_however_many_phases_there_are(subscription: Subscription) -> None:
    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as seen:
            preview_change(subscription=subscription, change=to_max(NOW), at=NOW)
        return len(seen)

    few = queries()
    for day in range(2, 12):
        change = Change(ChangeKind.QUANTITY, JULY + timedelta(days=day), quantity=day)
        make_change(subscription=subscription, change=change, at=NOW, **WHO)

    assert queries() <= few + 2


def test_over_the_api_a_change_is_previewed_then_made_then_there(subscription: Subscription) -> None:
    caller, path = Caller(), "/api/v1/subscriptions/sub_cust_acme/changes"
    body = {"change": "plan", "plan": "max", "at": "2026-07-21T00:00:00Z"}

    preview = caller.post(path, {**body, "preview": True})
    without_reason = caller.post(path, body)
    made = caller.post(path, {**body, "reason": "upgrade", "digest": preview.json()["digest"]})
    settle_constraints()

    assert preview.status_code == 200
    assert preview.json()["preview"] is True
    assert len(preview.json()["subscription"]["phases"]) == 1
    july = preview.json()["periods"][0]
    assert july["period"] == {"start": "2026-07-01T00:00:00Z", "end": "2026-08-01T00:00:00Z"}
    assert (july["before"], july["after"]) == (
        {"amount": "41.00", "currency": "USD"},
        {"amount": "52.00", "currency": "USD"},
    )
    assert (without_reason.status_code, fields_of(without_reason)) == (422, {"reason": "required"})
    assert made.status_code == 200
    assert made.json()["digest"] == preview.json()["digest"]
    assert [(one["plan"], one["ends_at"]) for one in made.json()["subscription"]["phases"]] == [
        ("pro", "2026-07-21T00:00:00Z"),
        ("max", None),
    ]


@pytest.mark.parametrize(
    ("body", "kinds"),
    [
        ({"change": "pause", "at": "2026-07-21T00:00:00Z"}, ["active", "paused"]),
        ({"change": "cancel", "at": "2026-08-15T00:00:00Z"}, ["active"]),
        ({"change": "quantity", "quantity": 5, "at": "2026-08-01T00:00:00Z"}, ["active", "active"]),
    ],
)
def test_each_change_is_there_over_the_api(
    subscription: Subscription, body: dict[str, object], kinds: list[str]
) -> None:
    answer = Caller().post("/api/v1/subscriptions/sub_cust_acme/changes", {**body, "reason": "asked for it"})

    assert answer.status_code == 200
    assert [one["kind"] for one in answer.json()["subscription"]["phases"]] == kinds
