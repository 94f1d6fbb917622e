"""No usage is dropped in silence: every counted event is billed, will be billed, or is listed with the reason."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import call_command
from django.db.models import Sum

from invoicing.catalog.operations import load_catalog
from invoicing.invoices.models import InvoiceLine
from invoicing.subscriptions.cancel import end_subscription
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.unbilled_usage import UnbilledReason, unbilled_usage
from metering.models import UsageWindow
from metering.rollup import roll_up
from tests.factories import AUGUST, JULY, SEPTEMBER, a_customer, a_plan, a_subscription, usd_fee, usd_per_action, use

pytestmark = pytest.mark.django_db

WITHIN = timedelta(days=10, hours=5, minutes=30)


def listed(*, at: datetime = SEPTEMBER) -> list[tuple[str, Decimal, int, UnbilledReason]]:
    roll_up()
    return [(row.customer_id, row.quantity, row.event_count, row.reason) for row in unbilled_usage(at=at)]


def test_usage_that_is_billed_or_will_be_is_not_listed() -> None:
    a_plan()
    a_subscription(a_customer())
    use("cust_acme", "1", at=JULY)
    issue_billing(as_of=AUGUST, at=AUGUST)
    use("cust_acme", "2", at=AUGUST)

    assert listed() == []


def test_usage_of_a_customer_that_nobody_knows_is_listed() -> None:
    a_plan()
    use("cust_nobody", "3", at=JULY + WITHIN)
    use("cust_nobody", "4", at=JULY)

    assert listed() == [("cust_nobody", 7, 2, UnbilledReason.UNKNOWN_CUSTOMER)]
    assert unbilled_usage(at=SEPTEMBER)[0].first_at == JULY


def test_usage_before_the_start_and_after_the_end_of_a_subscription_is_listed_to_the_microsecond() -> None:
    a_plan()
    subscription = a_subscription(a_customer(), started_at=JULY + WITHIN)
    end_subscription(subscription=subscription, ended_at=AUGUST + WITHIN, actor="test", reason="left")
    use("cust_acme", "1", at=JULY + WITHIN - timedelta(microseconds=1))
    use("cust_acme", "10", at=JULY + WITHIN)
    use("cust_acme", "100", at=AUGUST + WITHIN - timedelta(microseconds=1))
    use("cust_acme", "1000", at=AUGUST + WITHIN)
    use("cust_acme", "10000", at=AUGUST + WITHIN + timedelta(days=3))

    assert listed() == [("cust_acme", 11001, 3, UnbilledReason.NO_SUBSCRIPTION)]


def test_usage_of_a_meter_that_the_plan_does_not_price_is_listed() -> None:
    a_plan("fees", usd_fee())
    a_subscription(a_customer(), plan="fees")
    use("cust_acme", "5", at=JULY)
    use("cust_acme", "6", at=JULY - timedelta(days=3))

    assert sorted(listed()) == [
        ("cust_acme", 5, 1, UnbilledReason.NOT_PRICED),
        ("cust_acme", 6, 1, UnbilledReason.NO_SUBSCRIPTION),
    ]


def test_a_meter_that_is_priced_in_another_currency_only_is_listed() -> None:
    a_plan("mixed", usd_fee(), usd_per_action("1") | {"currency": "EUR"})
    a_subscription(a_customer(), plan="mixed")
    use("cust_acme", "5", at=JULY)

    assert listed() == [("cust_acme", 5, 1, UnbilledReason.NOT_PRICED)]


def test_a_meter_that_only_informs_beside_one_that_charges_the_same_events_is_no_loss() -> None:
    calls = {"key": "calls", "name": "Calls", "event_type": "action.consumed", "aggregation": "count", "unit": "call"}
    load_catalog(document={"meters": [calls]}, at=JULY, actor="test", reason="for the charts")
    a_plan()
    a_subscription(a_customer())
    use("cust_acme", "5", at=JULY)

    assert listed() == []


@pytest.mark.requirement("S0-102")
def test_usage_that_comes_after_its_invoice_is_listed_as_late() -> None:
    a_plan()
    a_subscription(a_customer())
    use("cust_acme", "1", at=JULY)
    issue_billing(as_of=AUGUST, at=AUGUST)
    use("cust_acme", "8", at=JULY + timedelta(minutes=1))

    assert listed() == [("cust_acme", 8, 1, UnbilledReason.LATE)]


def test_usage_after_the_moment_asked_for_is_not_judged_yet() -> None:
    a_plan()
    use("cust_nobody", "1", at=JULY)
    use("cust_nobody", "2", at=JULY + timedelta(minutes=10))

    assert listed(at=JULY + timedelta(minutes=10)) == [("cust_nobody", 1, 1, UnbilledReason.UNKNOWN_CUSTOMER)]


def test_two_subscriptions_in_a_row_leave_no_gap_and_a_pause_is_one() -> None:
    a_plan()
    customer = a_customer()
    end_subscription(subscription=a_subscription(customer), ended_at=JULY + WITHIN, actor="test", reason="pause")
    a_subscription(customer, key="two", started_at=JULY + WITHIN + timedelta(minutes=7))
    for minutes in range(20):
        use("cust_acme", "1", at=JULY + WITHIN + timedelta(minutes=minutes))

    assert listed() == [("cust_acme", 7, 7, UnbilledReason.NO_SUBSCRIPTION)]


def test_what_was_counted_is_what_was_billed_and_what_is_listed() -> None:
    a_plan("pro", usd_per_action("1"))
    a_plan("fees", usd_fee())
    for number, plan in enumerate(["pro", "fees", "pro", ""]):
        customer = a_customer(f"cust_{number}", timezone=["UTC", "Asia/Kolkata", "America/New_York", "UTC"][number])
        if plan:
            subscription = a_subscription(customer, plan=plan, started_at=JULY + number * WITHIN)
        if number == 2:
            end_subscription(subscription=subscription, ended_at=AUGUST + WITHIN, actor="test", reason="left")
    for number in range(6):
        for day in range(-20, 70, 3):
            use(f"cust_{number}", "1.5", at=JULY + timedelta(days=day, hours=number, minutes=17 * number))
    far = datetime(2026, 12, 1, tzinfo=UTC)

    issue_billing(as_of=far, at=far)
    use("cust_0", "1.5", at=JULY)
    roll_up()

    counted = UsageWindow.objects.aggregate(all=Sum("value"))["all"]
    billed = InvoiceLine.objects.exclude(meter_key="").aggregate(all=Sum("quantity"))["all"]
    unbilled = sum(row.quantity for row in unbilled_usage(at=far))
    assert counted == billed + unbilled
    assert billed > 0 and unbilled > 0


def test_verify_lists_unbilled_usage_and_is_still_content(capsys: pytest.CaptureFixture[str]) -> None:
    a_plan()
    use("cust_nobody", "3", at=JULY)

    call_command("verify")

    output = capsys.readouterr().out
    assert "all equal" in output
    assert "there is no such customer" in output


def test_reading_it_costs_two_queries_and_leaves_priced_windows_alone(django_assert_num_queries: Any) -> None:
    load_catalog(document={}, at=JULY, actor="test", reason="nothing")
    a_plan()
    a_subscription(a_customer())
    use("cust_acme", "3", at=JULY)
    roll_up()

    with django_assert_num_queries(2):
        unbilled_usage(at=SEPTEMBER)
