"""Spend is watched: thresholds are told once, a limit stops access by itself and lets go by itself, a sweep is cheap."""

from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any

import pytest
from django.db import IntegrityError, connection, connections, transaction
from moneyed import Money

from billing_site.kernel.errors import Conflict, InvalidFields
from invoicing.customers.models import Customer
from invoicing.spend.models import Budget, SpendNotice, SpendWatch
from invoicing.spend.operations import change_budget, retire_budget, set_budget
from invoicing.subscriptions.pause import pause_subscription
from invoicing.workflows.answer_access import answer_access
from invoicing.workflows.read_spend import read_spend
from invoicing.workflows.watch_spend import sweep_spend
from metering.correcting import cancel_event
from tests.factories import (
    AUGUST,
    JULY,
    SEPTEMBER,
    a_customer,
    a_plan,
    a_subscription,
    settle_constraints,
    usd_per_action,
    use,
)

pytestmark = pytest.mark.django_db
WHO = {"actor": "test", "reason": "asked for it"}
MID_AUGUST = AUGUST + timedelta(days=14)


@pytest.fixture
def acme() -> Customer:
    """Acme pays USD 29 a month and USD 0.01 an action; it is the middle of August."""
    a_plan()
    customer = a_customer()
    a_subscription(customer)
    return customer


def a_budget(customer: Customer | None, usd: str = "100", **fields: Any) -> Budget:
    known = {"name": "Monthly budget", "amount": Money(usd, "USD"), **WHO}
    return set_budget(customer=customer, **(known | fields))


def told(at: datetime = MID_AUGUST) -> list[tuple[str, int | None, str]]:
    """What a sweep notices, in order."""
    return [(one.kind, one.threshold, str(one.spend.amount)) for one in sweep_spend(at=at).notices]


def reason(at: datetime = MID_AUGUST) -> str:
    return answer_access(customer_key="cust_acme", at=at).verdict.reason.value


@pytest.mark.requirement("S0-140")
@pytest.mark.requirement("S3-020")
def test_half_four_fifths_and_all_of_a_budget_are_told_once_each_in_a_period(acme: Customer) -> None:
    a_budget(acme)

    assert told() == []
    use("cust_acme", "2099", at=MID_AUGUST)
    assert told() == []
    use("cust_acme", "1", at=MID_AUGUST)
    assert told(MID_AUGUST + timedelta(hours=1)) == [("threshold", 50, "50.00")]
    assert told(MID_AUGUST + timedelta(hours=2)) == []
    use("cust_acme", "6000", at=MID_AUGUST)
    assert told(MID_AUGUST + timedelta(hours=3)) == [("threshold", 80, "110.00"), ("threshold", 100, "110.00")]

    use("cust_acme", "3000", at=SEPTEMBER + timedelta(days=1))
    assert told(SEPTEMBER + timedelta(days=2)) == [("threshold", 50, "59.00")]


def test_thresholds_of_ones_own_choice_and_beyond_the_whole_are_told_and_a_raised_amount_begins_anew(
    acme: Customer,
) -> None:
    budget = a_budget(acme, "10", thresholds=[250, 300, 250])
    assert budget.thresholds == [250, 300]

    assert told() == [("threshold", 250, "29.00")]
    change_budget(budget=budget, changes={"amount": Money("11", "USD")}, **WHO)
    use("cust_acme", "1", at=MID_AUGUST)
    assert told(MID_AUGUST + timedelta(minutes=1)) == [("threshold", 250, "29.01")]


def test_a_default_holds_for_who_has_none_of_the_companys_own_and_for_its_currency_only(acme: Customer) -> None:
    a_budget(None, "20", thresholds=[100])
    a_budget(acme, "1000", name="My own", set_by="customer")
    own = a_customer("cust_own")
    a_subscription(own)
    a_budget(own, "1000")

    assert told() == [("threshold", 100, "29.00")]
    assert SpendNotice.objects.get().customer == acme


@pytest.mark.requirement("S0-141")
def test_a_limit_that_stops_refuses_access_until_the_period_ends_and_says_so(acme: Customer) -> None:
    a_budget(acme, "50", at_limit="stop", thresholds=[])
    use("cust_acme", "2099", at=MID_AUGUST)
    told()
    assert reason() == "active"

    use("cust_acme", "1", at=MID_AUGUST)
    assert told() == [("threshold", 100, "50.00")]

    verdict = answer_access(customer_key="cust_acme", at=MID_AUGUST).verdict
    assert (verdict.is_allowed, verdict.reason.value, verdict.changes_at) == (False, "spend_limit", SEPTEMBER)
    assert (verdict.subscription, verdict.plan) == ("sub_cust_acme", "pro")
    assert reason(SEPTEMBER) == "active"


def test_a_limit_lets_go_when_it_is_raised_or_retired_and_when_usage_is_cancelled(acme: Customer) -> None:
    budget = a_budget(acme, "50", at_limit="stop")
    use("cust_acme", "2200", at=MID_AUGUST, key="too-much")
    told()
    assert reason() == "spend_limit"

    change_budget(budget=budget, changes={"amount": Money("51.01", "USD")}, **WHO)
    assert reason() == "active"
    change_budget(budget=budget, changes={"amount": Money("51", "USD")}, **WHO)
    assert reason() == "spend_limit"
    cancel_event(customer_id="cust_acme", idempotency_key="too-much", **WHO)
    told()
    assert reason() == "active"
    use("cust_acme", "2200", at=MID_AUGUST)
    told()
    assert reason() == "spend_limit"
    retire_budget(budget=budget, at=MID_AUGUST, **WHO)
    assert reason() == "active"


def test_a_default_that_stops_stops_who_has_no_limit_of_the_companys_own(acme: Customer) -> None:
    a_budget(None, "20", at_limit="stop")
    told()
    assert reason() == "spend_limit"

    a_budget(acme, "5", name="Customers cannot lift it", set_by="customer")
    assert reason() == "spend_limit"
    a_budget(acme, "30", name="The company can", at_limit="stop")
    assert reason() == "active"


def test_a_limit_takes_no_place_of_what_refuses_access_anyway_and_the_question_stays_one_query(
    acme: Customer, django_assert_num_queries: Any
) -> None:
    a_budget(acme, "20", at_limit="stop")
    told()
    with django_assert_num_queries(1):
        assert reason() == "spend_limit"

    pause_subscription(subscription=acme.subscriptions.get(), at=MID_AUGUST, **WHO)
    assert reason() == "paused"


@pytest.mark.requirement("S3-019")
def test_pending_charges_are_told_three_days_before_they_are_invoiced_and_only_once(acme: Customer) -> None:
    assert told(SEPTEMBER - timedelta(days=3, seconds=1)) == []
    assert told(SEPTEMBER - timedelta(days=2)) == [("pending", None, "29.00")]
    assert told(SEPTEMBER - timedelta(days=1)) == []


def test_a_sweep_looks_only_at_whose_usage_moved_and_at_everybody_once_a_day(acme: Customer) -> None:
    a_subscription(a_customer("cust_quiet"))
    a_budget(None, "1000")

    assert sweep_spend(at=MID_AUGUST).looked_at == 2
    assert sweep_spend(at=MID_AUGUST + timedelta(minutes=1)).looked_at == 0
    use("cust_acme", "1", at=MID_AUGUST)
    assert sweep_spend(at=MID_AUGUST + timedelta(minutes=2)).looked_at == 1
    assert sweep_spend(at=MID_AUGUST + timedelta(minutes=3)).looked_at == 0
    assert sweep_spend(at=MID_AUGUST + timedelta(days=2)).looked_at == 2


def test_a_sweep_that_had_no_time_for_all_goes_on_where_it_stopped(acme: Customer) -> None:
    a_subscription(a_customer("cust_other"))
    a_budget(None, "10", thresholds=[100])

    swept = [sweep_spend(at=MID_AUGUST, customers_max=1) for _ in range(3)]
    assert [(one.looked_at, len(one.notices)) for one in swept] == [(1, 1), (1, 1), (0, 0)]
    use("cust_acme", "1", at=MID_AUGUST)
    use("cust_other", "1", at=MID_AUGUST)
    swept = [sweep_spend(at=MID_AUGUST, customers_max=1) for _ in range(3)]
    assert [one.looked_at for one in swept] == [1, 1, 0]


def test_what_cannot_be_computed_is_told_and_keeps_what_was_seen(acme: Customer) -> None:
    a_subscription(a_customer("cust_other"))
    a_budget(None, "20", thresholds=[100])
    sweep_spend(at=MID_AUGUST)
    use("cust_acme", "9" * 26, at=MID_AUGUST)
    use("cust_other", "1", at=MID_AUGUST)

    swept = sweep_spend(at=MID_AUGUST + timedelta(minutes=1))

    [(key, problem)] = swept.failures
    assert (key, swept.looked_at) == ("cust_acme", 2)
    watch = SpendWatch.objects.get(customer=acme)
    assert (watch.spend, watch.problem) == (Money("29", "USD"), problem)
    assert SpendWatch.objects.get(customer__key="cust_other").spend == Money("29.01", "USD")


@pytest.mark.parametrize(
    ("field", "wrong", "code"),
    [
        ("amount", Money("0", "USD"), "out_of_range"),
        ("amount", Money("1", "EUR"), "currency_differs"),
        ("amount", Money(10**16, "USD"), "too_large"),
        ("thresholds", [0], "out_of_range"),
        ("thresholds", [1001], "out_of_range"),
        ("thresholds", ["50"], "wrong_type"),
        ("thresholds", [True], "wrong_type"),
        ("thresholds", 50, "wrong_type"),
        ("projected_thresholds", list(range(1, 22)), "too_many"),
        ("at_limit", "explode", "unknown"),
        ("name", " ", "required"),
        ("name", "x" * 101, "invalid"),
        ("key", "no spaces", "invalid"),
    ],
)
def test_what_no_budget_can_be_is_refused_by_its_field(acme: Customer, field: str, wrong: Any, code: str) -> None:
    with pytest.raises(InvalidFields) as refused:
        a_budget(acme, **{field: wrong})

    assert [(error.field, error.code) for error in refused.value.errors] == [(field, code)]
    assert not Budget.objects.exists()


def test_a_budget_set_twice_is_one_and_with_other_content_a_conflict(acme: Customer) -> None:
    one = a_budget(acme, key="cap")

    assert a_budget(acme, key="cap") == one
    with pytest.raises(Conflict, match="another amount"):
        a_budget(acme, "101", key="cap")
    retire_budget(budget=one, at=MID_AUGUST, **WHO)
    assert retire_budget(budget=one, at=SEPTEMBER, **WHO).retired_at == MID_AUGUST
    with pytest.raises(Conflict, match="retired"):
        change_budget(budget=one, changes={"name": "Again"}, **WHO)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE invoicing_spendnotice SET threshold = 99",
        "DELETE FROM invoicing_spendnotice",
        "TRUNCATE invoicing_spendnotice",
        "INSERT INTO invoicing_spendnotice (customer_id, kind, period_start, period_end, currency, spend, budget_id, basis,"
        " threshold, amount, at_limit, noticed_at) SELECT customer_id, kind, period_start, period_end, currency, spend + 1,"
        " budget_id, basis, threshold, amount, at_limit, noticed_at FROM invoicing_spendnotice",
        "UPDATE invoicing_spendnotice SET kind = 'pending'",
        "UPDATE invoicing_budget SET amount = 0",
        "UPDATE invoicing_budget SET amount = 1.001",
        "UPDATE invoicing_budget SET thresholds = '{0}'",
        "UPDATE invoicing_budget SET currency = 'EUR'",
        "UPDATE invoicing_budget SET set_by = 'customer'",
        "UPDATE invoicing_spendwatch SET currency = 'EUR'",
        "INSERT INTO invoicing_budget (key, customer_id, name, currency, amount, thresholds, projected_thresholds, at_limit,"
        " set_by) SELECT 'x', customer_id, 'x', 'EUR', 1, '{}', '{}', 'stop', 'company' FROM invoicing_budget",
        "INSERT INTO invoicing_budget (key, name, currency, amount, thresholds, projected_thresholds, at_limit, set_by)"
        " VALUES ('x', 'x', 'USD', 1, '{}', '{}', 'stop', 'customer')",
    ],
)
def test_raw_sql_cannot_bend_what_was_noticed_or_set(acme: Customer, statement: str) -> None:
    a_budget(acme, "20", thresholds=[50])
    told()
    settle_constraints()

    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.django_db(transaction=True)
def test_sweeps_at_the_same_time_tell_each_threshold_once() -> None:
    a_plan()
    a_subscription(a_customer())
    a_budget(Customer.objects.get(), "20")
    noticed: list[int] = []

    def sweep() -> None:
        noticed.append(len(sweep_spend(at=datetime(2026, 8, 15, tzinfo=UTC)).notices))
        connections.close_all()

    threads = [Thread(target=sweep) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(noticed) == SpendNotice.objects.count() == 3


def test_a_fee_from_the_end_of_a_trial_on_is_not_spent_before(acme: Customer) -> None:
    trying = a_customer("cust_trying")
    a_subscription(trying, started_at=AUGUST, trial_ends_at=MID_AUGUST + timedelta(days=1))
    a_budget(trying, "10")

    assert told() == []
    assert [spent for _, _, spent in told(MID_AUGUST + timedelta(days=1))] == ["14.97"] * 3


def test_a_maximum_caps_what_is_spent_and_a_minimum_is_agreed_not_spent() -> None:
    a_plan("bounded", usd_per_action(), spend=[{"currency": "USD", "minimum_spend": "40", "maximum_spend": "60"}])
    customer = a_customer()
    a_subscription(customer, plan="bounded")
    a_budget(customer, "50", thresholds=[10, 110, 130])
    use("cust_acme", "1000", at=AUGUST)

    assert told() == [("threshold", 10, "10.00")]
    use("cust_acme", "9000", at=AUGUST)
    assert told() == [("threshold", 110, "60.00")]


def test_the_budgets_of_july_say_nothing_of_a_customer_that_has_not_begun(acme: Customer) -> None:
    a_budget(acme, "20")

    assert told(JULY - timedelta(days=1)) == []


def test_what_is_expected_of_the_period_is_told_before_it_is_spent_and_once(acme: Customer) -> None:
    a_budget(acme, "50", thresholds=[], projected_thresholds=[100])
    for day in range(28):
        use("cust_acme", "100", at=MID_AUGUST - timedelta(days=28 - day, hours=-1))

    [notice] = sweep_spend(at=MID_AUGUST).notices

    # 14 days of USD 1 and 17 to come, and the fee.
    assert (notice.basis, notice.threshold, notice.spend) == ("projected", 100, Money("60.00", "USD"))
    assert SpendWatch.objects.get().spend == Money("43.00", "USD")
    use("cust_acme", "100", at=MID_AUGUST)
    assert told(MID_AUGUST + timedelta(minutes=1)) == []


def test_a_subscription_of_a_few_days_has_no_forecast_and_tells_nothing_of_one() -> None:
    a_plan()
    customer = a_customer()
    a_subscription(customer, started_at=AUGUST + timedelta(days=4))
    a_budget(customer, "20", thresholds=[], projected_thresholds=[10])

    assert told() == []
    [period] = read_spend(customer=customer, at=MID_AUGUST)
    assert period.forecast is None
    assert period.forecast_reason == "A forecast needs 14 whole days of usage; 10 are known so far."
