"""Progressive invoices over HTTP: the threshold is set, read and retired; an invoice says of which period it is, and what takes it off."""

from typing import Any

import pytest

from billing_site.kernel.period import as_utc
from tests.billing_site.api.caller import Caller
from tests.factories import AUGUST, JULY, a_customer, a_plan, a_subscription, usd_fee, usd_per_action
from tests.invoicing.progressive import billed, used

pytestmark = pytest.mark.django_db

THRESHOLD: dict[str, Any] = {
    "key": "acme-progressive",
    "customer_id": "cust_acme",
    "amount": {"amount": "100.00", "currency": "USD"},
    "step": {"amount": "50.00", "currency": "USD"},
    "reason": "agreed",
}


def test_a_threshold_is_set_once_read_and_retired() -> None:
    a_customer()
    caller = Caller()

    made, again = (caller.post("/api/v1/progressive-thresholds", THRESHOLD) for _ in range(2))
    listed = caller.get("/api/v1/progressive-thresholds?customer_id=cust_acme").json()["data"]
    retired = caller.post("/api/v1/progressive-thresholds/acme-progressive/retire", {"reason": "over"})

    assert made.status_code == again.status_code == 201
    assert listed == [made.json()] == [again.json()]
    assert (made.json()["seen_amount"], made.json()["retired_at"]) == (None, None)
    assert retired.json()["retired_at"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"amount": {"amount": "0", "currency": "USD"}}, "amount"),
        ({"amount": {"amount": "1.00", "currency": "EUR"}}, "amount"),
        ({"step": {"amount": "-1.00", "currency": "USD"}}, "step"),
        ({"reason": ""}, "reason"),
        ({"customer_id": "nobody"}, "customer_id"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_cannot_be_a_threshold_is_refused_at_its_field(changes: dict[str, Any], field: str) -> None:
    a_customer()

    answer = Caller().post("/api/v1/progressive-thresholds", THRESHOLD | changes)

    assert answer.status_code in (404, 422)
    assert field in answer.content.decode()


def test_an_invoice_names_its_period_and_what_takes_it_off() -> None:
    a_plan("pro", usd_fee("29"), usd_per_action("1"))
    a_subscription(a_customer())
    caller = Caller()
    caller.post("/api/v1/progressive-thresholds", THRESHOLD)
    [invoice] = used("120", day=3)

    before = caller.get(f"/api/v1/invoices/{invoice.number}").json()
    july = billed()
    after, last = (caller.get(f"/api/v1/invoices/{one.number}").json() for one in (invoice, july))
    listed = caller.get("/api/v1/invoices").json()["data"]

    assert (before["kind"], before["taken_off_by"], after["taken_off_by"]) == ("progressive", [], [july.number])
    assert (last["kind"], last["takes_off"], last["taken_off_by"]) == ("period", [invoice.number], [])
    assert after["period"] == last["period"]
    assert as_utc(JULY) < as_utc(AUGUST) and last["lines"][-1]["adjustment"] == "invoiced_progressively"
    assert after["lines"][0]["kind"] == "progressive"
    assert {one["kind"] for one in listed} == {"period", "progressive"}
    assert caller.get(f"/api/v1/invoices/{invoice.number}/explanation").status_code in (200, 404)
