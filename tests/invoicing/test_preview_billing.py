"""A dry run of many customers says what the run would make of each, and reads what they agreed to at once."""

from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from moneyed import Money

from invoicing.catalog.queries import published_version
from invoicing.subscriptions.amend import change_plan, change_quantity
from invoicing.workflows.preview_billing import preview_billing
from invoicing.workflows.run_billing import issue_billing
from tests.factories import (
    AUGUST,
    JULY,
    MILLION_TIERS,
    SEPTEMBER,
    a_customer,
    a_plan,
    a_subscription,
    usd_fee,
    usd_per_action,
    use,
)

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
BY = {"actor": "test", "reason": "grew"}


def previewed(as_of: datetime = SEPTEMBER) -> dict[tuple[str, datetime], Money]:
    report = preview_billing(as_of=as_of)
    assert not report.failures, report.failures
    return {(one.customer.key, one.period.start): one.total for one in report.previews}


def test_totals_of_a_dry_run_are_those_of_the_invoices_that_the_run_then_issues() -> None:
    """Whole and partial months, seats, tiers that are carried over a change, and late usage that a next invoice carries."""
    tiers = {**usd_per_action(), "model": "graduated", "tiers": MILLION_TIERS}
    del tiers["unit_amount"]
    a_plan("pro", usd_fee(), usd_per_action("0.005", free_units="100", minimum_amount="1"))
    a_plan("scale", usd_fee("100"), tiers, tiers_on_change="carry")
    for key, started_at in (("whole", JULY), ("late", JULY + 11 * DAY), ("moving", JULY)):
        subscription = a_subscription(a_customer(key), started_at=started_at)
        use(key, "1500.5", at=JULY + 12 * DAY)
    change_quantity(subscription=subscription, quantity=7, at=JULY + 5 * DAY, **BY)
    change_plan(subscription=subscription, plan_version=published_version(plan_key="scale"), at=JULY + 9 * DAY, **BY)
    issue_billing(as_of=AUGUST, at=AUGUST, customer_key="whole")
    use("whole", "333", at=JULY + 20 * DAY)

    expected = previewed()

    assert [f"{moment:%m} {key}" for key, moment in expected] == [
        "07 late",
        "07 moving",
        "08 whole",
        "08 late",
        "08 moving",
    ]
    issued = issue_billing(as_of=SEPTEMBER, at=SEPTEMBER).invoices
    assert {(one.customer.key, one.period_start): one.total for one in issued} == expected
    # The fee, the minimum, and 333 late actions of July.
    assert expected["whole", AUGUST] == Money("31.67", "USD")


def test_a_customer_that_cannot_be_previewed_is_told_and_does_not_hold_up_the_others() -> None:
    a_plan()
    torn, fine = a_customer("torn"), a_customer("fine")
    a_subscription(fine)
    a_subscription(torn)
    a_plan("other", usd_fee("1"))
    second = a_subscription(torn, plan="other", key="second")
    # No operation puts a meter in force twice; SQL of somebody might.
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE invoicing_subscriptionphase SET plan_version_id = %s WHERE subscription_id = %s",
            [published_version(plan_key="pro").pk, second.pk],
        )

    report = preview_billing(as_of=AUGUST)

    assert [one.customer.key for one in report.previews] == ["fine"]
    assert [one.customer for one in report.failures] == ["torn"]
    assert "would both charge the usage of meter actions" in report.failures[0].message


def test_a_dry_run_of_fees_asks_as_many_questions_for_ten_customers_as_for_two() -> None:
    a_plan("base", usd_fee())
    for number in range(2):
        a_subscription(a_customer(f"cust_{number}"), plan="base")
    previewed()
    with CaptureQueriesContext(connection) as of_two:
        previewed()
    for number in range(2, 10):
        a_subscription(a_customer(f"cust_{number}"), plan="base")

    with CaptureQueriesContext(connection) as of_ten:
        found = previewed()

    assert len(found) == 20
    assert len(of_ten) == len(of_two)
