"""Tiers, free units and packages that go on over a change within a period, where the plan says so."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from billing_site.kernel.errors import InvalidFields
from billing_site.kernel.period import Period
from invoicing.catalog.draft import draft_next_version
from invoicing.catalog.models import Plan
from invoicing.catalog.operations import load_catalog, publish_version
from invoicing.catalog.queries import published_version
from invoicing.invoices.models import Invoice
from invoicing.subscriptions.amend import change_plan
from invoicing.subscriptions.models import Subscription
from invoicing.subscriptions.pause import pause_subscription, resume_subscription
from invoicing.workflows.compute_invoice import compute_as_known
from invoicing.workflows.explain_invoice import explain_invoice
from invoicing.workflows.late_changes import late_changes
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.settle_late_usage import settle_late_changes
from invoicing.workflows.verify import verify
from metering.models import Meter, UsageEvent
from tests.factories import AUGUST, JULY, SEPTEMBER, a_customer, a_plan, a_subscription, amounts, usd_per_action, use

pytestmark = pytest.mark.django_db

BILLED_AT = datetime(2026, 8, 1, 9, tzinfo=UTC)
WHO = {"actor": "test", "reason": "wants more"}
TIERS = [{"up_to": "10", "unit_amount": "1"}, {"up_to": None, "unit_amount": "0.5"}]


def tiered(**members: Any) -> dict[str, Any]:
    return usd_per_action(model="graduated", unit_amount=None, tiers=TIERS, **members)


def july(day: int) -> datetime:
    return datetime(2026, 7, day, tzinfo=UTC)


def changed(**terms: str) -> Subscription:
    """Changed from `pro` to `max` on the 16th, both by the same tiers; 8 actions before and 8 after."""
    a_plan("pro", tiered())
    a_plan("max", tiered(), **terms)
    subscription = a_subscription(a_customer())
    use("cust_acme", "8", at=july(5))
    use("cust_acme", "8", at=july(20))
    change_plan(subscription=subscription, plan_version=published_version(plan_key="max"), at=july(16), **WHO)
    return subscription


def bill() -> Invoice:
    [invoice] = issue_billing(as_of=AUGUST, at=BILLED_AT).invoices
    return invoice


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ({}, ["8.00", "8.00"]),
        ({"tiers_on_change": "reset"}, ["8.00", "8.00"]),
        ({"tiers_on_change": "carry"}, ["8.00", "5.00"]),
    ],
)
def test_the_new_plan_says_where_its_tiers_begin(terms: dict[str, str], expected: list[str]) -> None:
    changed(**terms)

    invoice = bill()

    assert amounts(invoice.lines.order_by("position")) == expected
    assert verify() == []
    explained = explain_invoice(number=str(invoice.number))
    assert all(line["equal"] for line in explained["lines"])


def test_what_is_carried_is_said_on_the_line() -> None:
    changed(tiers_on_change="carry")

    line = bill().lines.get(position=2)

    assert "It goes on from 8 actions that were used before in the same billing period." in line.rated["explanation"]
    assert line.rated["inputs"]["usage"]["carried"] == "8"


def test_a_pause_carries_what_was_charged_and_not_what_was_used_in_it() -> None:
    a_plan("pro", tiered(), tiers_on_change="carry")
    subscription = a_subscription(a_customer())
    for day in (5, 15, 25):
        use("cust_acme", "8", at=july(day))
    pause_subscription(subscription=subscription, at=july(10), **WHO)
    resume_subscription(subscription=subscription, at=july(20), **WHO)

    assert amounts(bill().lines.order_by("position")) == ["8.00", "5.00"]


def test_late_usage_before_a_change_moves_the_tiers_after_it_too() -> None:
    """The effect is the difference of two previews, whole lines of both services rated again."""
    subscription = changed(tiers_on_change="carry")
    bill()
    known = UsageEvent.objects.order_by("-pk").first().pk  # type: ignore[union-attr]

    use("cust_acme", "2", at=july(6))

    found = late_changes(at=SEPTEMBER).changes
    assert [f"{change.effect.amount:.2f}" for change in found] == ["2.00", "-1.00"]
    before, after = (
        compute_as_known(customer=subscription.customer, period=Period(JULY, AUGUST), known_through=through)
        for through in (known, known + 1_000)
    )
    difference = after.assembled.total - before.assembled.total
    assert f"{difference.amount:.2f}" == "1.00"
    settle_late_changes(at=BILLED_AT + timedelta(hours=1))
    assert late_changes(at=SEPTEMBER).changes == ()
    [august] = issue_billing(as_of=SEPTEMBER, at=SEPTEMBER + timedelta(hours=9)).invoices
    assert f"{august.total.amount:.2f}" == "1.00"
    assert verify() == []


def test_places_are_carried_for_meters_that_add_up_only() -> None:
    plan = {"key": "pro", "product": "platform", "tiers_on_change": "carry", "prices": [{**tiered(), "meter": "peak"}]}
    peak = {"key": "peak", "event_type": "action.consumed", "aggregation": "max"}
    document = {"meters": [peak], "products": [{"key": "platform"}], "plans": [plan]}

    with pytest.raises(InvalidFields) as refused:
        load_catalog(document=document, at=JULY, actor="test", reason="try")

    assert [(error.field, error.code) for error in refused.value.errors] == [
        ("plans[0].tiers_on_change", "not_additive")
    ]


def test_a_draft_that_cannot_carry_is_not_published() -> None:
    a_plan("pro", tiered())
    draft = draft_next_version(plan_id=Plan.objects.get().pk, actor="test", reason="next")
    draft.tiers_on_change = "carry"
    draft.save()
    draft.prices.update(
        meter=Meter.objects.create(key="peak", name="Peak", event_type="peak", aggregation="max", unit="x")
    )

    with pytest.raises(InvalidFields, match="add up"):
        publish_version(version_id=draft.pk, at=JULY, actor="test", reason="next")
