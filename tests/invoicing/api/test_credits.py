"""Credit grants and balances over HTTP."""

from datetime import timedelta

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.billing_site.api.caller import Caller, fields_of
from tests.factories import JULY, a_customer, a_plan, a_subscription

pytestmark = pytest.mark.django_db

WELCOME = {
    "key": "welcome",
    "customer_id": "cust_acme",
    "kind": "promotional",
    "name": "Welcome credit",
    "amount": {"amount": "10.00", "currency": "USD"},
    "effective_at": "2026-07-01T00:00:00Z",
    "reason": "signed up at the fair",
}


@time_machine.travel(JULY + timedelta(days=10), tick=False)
def test_credit_is_granted_shown_on_the_preview_and_in_the_balance_and_taken_back() -> None:
    a_plan()
    a_subscription(a_customer())
    caller = Caller()

    granted, again = (caller.post("/api/v1/credit-grants", WELCOME) for _ in range(2))
    preview = caller.post("/api/v1/invoices/preview", {"customer_id": "cust_acme"})
    balance = caller.get("/api/v1/customers/cust_acme/credit")
    voided = caller.post("/api/v1/credit-grants/welcome/void", {"reason": "given twice"})

    assert granted.status_code == again.status_code == 201
    assert (
        granted.json()
        == again.json()
        == caller.get("/api/v1/credit-grants?customer_id=cust_acme").json()["data"][0]
        | {"balance": {"amount": "10.00", "currency": "USD"}, "entries": granted.json()["entries"]}
    )
    line = preview.json()["lines"][-1]
    assert (line["kind"], line["adjustment"], line["amount"]["amount"]) == ("adjustment", "credit", "-10.00")
    assert balance.json() == {
        "customer_id": "cust_acme",
        "balance": {"amount": "10.00", "currency": "USD"},
        "live_balance": {"amount": "0.00", "currency": "USD"},
    }
    assert [entry["kind"] for entry in voided.json()["entries"]] == ["grant", "void"]


@pytest.mark.parametrize(
    ("changes", "status", "field"),
    [
        ({"amount": {"amount": "10.00", "currency": "EUR"}}, 422, "amount"),
        ({"kind": "borrowed"}, 422, "kind"),
        ({"meters": ["nothing"]}, 422, "meters"),
        ({"customer_id": "cust_other"}, 404, "customer_id"),
        ({"expires_at": "2026-06-01T00:00:00Z"}, 422, "expires_at"),
        ({"colour": "red"}, 422, "colour"),
    ],
)
def test_what_is_wrong_is_named_by_its_field(changes: dict[str, object], status: int, field: str) -> None:
    a_customer()

    refused = Caller().post("/api/v1/credit-grants", WELCOME | changes)

    assert refused.status_code == status and field in fields_of(refused)


def test_a_list_of_grants_costs_as_many_queries_as_one_grant(django_assert_max_num_queries) -> None:
    a_customer()
    caller = Caller()
    for number in range(8):
        caller.post("/api/v1/credit-grants", {**WELCOME, "key": f"gift_{number}"})
    with CaptureQueriesContext(connection) as alone:
        caller.get("/api/v1/credit-grants?limit=1")

    with django_assert_max_num_queries(len(alone)):
        found = caller.get("/api/v1/credit-grants?limit=8").json()["data"]

    assert [len(grant["entries"]) for grant in found] == [1] * 8
