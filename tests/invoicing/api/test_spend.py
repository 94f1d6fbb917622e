"""Budgets are set, changed and retired over HTTP, and the spend is read with how they stand."""

from datetime import timedelta

import pytest

from billing_site.kernel import clock
from invoicing.spend.models import Budget
from invoicing.workflows.watch_spend import sweep_spend
from tests.billing_site.api.caller import Caller, fields_of
from tests.factories import AUGUST, a_customer, a_plan, a_subscription, use

pytestmark = pytest.mark.django_db
MID_AUGUST = AUGUST + timedelta(days=14)
USD_50 = {"amount": "50.00", "currency": "USD"}
BUDGET = {"key": "cap", "customer_id": "cust_acme", "name": "Monthly", "amount": USD_50, "at_limit": "stop"}


@pytest.fixture
def caller(monkeypatch: pytest.MonkeyPatch) -> Caller:
    """A caller in the middle of August, and Acme who pays USD 29 and USD 0.01 an action."""
    for module in ("budgets", "spend", "access"):
        monkeypatch.setattr(f"invoicing.api.{module}.now", lambda: MID_AUGUST)
    monkeypatch.setattr(clock, "now", lambda: MID_AUGUST)
    a_plan()
    a_subscription(a_customer())
    return Caller()


@pytest.mark.requirement("S0-143")
def test_the_spend_of_the_running_period_is_read_with_its_lines_and_how_each_budget_stands(caller: Caller) -> None:
    caller.post("/api/v1/budgets", BUDGET | {"at_limit": "notify"})
    use("cust_acme", "1200", at=AUGUST)

    [period] = caller.get("/api/v1/customers/cust_acme/spend").json()["periods"]

    assert period["spend"] == {"amount": "41.00", "currency": "USD"}
    assert [line["amount"]["amount"] for line in period["lines"]] == ["29.00", "12.00"]
    assert period["budgets"] == [
        {
            "key": "cap",
            "name": "Monthly",
            "amount": USD_50,
            "at_limit": "notify",
            "percent": 82,
            "left": {"amount": "9.00", "currency": "USD"},
            "reached": [50, 80],
            "next": 100,
        }
    ]


def test_a_limit_that_is_reached_already_stops_at_once_and_a_raised_one_lets_go_at_once(caller: Caller) -> None:
    use("cust_acme", "2100", at=AUGUST)

    assert caller.post("/api/v1/budgets", BUDGET).status_code == 201
    answer = caller.get("/api/v1/customers/cust_acme/access").json()
    assert (answer["allowed"], answer["reason"], answer["changes_at"]) == (False, "spend_limit", "2026-09-01T00:00:00Z")
    notices = caller.get("/api/v1/spend-notices?customer_id=cust_acme").json()["data"]
    assert [(one["threshold"], one["budget"], one["at_limit"]) for one in notices] == [
        (100, "cap", "stop"),
        (80, "cap", "stop"),
        (50, "cap", "stop"),
    ]

    raised = caller.patch("/api/v1/budgets/cap", {"amount": {"amount": "60.00", "currency": "USD"}})
    assert raised.json()["amount"]["amount"] == "60.00"
    assert caller.get("/api/v1/customers/cust_acme/access").json()["reason"] == "active"
    retired = caller.post("/api/v1/budgets/cap/retire", {"reason": "not needed"})
    assert retired.json()["retired_at"] == "2026-08-15T00:00:00Z"
    assert fields_of(caller.patch("/api/v1/budgets/cap", {"name": "Again"})) == {"key": "conflict"}


def test_a_customers_own_key_sets_its_own_budget_and_leaves_the_companys_alone(caller: Caller) -> None:
    caller.post("/api/v1/budgets", BUDGET)
    caller.post("/api/v1/budgets", BUDGET | {"key": "all", "customer_id": None})
    acme = Caller(customer="cust_acme")

    own = acme.post("/api/v1/budgets", BUDGET | {"key": "mine", "at_limit": "notify"})

    assert (own.status_code, own.json()["set_by"]) == (201, "customer")
    assert {one["key"] for one in acme.get("/api/v1/budgets").json()["data"]} == {"cap", "mine"}
    assert acme.patch("/api/v1/budgets/mine", {"name": "Ours"}).status_code == 200
    assert acme.patch("/api/v1/budgets/cap", {"amount": {"amount": "9.00", "currency": "USD"}}).status_code == 403
    assert acme.post("/api/v1/budgets/cap/retire", {"reason": "freedom"}).status_code == 403
    assert acme.get("/api/v1/budgets/all").status_code == 404
    assert acme.post("/api/v1/budgets", BUDGET | {"key": "x", "customer_id": None}).status_code == 403
    assert Budget.objects.filter(retired_at__isnull=False).count() == 0


def test_the_same_budget_twice_is_one_and_other_content_is_a_conflict(caller: Caller) -> None:
    first, second = caller.post("/api/v1/budgets", BUDGET), caller.post("/api/v1/budgets", BUDGET)

    assert first.json() == second.json()
    assert caller.post("/api/v1/budgets", BUDGET | {"name": "Other"}).status_code == 409
    sweep_spend(at=MID_AUGUST)
    assert len(caller.get("/api/v1/spend-notices").json()["data"]) == 1
