"""The twin tells taxes as Stripe Tax does: by address and VAT id, with a reason for each place, refusing what is no address."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

CODE = "customer_tax_location_invalid"


def ask(sandbox: Any, *, key: str | None = None, status: int = 200, **changes: str) -> dict[str, Any]:
    params = {
        "currency": "usd",
        "line_items[0][amount]": "10000",
        "customer_details[address_source]": "billing",
        "customer_details[address][country]": "US",
        "customer_details[address][postal_code]": "10001",
        "expand[]": "line_items.data.tax_breakdown",
    } | changes
    params = {name: text for name, text in params.items() if text}
    response = sandbox.call("POST", "/v1/tax/calculations", params, key=key)
    assert response.status_code == status, response.text
    return response.json()


def at(country: str, postal_code: str = "", state: str = "", vat: str = "", override: str = "") -> dict[str, str]:
    place = {
        "customer_details[address][country]": country,
        "customer_details[address][postal_code]": postal_code,
        "customer_details[address][state]": state,
        "customer_details[taxability_override]": override,
    }
    ids = {"customer_details[tax_ids][0][type]": "eu_vat", "customer_details[tax_ids][0][value]": vat} if vat else {}
    return place | ids


def told(body: dict[str, Any]) -> list[tuple[str, str, int]]:
    [line] = body["line_items"]["data"]
    return [
        (entry["jurisdiction"]["level"], entry["taxability_reason"], entry["amount"]) for entry in line["tax_breakdown"]
    ]


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (
            at("US", "10001"),
            [("state", "standard_rated", 400), ("city", "standard_rated", 450), ("district", "standard_rated", 38)],
        ),
        (at("US", "12207", "NY"), [("state", "standard_rated", 400), ("county", "standard_rated", 400)]),
        (
            at("US", "78701", "TX"),
            [
                ("state", "taxable_basis_reduced", 500),
                ("city", "taxable_basis_reduced", 80),
                ("district", "taxable_basis_reduced", 80),
            ],
        ),
        (at("US", "97201", "OR"), [("state", "not_subject_to_tax", 0)]),
        (at("US", "98101", "WA"), [("state", "not_collecting", 0)]),
        (at("US", "10001", override="customer_exempt"), [("state", "customer_exempt", 0)]),
        (at("DE"), [("country", "standard_rated", 1900)]),
        (at("DE", vat="DE136695976"), [("country", "standard_rated", 1900)]),
        (at("FR"), [("country", "standard_rated", 2000)]),
        (at("FR", vat="FR40303265045"), [("country", "reverse_charge", 0)]),
        (at("CH"), [("country", "not_collecting", 0)]),
    ],
)
def test_each_place_says_what_it_charges_and_why(sandbox, place, expected):
    body = ask(sandbox, **place)

    assert told(body) == expected
    assert body["tax_amount_exclusive"] == sum(amount for _, _, amount in expected)
    assert body["amount_total"] == 10000 + body["tax_amount_exclusive"]


@pytest.mark.parametrize(
    ("place", "code", "param"),
    [
        (at("US"), CODE, "customer_details[address][postal_code]"),
        (at("US", "00000"), CODE, "customer_details[address]"),
        (at("US", "97201", "NY"), CODE, "customer_details[address]"),
        (at("Germany"), None, "customer_details[address][country]"),
        (at("FR", vat="FR1"), "tax_id_invalid", "customer_details[tax_ids][0][value]"),
    ],
)
def test_what_is_no_address_is_refused_and_named(sandbox, place, code, param):
    error = ask(sandbox, status=400, **place)["error"]

    assert (error.get("code"), error["param"], error["type"]) == (code, param, "invalid_request_error")


def test_a_key_is_one_calculation_and_days_are_near(sandbox):
    first, again = (ask(sandbox, key="once") for _ in range(2))
    far = datetime.now(UTC) + timedelta(days=33)
    refused = ask(sandbox, status=400, tax_date=str(int(far.timestamp())))["error"]

    assert first["id"] == again["id"]
    assert sandbox.state()["objects"]["tax.calculation"] == 1
    assert refused["param"] == "tax_date"
    assert sandbox.get(f"/v1/tax/calculations/{first['id']}")["amount_total"] == first["amount_total"]
    [line] = sandbox.get(f"/v1/tax/calculations/{first['id']}/line_items")["data"]
    assert (line["amount_tax"], "tax_breakdown" in line) == (888, False)


def test_tax_that_is_contained_is_taken_out(sandbox):
    body = ask(sandbox, **at("DE"), **{"line_items[0][tax_behavior]": "inclusive"})

    assert (body["tax_amount_inclusive"], body["tax_amount_exclusive"], body["amount_total"]) == (1597, 0, 10000)
