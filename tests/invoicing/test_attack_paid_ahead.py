"""What is paid before it is used: drafts made again, void invoices, bounds of periods, scopes, raw SQL, previews."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError
from django.test import Client
from django.urls import reverse
from moneyed import Money

from invoicing.catalog.coupon_document import read_coupon
from invoicing.catalog.coupons import create_coupon
from invoicing.catalog.queries import published_version
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice
from invoicing.subscriptions.cancel import end_subscription
from invoicing.subscriptions.change import Change, ChangeKind
from invoicing.subscriptions.pause import pause_subscription, resume_subscription
from invoicing.subscriptions.redeem import redeem_coupon
from invoicing.subscriptions.trial import move_trial_end
from invoicing.workflows.credit_balance import credit_balance
from invoicing.workflows.explain_invoice import explain_invoice
from invoicing.workflows.preview_billing import preview_billing
from invoicing.workflows.preview_change import preview_change
from invoicing.workflows.preview_invoice import preview_invoice
from invoicing.workflows.run_billing import draft_billing, issue_billing
from invoicing.workflows.unsettled_commitments import unsettled_commitments
from invoicing.workflows.verify import verify
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
from tests.invoicing.late import lines_of
from tests.invoicing.test_attack_guards import run_sql
from tests.invoicing.test_commitments import MONTHS, burndowns, committed, spent
from tests.invoicing.test_credits import grant, left
from tests.invoicing.test_fees_in_advance import billed, changed, deferred, fee

pytestmark = pytest.mark.django_db

OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)


def amounts_of(invoice: Invoice) -> dict[str, str]:
    return dict(lines_of(invoice))


def totals(rows: Any) -> list[str]:
    return [f"{row.total.amount:.2f}" for row in rows]


def drafted(until: datetime) -> list[Invoice]:
    report = draft_billing(as_of=until, at=until)
    assert not report.failures, report.failures
    settle_constraints()
    return report.invoices


def declared_void(invoice: Invoice) -> None:
    run_sql(f"UPDATE invoicing_invoice SET status = 'void' WHERE id = {invoice.pk}")
    settle_constraints()


# --- previews of periods that follow each other


@pytest.mark.parametrize(
    "terms",
    [
        {"payment": "in_advance", "overage_rate": Decimal(2)},
        {"payment": "in_advance", "rolls_over": True, "rollover_max": Decimal(15)},
        {"payment": "in_arrears", "overage_rate": Decimal("0.5")},
    ],
)
def test_a_preview_of_three_months_draws_a_commitment_once(terms: dict[str, Any]) -> None:
    committed((2, "100"), (1, "50"), **terms)
    for month, dollars in enumerate(("30", "40", "120")):
        spent(month, dollars)

    previews = preview_billing(as_of=MONTHS[3]).previews

    assert totals(previews) == totals(issue_billing(as_of=MONTHS[3], at=MONTHS[3]).invoices)
    settle_constraints()
    assert verify() == []


def test_a_preview_of_two_months_carries_a_correction_once() -> None:
    a_plan()
    a_subscription(a_customer(late_usage_policy="next_invoice"))
    billed(AUGUST)
    use("cust_acme", "1000", at=JULY + timedelta(days=3))

    previews = preview_billing(as_of=OCTOBER).previews

    assert totals(previews) == ["39.00", "29.00"] == totals(issue_billing(as_of=OCTOBER, at=OCTOBER).invoices)


def test_a_preview_of_a_change_draws_a_commitment_once() -> None:
    subscription = committed((3, "100"))
    a_plan("big", usd_per_action("0.02"))
    spent(0, "60")
    spent(1, "60")

    version = published_version(plan_key="big")
    change = Change(ChangeKind.PLAN, MONTHS[1], version, 1, None)
    july, august, *_ = preview_change(subscription=subscription, change=change, at=JULY).periods

    assert (july.after.total.amount, august.after.total.amount) == (100, 0)


# --- drafts that are made again


def test_a_draft_that_is_made_again_with_more_usage_draws_before_a_later_draft() -> None:
    committed((2, "100"))
    spent(0, "60")
    spent(1, "40")
    drafted(MONTHS[2])
    spent(0, "20")

    again = drafted(MONTHS[2])

    assert totals(again) == ["100.00", "20.00"]
    assert totals(billed(MONTHS[2])) == ["100.00", "20.00"]
    assert burndowns() == [(100, 0, 0, 0, 0)]
    assert verify() == []


def test_a_draft_that_was_deleted_is_made_again_with_the_base_that_a_later_draft_took_over() -> None:
    committed((2, "100"))
    july, august = drafted(MONTHS[2])
    july.delete()
    assert totals([*drafted(MONTHS[2])]) == ["100.00", "0.00"]
    assert Invoice.objects.filter(pk=august.pk).exists()


def test_a_draft_that_is_made_again_settles_what_a_later_draft_settled_after_it() -> None:
    a_plan("pro", fee("100"), usd_per_action("0.01"))
    subscription = a_subscription(a_customer())
    billed(JULY)
    drafted(SEPTEMBER)
    end_subscription(subscription=subscription, ended_at=SEPTEMBER, actor="test", reason="leaves")
    drafted(SEPTEMBER)
    use("cust_acme", "500", at=JULY + timedelta(days=3))

    drafted(SEPTEMBER)

    assert totals(billed(SEPTEMBER)) == ["105.00", "0.00"]
    assert deferred() == 0
    assert verify() == []


def test_a_draft_that_settles_more_than_is_there_since_an_earlier_one_was_made_again_is_not_issued() -> None:
    committed((2, "100"))
    spent(0, "60")
    spent(1, "40")
    _, august = drafted(MONTHS[2])
    spent(0, "20")
    # Only July is made again: August's draft still draws 40, where 20 are left.
    issue_billing(as_of=MONTHS[1], at=MONTHS[1])
    settle_constraints()

    with pytest.raises(DatabaseError, match="settles or draws more than is there"):
        run_sql(
            "UPDATE invoicing_invoice SET status = 'issued', number = 'INV-2026-00002', issued_at = now(), due_date = current_date,"
            " seal = 'forged', series_id = series.id, previous_seal = last_seal FROM invoicing_invoiceseries series"
            f" WHERE invoicing_invoice.id = {august.pk}",
            "UPDATE invoicing_invoiceseries SET next_number = 3, last_seal = 'forged'",
        )


def test_a_draft_of_a_period_in_which_nothing_is_charged_any_more_holds_nothing_and_is_dropped() -> None:
    a_plan("pro", fee("100"))
    customer = a_customer(grace_hours=48)
    ninth, fourteenth = JULY + timedelta(days=9), JULY + timedelta(days=14)
    subscription = a_subscription(customer, trial_ends_at=ninth)
    [opening] = drafted(ninth)
    move_trial_end(subscription=subscription, at=fourteenth, actor="test", reason="asked for more time")

    previews = preview_billing(as_of=AUGUST).previews
    report = issue_billing(as_of=AUGUST, at=AUGUST + timedelta(days=5))

    assert not Invoice.objects.filter(pk=opening.pk).exists()
    assert totals(previews) == ["54.84", "100.00"] == totals(report.invoices)
    assert lines_of(report.invoices[0]) == [("In advance for 15 – 31 July 2026", "54.84")]
    assert Invoice.history.filter(id=opening.pk, history_type="-").count() == 1


# --- invoices that were declared void after others had built upon them


def test_a_void_invoice_is_made_again_without_what_later_ones_have_settled() -> None:
    a_plan("pro", fee("100"), usd_per_action("0.01"))
    a_plan("small", fee("38"), usd_per_action("0.01"))
    subscription = a_subscription(a_customer())
    billed(JULY)
    [july] = billed(AUGUST)
    changed(subscription, "small", AUGUST + timedelta(days=15))
    use("cust_acme", "20000", at=AUGUST + timedelta(days=3))
    [august] = billed(SEPTEMBER)
    assert amounts_of(august)["Invoiced in advance"] == "-100.00"
    end_subscription(subscription=subscription, ended_at=SEPTEMBER + timedelta(days=29), actor="test", reason="leaves")
    declared_void(july)

    again, *_ = billed(OCTOBER)

    assert (again.period_start, again.total) == (JULY, Money("100.00", "USD"))
    owed = sum((one.total.amount for one in Invoice.objects.exclude(status="void")), Decimal(0)) - deferred()
    # July's fee, August's two parts and its usage, and 29 of September's 30 days.
    assert owed == Decimal("100") + Decimal("68.00") + 200 + Decimal("36.73")


def test_a_void_invoice_is_made_again_and_draws_what_an_ended_tranche_has_left() -> None:
    committed((2, "100"))
    spent(0, "60")
    spent(1, "20")
    july, august = billed(MONTHS[2])
    assert amounts_of(august)["End of the commitment"] == "0.00"
    declared_void(july)
    spent(0, "30")

    [again] = billed(MONTHS[2])

    assert lines_of(again) == [
        ("Actions", "90.00"),
        ("Commitment, paid in advance", "100.00"),
        ("Paid from the commitment", "-60.00"),
    ]
    assert burndowns() == [(80, 0, 20, 0, 0)]


# --- a second subscription that begins where the first is invoiced already


def test_who_begins_at_the_end_of_an_issued_period_pays_in_advance_too() -> None:
    a_plan("pro", fee("100"))
    customer = a_customer()
    a_subscription(customer)
    billed(JULY)
    billed(AUGUST)
    for number in (2, 3):
        a_subscription(customer, key=f"sub_{number}", started_at=AUGUST)
        [opening] = billed(AUGUST)
        assert lines_of(opening) == [("In advance for August 2026", "100.00")]
        assert opening.period_start == AUGUST - timedelta(days=number - 1)
    assert billed(AUGUST) == []

    [august] = billed(SEPTEMBER)

    assert (august.total, deferred()) == (Money("300.00", "USD"), 300)
    assert billed(SEPTEMBER) == []
    assert verify() == []


# --- credit and discounts for some lines only


def test_credit_for_a_plan_pays_no_more_than_its_maximum_spend_leaves() -> None:
    a_plan("pro", usd_fee("100"), spend=[{"currency": "USD", "maximum_spend": "40"}])
    a_plan("other", usd_fee("100"))
    customer = a_customer()
    a_subscription(customer)
    a_subscription(customer, plan="other", key="sub_other")
    gift = grant(customer, "1000", plans=["pro"])

    [invoice] = billed(AUGUST)

    assert (lines_of(invoice)[-1], left(gift)) == (("Promotional credit: Welcome", "-40.00"), "960.00")
    assert explain_invoice(number=str(invoice.number))["equal"] is True
    assert verify() == []


def test_credit_for_a_plan_pays_its_fee_in_advance_once_and_never_what_another_plan_costs() -> None:
    a_plan("pro", fee("100"), usd_per_action("0.01"))
    a_plan("other", usd_fee("50"))
    customer = a_customer()
    subscription = a_subscription(customer)
    a_subscription(customer, plan="other", key="sub_other")
    gift = grant(customer, "1000", plans=["pro"], effective_at=JULY - timedelta(days=40))
    calls = grant(customer, "20", key="calls", meters=["actions"], priority=1)
    use("cust_acme", "3000", at=JULY + timedelta(days=3))

    [opening] = billed(JULY)
    end_subscription(subscription=subscription, ended_at=AUGUST, actor="test", reason="leaves")
    [july] = billed(AUGUST)

    assert lines_of(opening)[-1] == ("Promotional credit: Welcome", "-100.00")
    assert lines_of(july)[-2:] == [("Promotional credit: Calls", "-20.00"), ("Promotional credit: Welcome", "-10.00")]
    assert july.total == Money("50.00", "USD"), "what the other plan costs"
    assert (left(gift), left(calls)) == ("890.00", "0.00")
    for invoice in (opening, july):
        assert explain_invoice(number=str(invoice.number))["equal"] is True
    assert verify() == []


def test_a_discount_takes_off_what_the_overage_rate_leaves_and_nothing_of_the_prepaid_base() -> None:
    committed((1, "100"), overage_rate=Decimal("0.8"))
    entry, _ = read_coupon(document={"code": "ALL", "percent_off": "100", "duration": "forever"})
    create_coupon(entry=entry, actor="test", reason="set up")
    redeem_coupon(code="ALL", customer=Customer.objects.get(), subscription=None, at=JULY, actor="test", reason="asked")
    spent(0, "140")

    [july] = billed(AUGUST)

    assert lines_of(july)[-1] == ("Discount ALL", "-32.00")
    assert july.total == Money("100.00", "USD"), "the base alone"
    assert verify() == []


# --- raw SQL


def test_prepaid_credit_is_not_taken_back_by_raw_sql() -> None:
    grant(a_customer(), "50", kind="prepaid")
    with pytest.raises(DatabaseError, match="does not continue"):
        run_sql(
            "INSERT INTO invoicing_creditentry (grant_id, sequence, kind, currency, amount, balance, reference, occurred_at,"
            " actor, reason) SELECT id, 2, 'void', 'USD', -50, 0, '', now(), 'x', 'x' FROM invoicing_creditgrant"
        )


# --- previews beside what is not issued yet


def test_a_preview_of_the_running_month_draws_after_the_month_that_is_due() -> None:
    committed((2, "100"))
    grant(Customer.objects.get(), "30")
    spent(0, "60")
    spent(1, "70")

    preview = preview_invoice(customer_key="cust_acme", as_of=SEPTEMBER - timedelta(seconds=1)).assembled
    balance = credit_balance(customer=Customer.objects.get(), at=AUGUST + timedelta(days=1))

    july, august = billed(SEPTEMBER)
    assert preview.total == august.total == Money("30.00", "USD")
    assert july.total == Money("70.00", "USD")
    assert balance.live == Money("0.00", "USD"), "July is due and takes all of it"


def test_a_preview_of_another_end_of_a_trial_shows_the_opening_invoice_that_moves() -> None:
    a_plan("pro", fee("100"))
    ninth, fourteenth = JULY + timedelta(days=9), JULY + timedelta(days=14)
    subscription = a_subscription(a_customer(grace_hours=48), trial_ends_at=ninth)
    drafted(ninth)

    change = Change(ChangeKind.TRIAL_END, fourteenth)
    effects = preview_change(subscription=subscription, change=change, at=ninth + timedelta(hours=1)).periods
    move_trial_end(subscription=subscription, at=fourteenth, actor="test", reason="asked for more time")
    issue_billing(as_of=SEPTEMBER, at=SEPTEMBER + timedelta(days=5))

    issued = {invoice.period_end: invoice.total for invoice in Invoice.objects.all()}
    assert [(one.period.end, one.before.total.amount) for one in effects][:2] == [
        (ninth, Decimal("70.97")),
        (fourteenth, 0),
    ]
    assert {one.period.end: one.after.total for one in effects if one.after.total.amount} == issued


# --- a commitment that no invoice will settle


def test_a_commitment_that_is_over_while_its_subscription_is_paused_is_listed(admin_client: Client) -> None:
    subscription = committed((2, "100"), payment="in_arrears")
    pause_subscription(subscription=subscription, at=AUGUST, actor="test", reason="asked")
    assert unsettled_commitments(at=OCTOBER) == [], "July's invoice is to come"
    billed(AUGUST)

    assert unsettled_commitments(at=AUGUST) == []
    [tranche] = unsettled_commitments(at=OCTOBER)

    assert tranche.subscription == subscription
    page = admin_client.get(reverse("admin:invoicing_subscription_changelist"), {"state": "unsettled"})
    assert list(page.context["cl"].queryset) == [subscription]
    assert "Commitments that no invoice settles" in admin_client.get(reverse("admin:index")).content.decode()
    resume_subscription(subscription=subscription, at=OCTOBER, actor="test", reason="asked")
    assert unsettled_commitments(at=OCTOBER) == [], "October's invoice trues it up"
