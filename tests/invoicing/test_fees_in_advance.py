"""Fees in advance: paid before service, settled on the next invoice, and over a life the same as in arrears."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.urls import reverse
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from moneyed import Money

from billing_site.kernel.errors import BillingError, Conflict, InvalidFields
from invoicing.catalog.coupon_document import read_coupon
from invoicing.catalog.coupons import create_coupon
from invoicing.catalog.draft import draft_next_version
from invoicing.catalog.queries import published_version
from invoicing.customers.portal_links import link_for
from invoicing.invoices.models import Invoice
from invoicing.ledger.queries import trial_balance
from invoicing.subscriptions.amend import change_plan
from invoicing.subscriptions.cancel import end_subscription
from invoicing.subscriptions.change import Change, ChangeKind, apply_change
from invoicing.subscriptions.models import Subscription
from invoicing.subscriptions.redeem import redeem_coupon
from invoicing.workflows.explain_invoice import explain_invoice
from invoicing.workflows.invoice_document import document_of
from invoicing.workflows.issue_invoice import issue_invoice
from invoicing.workflows.preview_billing import preview_billing
from invoicing.workflows.preview_change import preview_change
from invoicing.workflows.run_billing import draft_billing, issue_billing
from invoicing.workflows.verify import verify
from tests.billing_site.api.caller import Caller
from tests.factories import (
    AUGUST,
    JULY,
    SEPTEMBER,
    a_customer,
    a_plan,
    a_subscription,
    nothing_is_checked_before_issue,
    settle_constraints,
    usd_fee,
    usd_per_action,
    use,
)
from tests.invoicing.late import lines_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_is_held(db: None) -> None:
    """Whatever is drawn here, months without usage among it, is issued."""
    nothing_is_checked_before_issue()


OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)


def fee(amount: str) -> dict[str, Any]:
    return usd_fee(amount) | {"in_advance": True}


def billed(until: datetime) -> list[Invoice]:
    report = issue_billing(as_of=until, at=until + timedelta(hours=7))
    assert not report.failures, report.failures
    settle_constraints()
    return report.invoices


def deferred() -> Decimal:
    return -sum((one.amount.amount for one in trial_balance() if one.account == "2200"), Decimal(0))


def changed(subscription: Subscription, plan: str, at: datetime) -> None:
    version = published_version(plan_key=plan)
    change_plan(subscription=subscription, plan_version=version, at=at, actor="test", reason="agreed")


def test_the_fee_is_paid_before_service_and_the_next_one_with_the_invoice_of_the_period_that_ends() -> None:
    a_plan("pro", fee("100"), usd_per_action("0.01"))
    a_subscription(a_customer())
    use("cust_acme", "500", at=JULY + timedelta(days=3))

    (opening,) = billed(JULY)
    assert lines_of(opening) == [("In advance for July 2026", "100.00")]
    assert (opening.period_end, opening.total, deferred()) == (JULY, Money("100.00", "USD"), 100)
    (july,) = billed(AUGUST)

    assert lines_of(july) == [
        ("Base fee", "100.00"),
        ("Actions", "5.00"),
        ("Invoiced in advance", "-100.00"),
        ("In advance for August 2026", "100.00"),
    ]
    assert (july.total, deferred()) == (Money("105.00", "USD"), 100)
    assert billed(AUGUST) == []
    for invoice in (opening, july):
        assert explain_invoice(number=str(invoice.number))["equal"] is True
    assert not list(verify())


def test_an_upgrade_is_settled_on_the_next_invoice_and_what_an_ended_subscription_leaves_goes_to_another() -> None:
    a_plan("pro", fee("31"))
    a_plan("big", fee("62"))
    a_plan("other", usd_per_action("0.01"))
    customer = a_customer()
    subscription = a_subscription(customer)
    billed(JULY)

    changed(subscription, "big", JULY + timedelta(days=20))
    (july,) = billed(AUGUST)
    assert july.total == Money("73.00", "USD")  # 20 + 22 owed, 31 paid, 62 for August
    end_subscription(subscription=subscription, ended_at=AUGUST + timedelta(days=10), actor="test", reason="left")
    (august,) = billed(SEPTEMBER)
    assert (august.total, deferred()) == (Money("0.00", "USD"), 42)

    a_subscription(customer, plan="other", key="sub_other", started_at=SEPTEMBER)
    use("cust_acme", "5000", at=SEPTEMBER + timedelta(days=3))
    (september,) = billed(OCTOBER)

    assert lines_of(september) == [("Actions", "50.00"), ("Credit from fees invoiced in advance", "-42.00")]
    assert deferred() == 0
    assert not list(verify())


@settings(
    max_examples=6,
    deadline=None,
    phases=[Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    cadence=st.sampled_from(["week", "month", "quarter", "year"]),
    anchor=st.sampled_from(["calendar", "anniversary"]),
    trial_days=st.sampled_from([0, 10, 45]),
    changes=st.lists(
        st.tuples(
            st.integers(1, 99),
            st.sampled_from([ChangeKind.PLAN, ChangeKind.QUANTITY, ChangeKind.PAUSE, ChangeKind.RESUME]),
            st.sampled_from(["pro", "big"]),
            st.integers(1, 4),
        ),
        max_size=4,
    ),
    ends_after=st.integers(100, 140),
)
def test_whatever_is_changed_when_in_advance_and_in_arrears_bill_the_same_over_a_life(
    cadence: str,
    anchor: str,
    trial_days: int,
    changes: list[tuple[int, ChangeKind, str, int]],
    ends_after: int,
) -> None:
    begins = JULY + timedelta(days=5)
    trial_ends_at = begins + timedelta(days=trial_days) if trial_days else None
    with nothing_kept():
        subscriptions = {}
        for when, price in (("arrears", usd_fee), ("advance", fee)):
            a_plan(f"pro-{when}", price("31"), cadence=cadence)
            a_plan(f"big-{when}", price("62"), cadence=cadence)
            subscriptions[when] = a_subscription(
                a_customer(f"cust_{when}"),
                plan=f"pro-{when}",
                started_at=begins,
                anchor=anchor,
                trial_ends_at=trial_ends_at,
            )
        for day, kind, plan, quantity in sorted(changes, key=lambda change: change[0]):
            at = begins + timedelta(days=day)
            billed(at)
            said = {
                when: refusal(subscription, at, kind, f"{plan}-{when}", quantity)
                for when, subscription in subscriptions.items()
            }
            assert said["arrears"] == said["advance"]
        ends_at = begins + timedelta(days=ends_after)
        billed(ends_at)
        for subscription in subscriptions.values():
            end_subscription(subscription=subscription, ended_at=ends_at, actor="test", reason="left")
        billed(begins + timedelta(days=800))

        paid = {
            when: sum((one.total.amount for one in subscription.customer.invoices.all()), Decimal(0))
            for when, subscription in subscriptions.items()
        }
        assert paid["advance"] - deferred() == paid["arrears"]
        assert deferred() >= 0
        assert not list(verify())


def refusal(subscription: Subscription, at: datetime, kind: ChangeKind, plan: str, quantity: int) -> str:
    """What a change is refused for; "" where it is made."""
    change = Change(kind, at, published_version(plan_key=plan), quantity, None)
    try:
        with transaction.atomic():
            apply_change(subscription=subscription, change=change, actor="test", reason="drawn")
    except BillingError as refused:
        return str(refused.code)
    return ""


@contextmanager
def nothing_kept() -> Iterator[None]:
    """Take back all that an example did."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def test_the_database_settles_no_more_than_was_taken_in_advance() -> None:
    a_plan("pro", fee("100"))
    a_subscription(a_customer())
    billed(JULY)
    report = draft_billing(as_of=AUGUST, at=AUGUST)
    settled = report.invoices[0].lines.get(adjustment="invoiced_in_advance")
    settle_constraints()

    for amount, told in (("-200.01", "held in advance"), ("0.01", "settles_what_is_in_advance")):
        with pytest.raises(DatabaseError, match=told), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("UPDATE invoicing_invoiceline SET amount = %s WHERE id = %s", [amount, settled.pk])
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    with pytest.raises(DatabaseError, match="in_advance_is_flat"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "ALTER TABLE invoicing_price DISABLE TRIGGER USER;"
            " UPDATE invoicing_price SET model = 'per_unit' WHERE in_advance"
        )


def test_fees_ride_as_agreed_today_and_a_change_before_the_period_makes_the_draft_outdated() -> None:
    a_plan("pro", fee("31"))
    a_plan("big", fee("62"))
    subscription = a_subscription(a_customer())
    billed(JULY)
    (draft,) = draft_billing(as_of=AUGUST, at=AUGUST).invoices

    changed(subscription, "big", AUGUST)

    with pytest.raises(Conflict, match="outdated"):
        issue_invoice(invoice_id=draft.pk, at=AUGUST, actor="test", reason="looked at")
    assert lines_of(billed(AUGUST)[0])[-1] == ("In advance for August 2026", "62.00")


def test_a_discount_and_late_usage_leave_what_was_taken_in_advance_alone() -> None:
    a_plan("pro", fee("100"), usd_per_action("0.01"))
    customer = a_customer(late_usage_policy="next_invoice")
    entry, _ = read_coupon(document={"code": "LESS", "percent_off": "20", "duration": "forever"})
    create_coupon(entry=entry, actor="test", reason="set up")
    a_subscription(customer)
    redeem_coupon(code="LESS", customer=customer, subscription=None, at=JULY, actor="test", reason="asked")

    opening, july = [*billed(JULY), *billed(AUGUST)]
    use("cust_acme", "1000", at=JULY + timedelta(days=3))
    (august,) = billed(SEPTEMBER)

    assert [one.total for one in (opening, july, august)] == [Money(value, "USD") for value in ("100", "80", "88")]
    assert deferred() == 100
    assert not list(verify())


def test_all_doors_know_fees_in_advance(admin_client: Client) -> None:
    a_plan("pro", fee("9"))
    product = {"key": "platform", "name": "Platform"}
    document = {"key": "api", "name": "Api", "product": product, "prices": [fee("9"), usd_fee("1") | {"key": "late"}]}

    made = Caller().post("/api/v1/plans", document)
    draft = draft_next_version(plan_id=published_version(plan_key="pro").plan_id, actor="test", reason="new prices")
    price = draft.prices.get()
    page = admin_client.get(reverse("admin:invoicing_price_change", args=[price.pk])).content.decode()

    assert made.status_code == 201, made.content
    assert [price.get("in_advance") for price in made.json()["versions"][0]["prices"]] == [True, None]
    assert "USD 9.00 per month, invoiced before it begins." in page
    assert re.search('name="in_advance"[^>]* checked', page)


def test_the_page_of_a_subscription_says_what_is_held_of_it(admin_client: Client) -> None:
    a_plan("pro", fee("100"))
    subscription = a_subscription(a_customer())
    address = reverse("admin:invoicing_subscription_change", args=[subscription.pk])

    assert "Invoiced in advance, not settled" not in admin_client.get(address).content.decode()
    billed(JULY)

    page = admin_client.get(address)
    assert page.context["held"] == Money("100.00", "USD")
    assert "Invoiced in advance, not settled" in page.content.decode()


def test_what_is_held_stands_on_the_page_of_the_customer_in_the_portal_and_in_the_api(
    admin_client: Client, client: Client
) -> None:
    a_plan("pro", fee("100"))
    customer = a_customer()
    a_subscription(customer)
    a_subscription(customer, key="sub_other", started_at=SEPTEMBER)
    api = "/api/v1/subscriptions"
    held_before = [one["held_in_advance"] for one in Caller().get(api).json()["data"]]
    billed(JULY)
    draft_billing(as_of=AUGUST, at=AUGUST)

    page = admin_client.get(reverse("admin:invoicing_customer_change", args=[customer.pk])).content.decode()
    portal = client.get(link_for(customer_key=customer.key), follow=True).content.decode()

    assert held_before == [None, None]
    [planned, running] = Caller().get(api).json()["data"]
    hundred = {"amount": "100.00", "currency": "USD"}
    assert (planned["held_in_advance"], running["held_in_advance"]) == (None, hundred)
    assert Caller().get(f"{api}/{running['key']}").json()["held_in_advance"] == hundred
    assert "invoiced in advance, not settled yet" in page
    assert "1 – 31 July 2026 in advance" in re.sub(r"<[^>]+>", "", portal) and "June" not in portal
    assert "Invoiced in advance" in portal and "for time that is not invoiced yet" in portal


@pytest.mark.requirement("S0-062")
def test_nobody_waits_for_late_usage_of_an_invoice_that_charges_none() -> None:
    a_plan("pro", fee("100"), usd_per_action("0.01"))
    a_subscription(a_customer(grace_hours=48))

    opening, july = issue_billing(as_of=AUGUST, at=AUGUST).invoices

    assert (opening.status, july.status) == ("issued", "draft")
    assert [one.period.start for one in preview_billing(as_of=AUGUST).waiting] == [july.period_start]


def test_the_printed_opening_invoice_names_the_period_that_begins() -> None:
    a_plan("pro", fee("100"))
    a_subscription(a_customer())
    (opening,) = billed(JULY)

    document = document_of(invoice=opening)
    (line,) = document.lines

    assert (document.period_first_date.isoformat(), document.period_last_date.isoformat()) == (
        "2026-07-01",
        "2026-07-31",
    )
    assert (line.quantity, line.unit_amount) == (None, "")
    assert line.description == "In advance for July 2026"
    assert line.explanation == "USD 100.00 are owed for July 2026, which is paid before it is served."


def test_previews_of_periods_that_follow_each_other_settle_what_those_before_take_in_advance() -> None:
    a_plan("pro", fee("31"))
    a_plan("big", fee("62"))
    subscription = a_subscription(a_customer())

    totals = [preview.total for preview in preview_billing(as_of=SEPTEMBER).previews]
    billed(JULY)
    change = Change(ChangeKind.PLAN, JULY + timedelta(days=20), published_version(plan_key="big"), 1, None)
    effects = preview_change(subscription=subscription, change=change, at=JULY + timedelta(days=9)).periods

    assert totals == [Money("31.00", "USD")] * 3
    assert [(effect.before.total.amount, effect.after.total.amount) for effect in effects] == [(31, 73), (31, 62)]


@pytest.mark.parametrize(("first", "second"), [("month", "year"), ("year", "month")])
@pytest.mark.parametrize("anchor", ["calendar", "anniversary"])
def test_other_billing_periods_in_mid_period_come_to_the_same_too(first: str, second: str, anchor: str) -> None:
    subscriptions = {}
    for when, price in (("arrears", usd_fee), ("advance", fee)):
        a_plan(f"{first}-{when}", price("100"), cadence=first)
        a_plan(f"{second}-{when}", price("365"), cadence=second)
        customer = a_customer(f"cust_{when}")
        subscriptions[when] = a_subscription(customer, plan=f"{first}-{when}", anchor=anchor)
    billed(AUGUST)

    for when, subscription in subscriptions.items():
        changed(subscription, f"{second}-{when}", AUGUST + timedelta(days=14))
    billed(OCTOBER)
    for subscription in subscriptions.values():
        end_subscription(subscription=subscription, ended_at=OCTOBER, actor="test", reason="left")
    billed(OCTOBER + timedelta(days=800))

    paid = {
        when: sum((one.total.amount for one in subscription.customer.invoices.all()), Decimal(0))
        for when, subscription in subscriptions.items()
    }
    assert paid["advance"] - deferred() == paid["arrears"]
    assert not list(verify())


def test_a_price_of_usage_cannot_be_in_advance() -> None:
    with pytest.raises(InvalidFields) as refused:
        a_plan("pro", usd_per_action("0.01") | {"in_advance": True})
    assert [error.field for error in refused.value.errors] == ["plans[0].prices[0].in_advance"]


def test_the_fees_of_two_periods_ride_on_the_invoice_after_which_both_go_on() -> None:
    """Found by random contracts: of a quarter that was agreed for some days of a month, and the month after it, one was forgotten."""
    a_plan("monthly", fee("31"))
    a_plan("quarterly", fee("92"), cadence="quarter")
    subscription = a_subscription(a_customer(), plan="monthly")
    billed(JULY)
    changed(subscription, "quarterly", JULY + timedelta(days=10))
    changed(subscription, "monthly", JULY + timedelta(days=20))

    (july,) = billed(AUGUST)

    # July: 10 + 11 of 31 days are settled; 10.00 of it go towards 10 days of the quarter and August.
    assert lines_of(july)[-2:] == [
        ("Invoiced in advance", "-21.00"),
        ("In advance for 11 July – 31 August 2026", "31.00"),
    ]
    assert not list(verify())
