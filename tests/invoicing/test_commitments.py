"""Commitments over months: paid in advance and drawn, or trued up; rollover, ramp, late usage, the books, and who may draw what."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.urls import reverse
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from moneyed import Money

from billing_site.kernel.errors import BillingError, InvalidFields
from billing_site.kernel.money import total
from billing_site.portal.queries.home import home_page
from invoicing.catalog.coupon_document import read_coupon
from invoicing.catalog.coupons import create_coupon
from invoicing.catalog.queries import published_version
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice, UsageCorrection
from invoicing.ledger.queries import trial_balance
from invoicing.subscriptions.amend import change_plan
from invoicing.subscriptions.cancel import end_subscription, reactivate_subscription
from invoicing.subscriptions.commit import TrancheWanted, commit_spend, withdraw_commitment
from invoicing.subscriptions.commitment import Commitment, CommitmentTranche
from invoicing.subscriptions.committed import burndown_of
from invoicing.subscriptions.models import Subscription
from invoicing.subscriptions.pause import pause_subscription, resume_subscription
from invoicing.subscriptions.redeem import redeem_coupon
from invoicing.workflows.explain_invoice import explain_invoice
from invoicing.workflows.late_changes import late_changes
from invoicing.workflows.run_billing import draft_billing, issue_billing
from invoicing.workflows.settle_late_usage import settle_late_changes
from invoicing.workflows.verify import verify
from metering.rollup import roll_up
from tests.billing_site.api.caller import Caller, fields_of
from tests.factories import (
    JULY,
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

pytestmark = [pytest.mark.django_db, pytest.mark.requirement("S0-066")]

MONTHS = [datetime(2026, month, 1, tzinfo=UTC) for month in range(7, 13)] + [datetime(2027, 1, 1, tzinfo=UTC)]


def committed(
    *tranches: tuple[int, str], payment: str = "in_advance", customer: dict[str, Any] | None = None, **terms: Any
) -> Subscription:
    """A subscription at USD 0.01 an action from July on, with these tranches: (periods, amount)."""
    a_plan("usage", usd_per_action("0.01"))
    subscription = a_subscription(a_customer(**(customer or {})), plan="usage")
    commit(subscription, *tranches, payment=payment, **terms)
    return subscription


def commit(subscription: Subscription, *tranches: tuple[int, str], **terms: Any) -> Commitment:
    known: dict[str, Any] = {
        "starts_at": JULY,
        "payment": "in_advance",
        "at": JULY,
        "actor": "test",
        "reason": "agreed",
    }
    wanted = [TrancheWanted(periods, Decimal(amount)) for periods, amount in tranches]
    return commit_spend(subscription=subscription, tranches=wanted, **(known | terms))


def spent(month: int, dollars: str) -> None:
    """Usage worth so much in a month, counted from July."""
    use("cust_acme", str(Decimal(dollars) * 100), at=MONTHS[month] + timedelta(days=3))


def billed(month: int) -> Invoice:
    """The issued invoice of a month, counted from July."""
    end = MONTHS[month + 1]
    report = issue_billing(as_of=end, at=end + timedelta(hours=7))
    assert not report.failures, report.failures
    assert not report.held, report.held
    settle_constraints()
    return report.invoices[-1]


def balances() -> dict[str, Decimal]:
    return {one.account: one.amount.amount for one in trial_balance() if one.amount.amount}


def burndowns() -> list[tuple[Decimal, ...]]:
    """Spent, trued up, expired, rolled over and left of each tranche, which always add up to what was promised."""
    rows = []
    for tranche in CommitmentTranche.objects.order_by("starts_at"):
        one = burndown_of(tranche=tranche)
        parts = (one.spent, one.trued_up, one.expired, one.rolled_over, one.left)
        assert sum(parts) == one.promised + one.rolled_in
        rows.append(parts)
    return rows


def test_a_prepaid_commitment_is_a_liability_until_it_is_drawn_and_its_rest_is_breakage() -> None:
    committed((3, "100"), overage_rate=Decimal("1.5"))

    spent(0, "30")
    july = billed(0)
    assert lines_of(july) == [
        ("Actions", "30.00"),
        ("Commitment, paid in advance", "100.00"),
        ("Overage rate beyond the commitment", "0.00"),
        ("Paid from the commitment", "-30.00"),
    ]
    assert balances() == {"1200": 100, "2100": -70, "4000": -30}
    spent(1, "50")
    assert billed(1).total == Money("0.00", "USD")
    assert balances() == {"1200": 100, "2100": -20, "4000": -80}
    spent(2, "15")
    september = billed(2)

    assert lines_of(september)[-2] == ("End of the commitment", "0.00")
    assert balances() == {"1200": 100, "4000": -95, "4100": -5}
    assert burndowns() == [(95, 0, 5, 0, 0)]
    spent(3, "7")
    assert lines_of(billed(3)) == [("Actions", "7.00")]
    assert explain_invoice(number=str(july.number))["equal"] is True
    assert verify() == []


def test_beyond_the_commitment_charges_cost_the_overage_rate() -> None:
    committed((2, "100"), overage_rate=Decimal("1.5"))
    spent(0, "140")

    july = billed(0)

    assert lines_of(july)[2:] == [
        ("Overage rate beyond the commitment", "20.00"),
        ("Paid from the commitment", "-100.00"),
    ]
    assert july.total == Money("160.00", "USD"), "100 in advance, 40 beyond at one and a half"
    assert verify() == []


@pytest.mark.requirement("S0-010")
def test_free_units_and_tiers_come_before_the_commitment_and_what_is_beyond_it_costs_the_overage_rate() -> None:
    tiers = [{"up_to": "1000", "unit_amount": "0.05"}, {"up_to": None, "unit_amount": "0.02"}]
    graduated = usd_per_action("0") | {"model": "graduated", "tiers": tiers, "free_units": "500"}
    a_plan("tiered", {name: value for name, value in graduated.items() if name != "unit_amount"})
    commit(a_subscription(a_customer(), plan="tiered"), (1, "60"), overage_rate=Decimal("0.8"))
    use("cust_acme", "3000", at=JULY + timedelta(days=3))

    july = billed(0)

    # Free 500, 1,000 × 0.05, 1,500 × 0.02; of 80.00, 20.00 are beyond the commitment.
    assert lines_of(july) == [
        ("Actions", "80.00"),
        ("Commitment, paid in advance", "60.00"),
        ("Overage rate beyond the commitment", "-4.00"),
        ("End of the commitment", "0.00"),
        ("Paid from the commitment", "-60.00"),
    ]
    assert verify() == []


def test_in_arrears_what_is_missing_is_trued_up_when_the_term_ends() -> None:
    committed((3, "100"), payment="in_arrears")
    spent(0, "20")
    spent(2, "30")

    assert lines_of(billed(0)) == [("Actions", "20.00")]
    assert billed(1).total == Money("0.00", "USD")
    september = billed(2)

    assert lines_of(september) == [("Actions", "30.00"), ("True-up to the committed spend", "50.00")]
    assert burndowns() == [(50, 50, 0, 0, 0)]
    assert balances() == {"1200": 100, "4000": -100}
    assert verify() == []


def test_late_usage_of_an_earlier_month_lowers_the_true_up_that_was_paid() -> None:
    committed((2, "100"), payment="in_arrears", customer={"late_usage_policy": "next_invoice"})
    billed(0)
    august = billed(1)
    assert august.total == Money("100.00", "USD")
    spent(0, "40")

    [change] = late_changes(at=MONTHS[3]).changes
    assert change.effect == Money("0.00", "USD")
    assert settle_late_changes(at=MONTHS[3]).failures == []

    effects = [one.effect.amount for one in UsageCorrection.objects.order_by("id")]
    assert effects == [40, -40]
    assert burndowns() == [(40, 60, 0, 0, 0)]
    assert verify() == []


def test_a_discount_does_not_change_what_late_usage_counts_towards_a_true_up() -> None:
    customer = committed((2, "100"), payment="in_arrears", customer={"late_usage_policy": "next_invoice"}).customer
    entry, _ = read_coupon(document={"code": "HALF", "percent_off": "50", "duration": "forever"})
    create_coupon(entry=entry, actor="test", reason="set up")
    redeem_coupon(code="HALF", customer=customer, subscription=None, at=JULY, actor="test", reason="asked")
    billed(0)
    billed(1)
    spent(0, "40")

    assert settle_late_changes(at=MONTHS[3]).failures == []

    assert burndowns() == [(40, 60, 0, 0, 0)], "spend counts before discounts"
    assert verify() == []


def test_late_usage_draws_what_the_commitment_has_left_and_no_more() -> None:
    committed((3, "100"), customer={"late_usage_policy": "next_invoice"})
    spent(0, "60")
    billed(0)
    spent(1, "30")
    billed(1)
    spent(0, "25")

    [change] = late_changes(at=MONTHS[3]).changes
    assert change.effect == Money("15.00", "USD"), "10 of the 25 were left"
    assert settle_late_changes(at=MONTHS[3]).failures == []
    september = billed(2)

    assert september.total == Money("15.00", "USD")
    assert burndowns() == [(100, 0, 0, 0, 0)]
    assert balances() == {"1200": 115, "4000": -115}
    assert verify() == []


def test_late_usage_after_its_end_is_charged_in_full_above_a_minimum_that_was_reached_before() -> None:
    a_plan("usage", usd_per_action("0.01"), spend=[{"currency": "USD", "minimum_spend": "50", "maximum_spend": "95"}])
    begins = JULY + timedelta(days=10)
    customer = a_customer(late_usage_policy="next_invoice")
    commit(a_subscription(customer, plan="usage", started_at=begins), (1, "1000"), starts_at=begins)
    spent_at = begins + timedelta(days=3)
    use("cust_acme", "4000", at=spent_at)
    july = billed(0)
    assert july.total == Money("1000.00", "USD")
    assert verify() == [], "a commitment counts a period of which only a part is in service"

    use("cust_acme", "4000", at=spent_at)
    [change] = late_changes(at=MONTHS[2]).changes
    assert change.effect == Money("24.35", "USD"), "21 of 31 days have a maximum of 64.35, of which 40 were paid"
    settle_late_changes(at=MONTHS[2])

    assert verify() == []


def test_a_ramp_has_an_amount_for_each_year_and_what_is_left_rolls_over_up_to_its_maximum() -> None:
    nothing_is_checked_before_issue()
    committed((2, "100"), (2, "150"), (1, "10"), rolls_over=True, rollover_max=Decimal("30"))
    spent(0, "20")
    spent(1, "40")
    billed(0)
    august = billed(1)

    assert lines_of(august) == [
        ("Actions", "40.00"),
        ("Commitment, paid in advance", "150.00"),
        ("End of the commitment", "0.00"),
        ("Paid from the commitment", "-40.00"),
    ]
    assert burndowns()[0] == (60, 0, 10, 30, 0)
    spent(2, "175")
    assert billed(2).total == Money("0.00", "USD"), "30 rolled over into the second tranche"
    billed(3)
    billed(4)
    assert burndowns() == [(60, 0, 10, 30, 0), (175, 0, 0, 5, 0), (0, 0, 15, 0, 0)]
    assert balances() == {"1200": 260, "4000": -235, "4100": -25}
    assert verify() == []


def test_a_subscription_that_ends_early_owes_the_tranche_that_runs_and_none_that_has_not_begun() -> None:
    subscription = committed((3, "100"), (3, "100"), payment="in_arrears")
    spent(0, "10")
    end_subscription(subscription=subscription, ended_at=MONTHS[1], actor="test", reason="leaves")

    july = billed(0)

    assert lines_of(july)[-1] == ("True-up to the committed spend", "90.00")
    assert issue_billing(as_of=MONTHS[6], at=MONTHS[6]).invoices == []
    assert verify() == []


def test_a_discount_reduces_what_the_commitment_leaves_to_pay_and_nothing_that_is_paid_already() -> None:
    committed((1, "100"))
    entry, _ = read_coupon(document={"code": "HALF", "percent_off": "50", "duration": "forever"})
    create_coupon(entry=entry, actor="test", reason="set up")
    customer = Customer.objects.get()
    redeem_coupon(code="HALF", customer=customer, subscription=None, at=JULY, actor="test", reason="asked")
    spent(0, "140")

    july = billed(0)

    assert lines_of(july)[-2:] == [("Paid from the commitment", "-100.00"), ("Discount HALF", "-20.00")]
    assert july.total == Money("120.00", "USD")
    assert verify() == []


@pytest.mark.requirement("S0-144")
def test_a_discount_of_late_usage_is_proved_by_what_a_commitment_that_has_ended_drew_then() -> None:
    a_plan("usage", usd_fee("40"), usd_per_action("0.01"))
    customer = a_customer(late_usage_policy="next_invoice")
    commit(a_subscription(customer, plan="usage"), (1, "50"))
    entry, _ = read_coupon(document={"code": "LESS", "percent_off": "10", "duration": "forever"})
    create_coupon(entry=entry, actor="test", reason="set up")
    redeem_coupon(code="LESS", customer=customer, subscription=None, at=JULY, actor="test", reason="asked")
    spent(0, "60")
    billed(0)
    spent(0, "30")

    assert settle_late_changes(at=MONTHS[2]).failures == []

    assert [one.effect.amount for one in UsageCorrection.objects.order_by("id")] == [30, -3]
    assert verify() == []


@pytest.mark.requirement("S0-144")
def test_what_a_commitment_drew_stays_on_the_lines_that_late_usage_had_moved_it_to_before_its_end() -> None:
    a_plan("usage", usd_fee("40"), usd_per_action("0.01"))
    customer = a_customer(late_usage_policy="next_invoice")
    commit(a_subscription(customer, plan="usage"), (2, "50"))
    document = {"code": "LESS", "percent_off": "10", "duration": "once", "prices": ["base"]}
    entry, _ = read_coupon(document=document)
    create_coupon(entry=entry, actor="test", reason="set up")
    redeem_coupon(code="LESS", customer=customer, subscription=None, at=JULY, actor="test", reason="asked")
    spent(0, "60")
    assert lines_of(billed(0))[-1] == ("Discount LESS", "-2.00"), "of the fee 20 were drawn, and 20 are left"
    spent(0, "100")
    assert settle_late_changes(at=MONTHS[1] + timedelta(days=2)).failures == []
    effects = UsageCorrection.objects.order_by("id").values_list("original__adjustment", "effect")
    assert list(effects) == [("", 100), ("commitment_drawdown", 0), ("discount", -1)], "now 10 of the fee are drawn"

    billed(1)
    assert verify() == []
    spent(0, "100")
    assert settle_late_changes(at=MONTHS[2] + timedelta(days=2)).failures == []

    assert list(effects.all())[3:] == [("", 100)]
    assert verify() == []


def test_a_discount_is_taken_off_what_charges_beyond_the_commitment_cost_at_their_lower_rate() -> None:
    customer = committed((1, "100"), overage_rate=Decimal("0.2")).customer
    entry, _ = read_coupon(document={"code": "MOST", "percent_off": "90", "duration": "forever"})
    create_coupon(entry=entry, actor="test", reason="set up")
    redeem_coupon(code="MOST", customer=customer, subscription=None, at=JULY, actor="test", reason="asked")
    spent(0, "150")

    july = billed(0)

    assert lines_of(july)[-1] == ("Discount MOST", "-9.00"), "50 beyond cost 10"
    assert july.total == Money("101.00", "USD")
    assert verify() == []


def test_the_pages_of_staff_and_customer_show_what_is_left(admin_client: Any) -> None:
    subscription = committed((3, "100"), (3, "120"), rolls_over=True, overage_rate=Decimal("0.8"))
    spent(0, "30")
    billed(0)

    page = admin_client.get(reverse("admin:invoicing_subscription_change", args=[subscription.pk])).content.decode()
    assert "beyond it 80 % of the list price; what is left rolls over" in page
    assert "100.00 left" in page and "70.00 left" in page, "a burn-down begins with what was promised"
    assert "is over; the invoice of its last period settles it" in page
    home = home_page(customer=subscription.customer, at=MONTHS[1] + timedelta(days=1))
    [tranche] = home.committed
    assert (tranche.promised.amount, tranche.spent.amount, tranche.left.amount) == (100, 30, 70)


def test_a_person_commits_spend_on_the_page_of_a_subscription_and_is_told_what_is_wrong(admin_client: Any) -> None:
    a_plan("usage", usd_per_action("0.01"))
    subscription = a_subscription(a_customer(), plan="usage")
    fields = {
        "starts_at_0": "2026-07-01",
        "starts_at_1": "00:00:00",
        "payment": "in_arrears",
        "amounts": "1000, 0",
        "periods": "12",
        "overage_rate": "1",
        "reason": "order 4711",
    }
    path = reverse("admin:invoicing_subscription_commit", args=[subscription.pk])

    refused = admin_client.post(path, fields, follow=True)
    assert "must be above zero" in refused.content.decode()
    admin_client.post(path, {**fields, "amounts": "1000, 2000.50"}, follow=True)

    assert [one.amount.amount for one in CommitmentTranche.objects.order_by("position")] == [1000, Decimal("2000.50")]


@contextmanager
def nothing_kept() -> Iterator[None]:
    with transaction.atomic():
        yield
        settle_constraints()
        transaction.set_rollback(True)


@given(
    payment=st.sampled_from(["in_advance", "in_arrears"]),
    tranches=st.lists(st.tuples(st.integers(1, 2), st.integers(1, 200)), min_size=1, max_size=3),
    months=st.lists(st.integers(0, 150), min_size=6, max_size=6),
    rollover=st.sampled_from(["none", "all", "some"]),
    late=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 90)), max_size=2),
)
# Late usage that what is prepaid pays for to the last cent: the customer owes nothing more, and yet 2100 is less.
@example("in_advance", [(2, 169)], [148, 75, 139, 89, 46, 83], "none", [(0, 2), (2, 59)])
@example("in_advance", [(2, 108), (1, 54), (2, 146)], [81, 150, 149, 60, 132, 100], "none", [(4, 63), (0, 5)])
# Usage that grows as no check before issue would let pass.
@example("in_advance", [(2, 167), (1, 84), (2, 165)], [3, 1, 79, 46, 30, 113], "some", [(0, 58), (3, 32)])
@settings(
    max_examples=6,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_whatever_is_used_all_that_was_promised_is_spent_trued_up_expired_or_rolled_over(
    payment: str, tranches: list[tuple[int, int]], months: list[int], rollover: str, late: list[tuple[int, int]]
) -> None:
    rolls_over = rollover != "none" and payment == "in_advance"
    with nothing_kept():
        nothing_is_checked_before_issue()
        committed(
            *((periods, str(amount)) for periods, amount in tranches),
            payment=payment,
            rolls_over=rolls_over,
            rollover_max=Decimal("20.50") if rolls_over and rollover == "some" else None,
            customer={"late_usage_policy": "next_invoice"},
        )
        for month, dollars in enumerate(months):
            if dollars:
                spent(month, str(dollars))
            billed(month)
            for when, more in late:
                if when == month:
                    spent(max(month - 1, 0), str(more))
                    assert settle_late_changes(at=MONTHS[month + 1] + timedelta(days=2)).failures == []
        rows = burndowns()
        assert all(left == 0 for *_, left in rows), "six months end every term"
        promised = sum(amount for _, amount in tranches)
        rolled = sum(row[3] for row in rows)
        assert sum(sum(row) for row in rows) - rolled == promised
        assert balances().get("2100", Decimal(0)) == 0
        if not late:
            paid = total((invoice.total for invoice in Invoice.objects.all()), "USD")
            beyond = sum(months) - sum(row[0] for row in rows)
            assert paid.amount == promised + beyond
        assert verify() == []


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"tranches": []}, "tranches"),
        ({"tranches": [TrancheWanted(0, Decimal(5))]}, "tranches[0].periods"),
        ({"tranches": [TrancheWanted(1, Decimal(0))]}, "tranches[0].amount"),
        ({"tranches": [TrancheWanted(1, Decimal("5.005"))]}, "tranches[0].amount"),
        ({"payment": "sometimes"}, "payment"),
        ({"payment": "in_arrears", "rolls_over": True}, "rolls_over"),
        ({"rollover_max": Decimal(5)}, "rollover_max"),
        ({"overage_rate": Decimal(-1)}, "overage_rate"),
        ({"starts_at": JULY - timedelta(days=40)}, "starts_at"),
        ({"starts_at": datetime(2026, 7, 1)}, "starts_at"),
    ],
)
def test_a_commitment_that_makes_no_sense_is_refused_by_its_field(terms: dict[str, Any], field: str) -> None:
    a_plan()
    subscription = a_subscription(a_customer())
    known: dict[str, Any] = {
        "starts_at": JULY,
        "payment": "in_advance",
        "tranches": [TrancheWanted(1, Decimal(5))],
    }

    with pytest.raises(BillingError) as refused:
        commit_spend(subscription=subscription, at=JULY, actor="test", reason="agreed", **(known | terms))

    fields = [error.field for error in refused.value.field_errors] or [refused.value.field]
    assert field in fields
    assert not Commitment.objects.exists()


def test_commitments_do_not_overlap_and_do_not_begin_in_what_is_invoiced() -> None:
    subscription = committed((2, "100"))
    billed(0)

    for starts_at in (MONTHS[1], JULY):
        with pytest.raises(BillingError) as refused:
            commit(subscription, (1, "5"), starts_at=starts_at)
        assert refused.value.field == "starts_at"
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO invoicing_commitmenttranche (commitment_id, subscription_id, position, starts_at, ends_at,"
            " currency, amount) SELECT commitment_id, subscription_id, 1, ends_at - interval '1 day',"
            " ends_at + interval '1 day', currency, amount FROM invoicing_commitmenttranche"
        )


def test_a_plan_with_other_periods_is_refused_while_a_commitment_runs() -> None:
    subscription = committed((2, "100"))
    a_plan("yearly", usd_fee("100"), cadence="year")

    with pytest.raises(InvalidFields) as refused:
        change_plan(
            subscription=subscription,
            plan_version=published_version(plan_key="yearly"),
            at=MONTHS[1],
            actor="test",
            reason="other",
        )

    assert "plan" in [error.field for error in refused.value.errors]


def test_after_a_year_that_became_months_the_base_is_paid_once_on_the_first_month() -> None:
    a_plan("yearly", usd_fee("365"), cadence="year")
    a_plan("usage", usd_per_action("0.01"))
    subscription = a_subscription(a_customer(), plan="yearly", anchor="anniversary")
    months = published_version(plan_key="usage")
    change_plan(subscription=subscription, plan_version=months, at=MONTHS[1], actor="test", reason="other")
    commit(subscription, (1, "100"), starts_at=MONTHS[1])
    spent(1, "30")

    first = billed(1)
    report = issue_billing(as_of=JULY + timedelta(days=366), at=JULY + timedelta(days=366))

    assert (lines_of(first)[1], report.failures) == (("Commitment, paid in advance", "100.00"), [])
    assert all(not line.adjustment for invoice in report.invoices for line in invoice.lines.all())
    assert burndowns() == [(30, 0, 70, 0, 0)]
    assert verify() == []


def test_a_commitment_is_withdrawn_until_a_bill_knows_of_it() -> None:
    subscription = committed((2, "100"))
    withdraw_commitment(commitment=Commitment.objects.get())
    commitment = commit(subscription, (2, "120"))
    draft_billing(as_of=MONTHS[1], at=MONTHS[1])

    with pytest.raises(BillingError, match="it stays as it was agreed"):
        withdraw_commitment(commitment=commitment)


def test_the_api_agrees_a_commitment_shows_what_is_left_and_withdraws_it() -> None:
    a_plan("usage", usd_per_action("0.01"))
    a_subscription(a_customer(), plan="usage")
    caller, path = (
        Caller("subscriptions:read", "subscriptions:write"),
        "/api/v1/subscriptions/sub_cust_acme/commitments",
    )
    body = {
        "starts_at": "2026-07-01T00:00:00Z",
        "payment": "in_advance",
        "tranches": [{"periods": 2, "amount": {"amount": "100.00", "currency": "USD"}}],
        "overage_rate": "0.8",
        "reason": "order 4711",
    }

    euros = {**body, "tranches": [{"periods": 2, "amount": {"amount": "100.00", "currency": "EUR"}}]}
    assert set(fields_of(caller.post(path, euros))) == {"tranches[0].amount"}
    assert set(fields_of(caller.post(path, {**body, "payment": "in_arrears", "rolls_over": True}))) == {"rolls_over"}
    first = caller.post(path, body).json()
    assert caller.send("DELETE", f"{path}/{first['id']}", "").status_code == 204
    assert caller.post(path, body).status_code == 201
    spent(0, "30")
    billed(0)

    [commitment] = caller.get(path).json()["commitments"]
    assert commitment["overage_rate"] == "0.8"
    assert commitment["tranches"][0]["burndown"]["left"] == {"amount": "70.00", "currency": "USD"}
    assert commitment["tranches"][0]["burndown"]["spent"] == {"amount": "30.00", "currency": "USD"}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE invoicing_commitment SET overage_rate = 0",
        "UPDATE invoicing_commitmenttranche SET amount = 1000",
        "UPDATE invoicing_invoiceline SET amount = -101 WHERE adjustment = 'commitment_drawdown'",
        "UPDATE invoicing_invoiceline SET amount = 1000 WHERE adjustment = 'commitment_base'",
        "UPDATE invoicing_invoiceline SET tranche_id = NULL WHERE adjustment = 'commitment_drawdown'",
        "DELETE FROM invoicing_commitmenttranche",
    ],
)
def test_raw_sql_draws_no_more_than_was_paid(statement: str) -> None:
    committed((2, "100"))
    spent(0, "30")
    roll_up()
    draft_billing(as_of=MONTHS[1], at=MONTHS[1])
    settle_constraints()

    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def test_the_base_rides_on_the_invoice_that_ends_as_its_tranche_begins_also_where_service_was_resumed_in_between() -> (
    None
):
    """Found by random contracts: what was paused when it was agreed had its base on the invoice after, whatever came."""
    subscription = committed((2, "100"), (1, "50"))
    pause_subscription(subscription=subscription, at=JULY + timedelta(days=20), actor="test", reason="holidays")
    billed(0)
    resume_subscription(subscription=subscription, at=MONTHS[1] + timedelta(days=9), actor="test", reason="back")

    spent(1, "30")
    august = billed(1)

    assert ("Commitment, paid in advance", "50.00") in lines_of(august)
    assert not list(verify())


def test_what_rolls_over_from_a_tranche_without_any_invoice_pays_on_the_first_one() -> None:
    """Found by random contracts: it was neither drawn nor expired, and stayed on 2100 for ever."""
    a_plan("usage", usd_per_action("0.01"))
    trial = {"plan": "usage", "trial_ends_at": MONTHS[1] + timedelta(days=9)}
    commit(a_subscription(a_customer(), **trial), (1, "100"), (1, "50"), rolls_over=True)

    use("cust_acme", "13000", at=MONTHS[1] + timedelta(days=12))
    august = billed(1)

    assert lines_of(august)[-1] == ("Paid from the commitment", "-130.00")
    assert burndowns() == [(0, 0, 0, 100, 0), (130, 0, 20, 0, 0)]
    assert "2100" not in balances()
    assert not list(verify())


def test_a_subscription_that_ended_within_a_period_with_a_commitment_goes_on_after_it() -> None:
    """Found by random contracts: the lines of a commitment are on the whole period, and seemed to charge until its end."""
    subscription = committed((1, "100"))
    end_subscription(subscription=subscription, ended_at=JULY + timedelta(days=10), actor="test", reason="left")
    billed(0)

    reactivate_subscription(subscription=subscription, at=MONTHS[1] + timedelta(days=4), actor="test", reason="back")

    assert [phase.kind for phase in subscription.phases.order_by("starts_at")] == ["active", "paused", "active"]
    assert not list(verify())
