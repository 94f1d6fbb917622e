"""A plan changes within a period: the period is split there, for fees and for usage, to the cent."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError, connection, transaction

from billing_site.kernel.errors import BillingError, Conflict, InvalidFields, InvalidInput
from invoicing.catalog.queries import published_version
from invoicing.invoices.models import Invoice
from invoicing.subscriptions.amend import change_plan, change_quantity
from invoicing.subscriptions.cancel import end_subscription
from invoicing.subscriptions.models import Subscription, SubscriptionPhase
from invoicing.subscriptions.pause import pause_subscription, resume_subscription
from invoicing.workflows.preview_billing import preview_billing
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.unbilled_usage import UnbilledReason, unbilled_usage
from invoicing.workflows.verify import verify
from tests.factories import (
    AUGUST,
    JULY,
    SEPTEMBER,
    a_customer,
    a_plan,
    a_subscription,
    amounts,
    settle_constraints,
    usd_fee,
    usd_per_action,
    use,
)

pytestmark = pytest.mark.django_db

BILLED_AT = datetime(2026, 10, 1, tzinfo=UTC)
WHO = {"actor": "test", "reason": "wants more"}
TIERS = [{"up_to": "10", "unit_amount": "1"}, {"up_to": None, "unit_amount": "0.5"}]


def july(day: int, hour: int = 0) -> datetime:
    return datetime(2026, 7, day, hour, tzinfo=UTC)


def to_plan(subscription: Subscription, plan: str, at: datetime) -> Subscription:
    return change_plan(subscription=subscription, plan_version=published_version(plan_key=plan), at=at, **WHO)


def bill(as_of: datetime = AUGUST) -> Invoice:
    [invoice] = issue_billing(as_of=as_of, at=BILLED_AT).invoices
    settle_constraints()
    assert verify() == []
    return invoice


def lines(invoice: Invoice) -> list[tuple[str, str, str, str]]:
    return [
        (line.description, f"{line.service_start:%m-%d}", f"{line.service_end:%m-%d}", amounts([line])[0])
        for line in invoice.lines.order_by("position")
    ]


@pytest.fixture
def subscription() -> Subscription:
    """On `pro`: a fee of 29 and 0.01 an action. `max` costs 99 and 0.005 an action."""
    a_plan("pro")
    a_plan("max", usd_fee("99"), usd_per_action("0.005"))
    return a_subscription(a_customer())


@pytest.mark.requirement("S0-104")
@pytest.mark.requirement("S1-056")
def test_a_change_of_plan_splits_the_period_for_fees_and_usage(subscription: Subscription) -> None:
    use("cust_acme", "1000", at=july(10))
    use("cust_acme", "1000", at=july(21) - timedelta(microseconds=1))
    use("cust_acme", "1000", at=july(21))

    to_plan(subscription, "max", july(21))

    invoice = bill()
    assert lines(invoice) == [
        ("Base fee", "07-01", "07-21", "18.71"),  # 29 × 20/31
        ("Actions", "07-01", "07-21", "20.00"),
        ("Base fee", "07-21", "08-01", "35.13"),  # 99 × 11/31
        ("Actions", "07-21", "08-01", "5.00"),
    ]
    assert invoice.total.amount == Decimal("78.84")


def test_a_change_at_renewal_leaves_the_running_period_alone(subscription: Subscription) -> None:
    to_plan(subscription, "max", AUGUST)

    first = bill()
    [second] = issue_billing(as_of=SEPTEMBER, at=BILLED_AT).invoices

    assert amounts(first.lines.order_by("position")) == ["29.00", "0.00"]
    assert amounts(second.lines.order_by("position")) == ["99.00", "0.00"]


def test_the_same_change_twice_is_one(subscription: Subscription) -> None:
    to_plan(subscription, "max", july(21))
    to_plan(subscription, "max", july(21))

    assert SubscriptionPhase.objects.count() == 2
    to_plan(subscription, "pro", july(21))
    assert SubscriptionPhase.objects.count() == 1


@pytest.mark.parametrize(
    ("proration", "fees"),
    [("second", ["13.56", "52.69"]), ("day", ["13.10", "54.29"]), ("none", ["29.00", "0.00"])],
)
def test_the_plan_in_force_when_the_period_begins_says_how_it_is_divided(proration: str, fees: list[str]) -> None:
    a_plan("pro", usd_fee("29"), proration=proration)
    a_plan("max", usd_fee("99"), proration="second")
    subscription = a_subscription(a_customer())

    to_plan(subscription, "max", july(15, 12))

    assert amounts(bill().lines.order_by("position")) == fees


def test_seats_multiply_the_fee_from_their_day_on_and_leave_usage_whole() -> None:
    a_plan("pro", usd_fee("31"), usd_per_action(model="graduated", unit_amount=None, tiers=TIERS))
    subscription = a_subscription(a_customer())
    use("cust_acme", "10", at=july(2))
    use("cust_acme", "10", at=july(20))

    change_quantity(subscription=subscription, quantity=3, at=july(11), **WHO)

    invoice = bill()
    assert lines(invoice) == [
        ("Base fee", "07-01", "07-11", "10.00"),
        ("Base fee", "07-11", "08-01", "63.00"),  # 3 × 31 × 21/31
        ("Actions", "07-01", "08-01", "15.00"),
    ]
    seats = invoice.lines.get(position=2)
    assert seats.quantity == 3
    assert seats.rated["explanation"] == "3 times a flat fee of USD 31.00 for 21/31 of the billing period."


def test_a_pause_is_not_charged_and_its_usage_is_listed(subscription: Subscription) -> None:
    use("cust_acme", "100", at=july(5))
    use("cust_acme", "7", at=july(15))
    use("cust_acme", "100", at=july(25))

    pause_subscription(subscription=subscription, at=july(11), **WHO)
    resume_subscription(subscription=subscription, at=july(21), **WHO)

    assert lines(bill()) == [
        ("Base fee", "07-01", "07-11", "9.35"),
        ("Actions", "07-01", "07-11", "1.00"),
        ("Base fee", "07-21", "08-01", "10.29"),
        ("Actions", "07-21", "08-01", "1.00"),
    ]
    [unbilled] = unbilled_usage(at=AUGUST)
    assert (unbilled.quantity, unbilled.reason) == (7, UnbilledReason.PAUSED)


def test_a_period_that_is_all_paused_makes_no_invoice(subscription: Subscription) -> None:
    pause_subscription(subscription=subscription, at=JULY, **WHO)

    assert preview_billing(as_of=SEPTEMBER).previews == []


@pytest.mark.requirement("S0-122")
def test_a_trial_is_metered_and_not_billed(subscription: Subscription) -> None:
    customer = a_customer("cust_new")
    use("cust_new", "50", at=july(3))
    use("cust_new", "100", at=july(20))

    a_subscription(customer, trial_ends_at=july(15), key="trial")

    invoice = next(one for one in issue_billing(as_of=AUGUST, at=BILLED_AT).invoices if one.customer == customer)
    assert lines(invoice) == [("Base fee", "07-15", "08-01", "15.90"), ("Actions", "07-15", "08-01", "1.00")]
    assert [(one.quantity, one.reason) for one in unbilled_usage(at=AUGUST)] == [(50, UnbilledReason.TRIAL)]


@pytest.mark.parametrize(
    ("at", "code"),
    [
        (datetime(2026, 6, 30, 23, tzinfo=UTC), "before_start"),
        (datetime(2026, 7, 31, tzinfo=UTC), "invoiced_already"),
        (datetime(2026, 9, 15, tzinfo=UTC), "after_end"),
        (datetime(2026, 8, 15), "naive"),
        (datetime(2100, 8, 15, tzinfo=UTC), "out_of_range"),
    ],
)
def test_a_change_outside_of_the_subscription_or_inside_an_issued_period_is_refused_by_its_field(
    subscription: Subscription, at: datetime, code: str
) -> None:
    bill()
    end_subscription(subscription=subscription, ended_at=datetime(2026, 9, 15, tzinfo=UTC), **WHO)

    for change in (
        lambda: to_plan(subscription, "max", at),
        lambda: change_quantity(subscription=subscription, quantity=2, at=at, **WHO),
        lambda: pause_subscription(subscription=subscription, at=at, **WHO),
    ):
        with pytest.raises((InvalidInput, Conflict)) as refused:
            change()
        assert [(error.field, error.code) for error in refused.value.field_errors] == [("at", code)]
    assert SubscriptionPhase.objects.count() == 1


def test_a_resume_inside_an_issued_period_that_was_all_paused_is_refused(subscription: Subscription) -> None:
    customer = subscription.customer
    pause_subscription(subscription=subscription, at=JULY, **WHO)
    a_plan("fee", usd_fee("1"))
    a_subscription(customer, plan="fee", key="other")
    bill()

    with pytest.raises(Conflict, match="invoiced until 2026-08-01"):
        resume_subscription(subscription=subscription, at=july(20), **WHO)


def test_a_change_to_a_plan_that_cannot_be_in_force_is_refused_at_the_plan(subscription: Subscription) -> None:
    a_plan("euro", {**usd_fee("1"), "currency": "EUR"})
    other = a_subscription(a_customer("cust_two"), key="two")
    a_plan("fee", usd_fee("1"))
    fee = a_subscription(other.customer, plan="fee", key="fee")

    with pytest.raises(InvalidFields) as no_price:
        to_plan(subscription, "euro", july(10))
    with pytest.raises(InvalidFields) as twice:
        to_plan(fee, "max", july(10))

    assert [(error.field, error.code) for error in no_price.value.errors] == [("plan", "no_price")]
    assert [(error.field, error.code) for error in twice.value.errors] == [("plan", "metered_already")]


def test_a_plan_changes_before_its_subscription_is_followed_by_another_over_the_same_meter(
    subscription: Subscription,
) -> None:
    end_subscription(subscription=subscription, ended_at=july(20), **WHO)
    a_subscription(subscription.customer, key="next", started_at=july(20))

    to_plan(subscription, "max", july(10))

    assert [phase.starts_at.day for phase in subscription.phases.order_by("starts_at")] == [1, 10]


@pytest.mark.parametrize("quantity", [0, -1, 1_000_001])
def test_a_quantity_out_of_range_is_refused(subscription: Subscription, quantity: int) -> None:
    with pytest.raises(BillingError, match="between 1 and 1,000,000"):
        change_quantity(subscription=subscription, quantity=quantity, at=july(10), **WHO)


@pytest.mark.parametrize(
    "statement",
    [
        # overlap, gap, before the start, beyond the end
        "INSERT INTO invoicing_subscriptionphase (subscription_id, plan_version_id, kind, quantity, starts_at, ends_at)"
        " SELECT subscription_id, plan_version_id, kind, 1, '2026-09-01', NULL FROM invoicing_subscriptionphase LIMIT 1",
        "UPDATE invoicing_subscriptionphase SET ends_at = '2026-09-20' WHERE ends_at IS NULL",
        "DELETE FROM invoicing_subscriptionphase WHERE ends_at IS NULL",
        "DELETE FROM invoicing_subscriptionphase",
        "UPDATE invoicing_subscription SET ended_at = '2026-09-20'",
        "INSERT INTO invoicing_subscription (key, customer_id, anchor, started_at)"
        " SELECT 'bare', customer_id, 'calendar', '2026-09-01' FROM invoicing_subscription",
        # what is invoiced
        "UPDATE invoicing_subscriptionphase SET kind = 'paused'",
        "UPDATE invoicing_subscriptionphase SET quantity = 2 WHERE ends_at IS NOT NULL",
        "UPDATE invoicing_subscriptionphase SET plan_version_id = (SELECT max(id) FROM invoicing_planversion)"
        " WHERE ends_at IS NOT NULL",
        "UPDATE invoicing_subscriptionphase SET ends_at = '2026-07-15' WHERE ends_at IS NOT NULL",
        "UPDATE invoicing_subscriptionphase SET starts_at = '2026-06-01' WHERE ends_at IS NOT NULL",
        # nonsense
        "UPDATE invoicing_subscriptionphase SET quantity = 0 WHERE ends_at IS NULL",
        "UPDATE invoicing_subscriptionphase SET kind = 'free' WHERE ends_at IS NULL",
        "TRUNCATE invoicing_subscriptionphase",
    ],
)
def test_raw_sql_neither_tears_phases_apart_nor_rewrites_what_is_invoiced(
    subscription: Subscription, statement: str
) -> None:
    to_plan(subscription, "max", datetime(2026, 8, 11, tzinfo=UTC))
    bill()

    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
