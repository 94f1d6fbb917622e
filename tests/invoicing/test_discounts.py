"""Coupons and discounts: redeemed once, applied in order, for as many periods as they say, never below zero."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError

from billing_site.kernel.errors import BillingError, InvalidFields
from invoicing.catalog.coupon import Coupon
from invoicing.catalog.coupon_document import read_coupon
from invoicing.catalog.coupons import close_coupon, create_coupon
from invoicing.catalog.operations import load_catalog
from invoicing.catalog.queries import published_version
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice
from invoicing.ledger.queries import trial_balance
from invoicing.subscriptions.amend import change_plan
from invoicing.subscriptions.cancel import end_subscription, reactivate_subscription
from invoicing.subscriptions.discount import Discount
from invoicing.subscriptions.models import Subscription
from invoicing.subscriptions.redeem import end_discount, redeem_coupon
from invoicing.workflows.explain_invoice import explain_invoice
from invoicing.workflows.preview_invoice import preview_invoice
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.settle_late_usage import settle_late_changes
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
    use,
)
from tests.invoicing.late import BILLED_AT, corrections, lines_of, use_late
from tests.invoicing.test_attack_guards import run_sql

pytestmark = pytest.mark.django_db

OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
SOON = JULY + timedelta(days=5)


def a_coupon(code: str = "LAUNCH20", **terms: Any) -> Coupon:
    entry, mistakes = read_coupon(document={"code": code, **(terms or {"percent_off": "20", "duration": "forever"})})
    assert not mistakes, mistakes
    coupon, _ = create_coupon(entry=entry, actor="test", reason="set up")
    return coupon


def redeem(
    customer: Customer, code: str = "LAUNCH20", *, at: datetime = SOON, of: Subscription | None = None
) -> Discount:
    return redeem_coupon(code=code, customer=customer, subscription=of, at=at, actor="test", reason="asked for it")


def bill(as_of: datetime) -> list[Invoice]:
    return issue_billing(as_of=as_of, at=as_of).invoices


@pytest.fixture
def acme() -> Customer:
    a_plan()
    customer = a_customer()
    a_subscription(customer)
    use("cust_acme", "1500", at=JULY + timedelta(days=3))
    return customer


def test_a_discount_is_a_line_that_is_proved_and_the_books_hold_what_is_earned(acme: Customer) -> None:
    a_coupon(name="Launch offer", percent_off="20", duration="forever")
    redeem(acme)

    [invoice] = bill(AUGUST)

    assert lines_of(invoice) == [
        ("Base fee", "29.00"),
        ("Actions", "15.00"),
        ("Discount Launch offer (LAUNCH20)", "-8.80"),
    ]
    assert f"{invoice.total.amount:.2f}" == "35.20"
    line = invoice.lines.get(kind="adjustment")
    assert {part["reference"]: part["amount"]["amount"] for part in line.rated["parts"]} == {
        "sub_cust_acme/base": "5.80",
        "sub_cust_acme/actions": "3.00",
    }
    assert (line.subscription, line.price) == (None, None)
    explained = explain_invoice(number=invoice.number or "")
    assert explained["equal"], explained
    assert {one.account: f"{one.amount.amount:.2f}" for one in trial_balance()} == {"1200": "35.20", "4000": "-35.20"}
    assert verify() == []


@pytest.mark.parametrize(
    ("terms", "taken"),
    [
        ({"percent_off": "50"}, ["-14.50", "", ""]),
        ({"percent_off": "50", "duration": "repeating", "periods": 2}, ["-14.50", "-14.50", ""]),
        ({"percent_off": "50", "duration": "forever"}, ["-14.50", "-14.50", "-14.50"]),
        ({"amount_off": "40", "currency": "USD", "duration": "forever"}, ["-29.00", "-29.00", "-29.00"]),
        ({"percent_off": "50", "minimum_amount": "29.01", "currency": "USD"}, ["0.00", "", ""]),
        (
            {"percent_off": "50", "plans": ["pro"], "prices": ["actions"], "duration": "forever"},
            ["0.00", "0.00", "0.00"],
        ),
    ],
)
def test_a_coupon_counts_for_as_many_periods_as_it_says(terms: dict[str, Any], taken: list[str]) -> None:
    a_plan()
    customer = a_customer()
    a_subscription(customer)
    a_coupon(**terms)
    redeem(customer)

    invoices = [bill(as_of)[-1] for as_of in (AUGUST, SEPTEMBER, OCTOBER)]

    assert ["".join(amounts(list(one.lines.filter(kind="adjustment")))) for one in invoices] == taken
    assert verify() == []


def test_a_coupon_begins_with_the_period_in_which_it_is_redeemed_and_ends_when_told(acme: Customer) -> None:
    a_coupon()
    bill(AUGUST)
    discount = redeem(acme, at=AUGUST + timedelta(days=3))
    bill(SEPTEMBER)
    end_discount(discount_id=discount.pk, at=SEPTEMBER, actor="test", reason="offer over")
    bill(OCTOBER)

    assert [f"{one.total.amount:.2f}" for one in Invoice.objects.order_by("period_start")] == [
        "44.00",
        "23.20",
        "29.00",
    ]


def test_a_preview_of_a_later_month_counts_the_months_before_it_that_nobody_has_billed_yet(acme: Customer) -> None:
    a_coupon(percent_off="50")
    redeem(acme)

    july, august = (
        preview_invoice(customer_key="cust_acme", as_of=end - timedelta(seconds=1)).assembled.total.amount
        for end in (AUGUST, SEPTEMBER)
    )

    assert [f"{total:.2f}" for total in (july, august)] == ["22.00", "29.00"]


def test_percentages_come_before_amounts_and_positions_before_both(acme: Customer) -> None:
    a_coupon("FIVE", amount_off="5", currency="USD")
    a_coupon("HALF", percent_off="50")
    a_coupon("FIRST", amount_off="4", currency="USD", position=1)
    for code in ("FIVE", "HALF", "FIRST"):
        redeem(acme, code)

    [invoice] = bill(AUGUST)

    assert lines_of(invoice)[2:] == [
        ("Discount FIRST", "-4.00"),
        ("Discount HALF", "-20.00"),
        ("Discount FIVE", "-5.00"),
    ]
    assert all(proof["equal"] for proof in explain_invoice(number=invoice.number or "")["lines"])
    assert verify() == []


def test_what_a_maximum_spend_takes_off_is_not_taken_off_once_more_by_a_coupon_for_one_price() -> None:
    """Found by the second opinion: 15 above the maximum and 29 off the fee made a bill of 44 negative, and failed it."""
    load_catalog(
        document={
            "products": [{"key": "platform"}],
            "plans": [
                {
                    "key": "pro",
                    "product": "platform",
                    "spend": [{"currency": "USD", "maximum_spend": "20"}],
                    "prices": [usd_fee("29"), {**usd_fee("15"), "key": "support"}],
                }
            ],
        },
        at=JULY,
        actor="test",
        reason="set up",
    )
    customer = a_customer()
    a_subscription(customer)
    a_coupon(percent_off="100", prices=["base"])
    redeem(customer)

    [invoice] = bill(AUGUST)

    # Of the 20.00 that the maximum leaves, 20 × 29 ÷ 44 ≈ 13.18 are the fee's.
    assert amounts(invoice.lines.order_by("position")) == ["29.00", "15.00", "-24.00", "-13.18"]
    assert verify() == []


def test_a_coupon_for_a_plan_is_not_used_up_by_months_on_another() -> None:
    a_plan("pro", usd_fee("29"))
    a_plan("max", usd_fee("99"))
    customer = a_customer()
    subscription = a_subscription(customer)
    a_coupon(percent_off="50", duration="once", plans=["max"])
    redeem(customer)
    version = published_version(plan_key="max")
    change_plan(subscription=subscription, plan_version=version, at=SEPTEMBER, actor="test", reason="more")

    totals = [f"{bill(as_of)[-1].total.amount:.2f}" for as_of in (AUGUST, SEPTEMBER, OCTOBER, NOVEMBER)]

    assert totals == ["29.00", "29.00", "49.50", "99.00"]


def test_a_discount_of_one_subscription_leaves_the_other_alone(acme: Customer) -> None:
    a_plan("seats", {"key": "seat", "name": "Seats", "currency": "USD", "model": "flat", "unit_amount": "100"})
    seats = a_subscription(acme, plan="seats", key="sub_seats")
    a_coupon(percent_off="10")
    redeem(acme, of=seats)

    [invoice] = bill(AUGUST)

    line = invoice.lines.get(kind="adjustment")
    assert (line.subscription, f"{line.amount.amount:.2f}") == (seats, "-10.00")


def test_late_usage_is_discounted_as_its_invoice_was(acme: Customer) -> None:
    a_coupon()
    redeem(acme)
    issue_billing(as_of=AUGUST, at=BILLED_AT)

    use_late("1000")
    settle_late_changes(at=BILLED_AT)
    next_invoice = bill(SEPTEMBER)[-1]

    assert [effect for effect, _, _ in corrections()] == ["10.00", "-2.00"]
    assert amounts(list(next_invoice.lines.filter(kind="correction").order_by("position"))) == ["10.00", "-2.00"]
    settle_constraints()
    assert verify() == []


def test_the_same_twice_is_one_coupon_and_one_discount(acme: Customer) -> None:
    assert a_coupon() == a_coupon("launch20")
    assert redeem(acme) == redeem(acme, "launch20", at=SOON + timedelta(days=1))


def test_late_usage_that_only_moves_where_an_amount_comes_off_is_proved_with_what_applies_after_it(
    acme: Customer,
) -> None:
    a_coupon("FIVE", amount_off="5", currency="USD", duration="forever", position=1)
    a_coupon("HALF", percent_off="50", duration="forever")
    for code in ("FIVE", "HALF"):
        redeem(acme, code)
    issue_billing(as_of=AUGUST, at=BILLED_AT)

    use_late("1000")
    settle_late_changes(at=BILLED_AT)
    bill(SEPTEMBER)

    assert [effect for effect, _, _ in corrections()] == ["10.00", "-5.00"]
    assert verify() == []


@pytest.mark.parametrize(
    ("terms", "deed", "field", "code"),
    [
        ({}, {"code": "NOBODY"}, "code", "not_found"),
        ({"redeem_by": "2026-07-06T00:00:00Z"}, {}, "code", "too_late"),
        ({"currency": "EUR", "minimum_amount": "5"}, {}, "code", "currency_differs"),
        ({"max_redemptions": 1}, {"twice": True}, "code", "used_up"),
        ({}, {"closed": True}, "code", "closed"),
        ({}, {"billed": True}, "at", "invoiced_already"),
    ],
)
def test_what_cannot_be_redeemed_is_refused_with_its_field(
    acme: Customer, terms: dict[str, Any], deed: dict[str, Any], field: str, code: str
) -> None:
    a_coupon(percent_off="20", **terms)
    if deed.get("twice"):
        redeem(a_customer("cust_two"))
    if deed.get("closed"):
        close_coupon(code="LAUNCH20", at=JULY, actor="test", reason="over")
    if deed.get("billed"):
        bill(AUGUST)

    with pytest.raises(BillingError) as refused:
        redeem(acme, deed.get("code", "LAUNCH20"))

    assert [(error.field, error.code) for error in refused.value.field_errors] == [(field, code)]
    assert not Discount.objects.filter(customer=acme).exists()


@pytest.mark.parametrize(
    ("terms", "field", "code"),
    [
        ({}, "percent_off", "required"),
        ({"percent_off": "20", "amount_off": "5", "currency": "USD"}, "percent_off", "not_allowed"),
        ({"percent_off": "100.1"}, "percent_off", "out_of_range"),
        ({"percent_off": "0"}, "percent_off", "out_of_range"),
        ({"percent_off": "-5"}, "percent_off", "negative"),
        ({"percent_off": 12.5}, "percent_off", "wrong_type"),
        ({"percent_off": "0.00001"}, "percent_off", "too_precise"),
        ({"amount_off": "5"}, "currency", "required"),
        ({"amount_off": "5.005", "currency": "USD"}, "amount_off", "too_precise"),
        ({"amount_off": "5", "currency": "XXY"}, "currency", "unknown"),
        ({"percent_off": "5", "duration": "repeating"}, "periods", "required"),
        ({"percent_off": "5", "duration": "once", "periods": 3}, "periods", "not_allowed"),
        ({"percent_off": "5", "duration": "repeating", "periods": 0}, "periods", "invalid"),
        ({"percent_off": "5", "duration": "ever"}, "duration", "unknown"),
        ({"percent_off": "5", "plans": ["no_such"]}, "plans", "unknown"),
        ({"percent_off": "5", "prices": "base"}, "prices", "wrong_type"),
        ({"percent_off": "5", "redeem_by": "tomorrow"}, "redeem_by", "not_a_time"),
        ({"percent_off": "5", "max_redemptions": 0}, "max_redemptions", "invalid"),
        ({"percent_off": "5", "code": "two words"}, "code", "invalid"),
        ({"percent_off": "5", "pecrent": "5"}, "pecrent", "unknown"),
    ],
)
def test_a_catalog_file_names_the_field_of_a_coupon_that_cannot_be(
    terms: dict[str, Any], field: str, code: str
) -> None:
    with pytest.raises(InvalidFields) as refused:
        load_catalog(document={"coupons": [{"code": "X", **terms}]}, at=JULY, actor="test", reason="load")

    assert (f"coupons[0].{field}", code) in [(error.field, error.code) for error in refused.value.errors]
    assert not Coupon.objects.exists()


def test_a_catalog_file_brings_coupons_once_and_refuses_other_terms_under_the_same_code() -> None:
    document = {"coupons": [{"code": "FIVE", "amount_off": "5", "currency": "USD", "max_redemptions": 9}]}

    first, second = (load_catalog(document=document, at=JULY, actor="test", reason="load") for _ in range(2))
    with pytest.raises(BillingError, match="amount_off") as refused:
        document["coupons"][0]["amount_off"] = "6"
        load_catalog(document=document, at=JULY, actor="test", reason="load")

    assert (first.created, second.unchanged) == (["coupon FIVE"], ["coupon FIVE"])
    assert refused.value.field == "coupons[0].code"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE invoicing_coupon SET percent_off = 100",
        "DELETE FROM invoicing_coupon",
        "TRUNCATE invoicing_coupon CASCADE",
        "UPDATE invoicing_discount SET redeemed_at = redeemed_at - interval '1 year'",
        "DELETE FROM invoicing_discount",
        "UPDATE invoicing_discount SET ended_at = redeemed_at - interval '1 day'",
        # once for the same, where it is for all subscriptions too
        "INSERT INTO invoicing_discount (coupon_id, customer_id, redeemed_at)"
        " SELECT coupon_id, customer_id, redeemed_at FROM invoicing_discount",
        # beyond what the coupon allows
        "INSERT INTO invoicing_discount (coupon_id, customer_id, subscription_id, redeemed_at)"
        " SELECT d.coupon_id, d.customer_id, s.id, d.redeemed_at FROM invoicing_discount d, invoicing_subscription s",
        "INSERT INTO invoicing_coupon (code, name, minimum_amount, currency, duration, plans, prices, position)"
        " VALUES ('NOTHING', 'x', 0, '', 'once', '{}', '{}', 1)",
        "INSERT INTO invoicing_coupon (code, name, percent_off, minimum_amount, currency, duration, plans, prices, position)"
        " VALUES ('TOOMUCH', 'x', 101, 0, '', 'once', '{}', '{}', 1)",
    ],
)
def test_raw_sql_finds_no_way_around_the_terms_of_a_coupon(acme: Customer, statement: str) -> None:
    a_coupon(percent_off="20", max_redemptions=1)
    redeem(acme)

    with pytest.raises(DatabaseError):
        run_sql(statement)


def test_a_subscription_that_ended_within_a_discounted_period_goes_on_after_it(acme: Customer) -> None:
    """A discount is on the whole period of an invoice: it does not say until when anything is charged."""
    a_coupon()
    subscription = acme.subscriptions.get()
    redeem(acme, of=subscription)
    end_subscription(subscription=subscription, ended_at=JULY + timedelta(days=10), actor="test", reason="left")
    bill(AUGUST)

    reactivate_subscription(subscription=subscription, at=AUGUST + timedelta(days=4), actor="test", reason="came back")

    kinds = [(phase.kind, phase.starts_at, phase.ends_at) for phase in subscription.phases.order_by("starts_at")]
    assert kinds[1:] == [
        ("paused", JULY + timedelta(days=10), AUGUST + timedelta(days=4)),
        ("active", AUGUST + timedelta(days=4), None),
    ]
    assert verify() == []
