"""One-off invoices and top-ups over HTTP."""

from typing import Any

import pytest

from invoicing.invoices.models import Invoice
from tests.billing_site.api.caller import Caller, fields_of
from tests.factories import a_customer
from tests.invoicing.selling import paid

pytestmark = pytest.mark.django_db

USD_120 = {"amount": "120.00", "currency": "USD"}
WORKSHOP: dict[str, Any] = {
    "key": "workshop",
    "customer_id": "cust_acme",
    "lines": [{"description": "Workshop", "quantity": "2.5", "unit": "hour", "unit_amount": USD_120}],
    "reason": "order 4711",
}
TOP_UP: dict[str, Any] = {
    "key": "top-up-7",
    "customer_id": "cust_acme",
    "amount": {"amount": "500.00", "currency": "USD"},
    "valid_days": 365,
    "reason": "order 4712",
}


def test_an_invoice_is_made_once_read_explained_and_declared_void() -> None:
    a_customer()
    caller = Caller()

    made, again = (caller.post("/api/v1/invoices", WORKSHOP) for _ in range(2))
    number = made.json()["number"]
    explained = caller.get(f"/api/v1/invoices/{number}/explain").json()
    listed = caller.get("/api/v1/invoices").json()["data"]
    of_july = caller.get("/api/v1/invoices?period=2026-07").json()["data"]
    void = caller.post(f"/api/v1/invoices/{number}/void", {"reason": "agreed otherwise"})

    assert made.status_code == again.status_code == 201
    assert made.json() == again.json()
    assert (made.json()["kind"], made.json()["key"], made.json()["period"]) == ("one_off", "workshop", None)
    [line] = made.json()["lines"]
    assert (line["kind"], line["quantity"], line["amount"]["amount"]) == ("one_off", "2.5", "300.00")
    assert (line["service_period"], line["steps"][0]["amount"]) == (None, "300")
    assert explained["equal"]
    assert [one["number"] for one in listed] == [number]
    assert of_july == []
    assert (void.json()["status"], void.json()["amount_due"]["amount"]) == ("void", "0.00")


def test_credit_is_sold_paid_and_granted() -> None:
    a_customer()
    caller = Caller()

    sold, again = (caller.post("/api/v1/top-ups", TOP_UP) for _ in range(2))
    paid(Invoice.objects.get())
    after = caller.get("/api/v1/top-ups/top-up-7").json()
    grant = caller.get(f"/api/v1/credit-grants/{after['grant']}").json()

    assert sold.status_code == 201
    assert sold.json() == again.json()
    assert (sold.json()["status"], sold.json()["grant"], sold.json()["valid_days"]) == ("open", None, 365)
    assert [one["key"] for one in caller.get("/api/v1/top-ups?status=paid").json()["data"]] == ["top-up-7"]
    assert (grant["kind"], grant["balance"]["amount"]) == ("prepaid", "500.00")
    assert caller.get("/api/v1/customers/cust_acme/credit").json()["balance"]["amount"] == "500.00"


RULE: dict[str, Any] = {
    "key": "auto",
    "customer_id": "cust_acme",
    "threshold": {"amount": "50.00", "currency": "USD"},
    "amount": {"amount": "500.00", "currency": "USD"},
    "max_per_month": 4,
    "reason": "agreed",
}


def test_a_rule_is_set_read_and_retired() -> None:
    a_customer()
    caller = Caller()

    made, again = (caller.post("/api/v1/top-up-rules", RULE) for _ in range(2))
    listed = caller.get("/api/v1/top-up-rules?customer_id=cust_acme").json()["data"]
    retired = caller.post("/api/v1/top-up-rules/auto/retire", {"reason": "over"})

    assert made.status_code == again.status_code == 201
    assert listed == [made.json()] == [again.json()]
    assert (made.json()["state"], made.json()["seen_balance"], made.json()["retired_at"]) == ("new", None, None)
    assert retired.json()["retired_at"]


LINE = WORKSHOP["lines"][0]


@pytest.mark.parametrize(
    ("address", "body", "status", "field"),
    [
        ("invoices", WORKSHOP | {"lines": []}, 422, "lines"),
        ("invoices", WORKSHOP | {"lines": [LINE | {"quantity": "0"}]}, 422, "lines[0].quantity"),
        ("invoices", WORKSHOP | {"lines": [LINE, LINE | {"quantity": "two"}]}, 422, "lines[1].quantity"),
        ("invoices", WORKSHOP | {"lines": [LINE | {"unit_amount": "120"}]}, 422, "lines[0].unit_amount"),
        (
            "invoices",
            WORKSHOP | {"lines": [LINE | {"unit_amount": {"amount": "1", "currency": "EUR"}}]},
            422,
            "lines[0].unit_amount",
        ),
        ("invoices", WORKSHOP | {"lines": [LINE | {"colour": "red"}]}, 422, "lines[0].colour"),
        ("invoices", WORKSHOP | {"key": "two words"}, 422, "key"),
        ("invoices", WORKSHOP | {"customer_id": "cust_nobody"}, 404, "customer_id"),
        ("invoices", {name: value for name, value in WORKSHOP.items() if name != "reason"}, 422, "reason"),
        ("top-ups", TOP_UP | {"amount": {"amount": "0", "currency": "USD"}}, 422, "amount"),
        ("top-ups", TOP_UP | {"amount": {"amount": "5.00", "currency": "EUR"}}, 422, "amount"),
        ("top-ups", TOP_UP | {"valid_days": 0}, 422, "valid_days"),
        ("top-ups", TOP_UP | {"name": ""}, 422, "name"),
        ("top-up-rules", RULE | {"threshold": {"amount": "0", "currency": "USD"}}, 422, "threshold"),
        ("top-up-rules", RULE | {"max_per_month": 0}, 422, "max_per_month"),
    ],
)
def test_what_is_wrong_is_named_by_its_field(address: str, body: dict[str, Any], status: int, field: str) -> None:
    a_customer()

    refused = Caller().post(f"/api/v1/{address}", body)

    assert refused.status_code == status
    assert set(fields_of(refused)) == {field}
    assert not Invoice.objects.exists()
