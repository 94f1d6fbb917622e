"""Tax over HTTP: settings, rates, where customers are, and what invoices then say."""

from datetime import timedelta
from typing import Any

import pytest

from invoicing.workflows.run_billing import issue_billing
from tests.billing_site.api.caller import Caller, fields_of
from tests.factories import AUGUST, JULY, a_customer, a_plan, a_subscription, use

pytestmark = pytest.mark.django_db

WHY = {"reason": "tax office"}
SETTINGS = {"valid_from": "2026-01-01", "country": "DE", **WHY}
REGISTRATION = {"jurisdiction": "DE", "number": "DE136695976", "valid_from": "2026-01-01", **WHY}
RATE = {"jurisdiction": "DE", "name": "VAT", "rate": "0.19", "valid_from": "2026-01-01", **WHY}
EXEMPTION = {
    "customer_id": "cust_acme",
    "jurisdiction": "DE",
    "law": "Exempt under Art. 151",
    "evidence": "certificate 7",
    "valid_from": "2026-01-01",
    **WHY,
}


def test_tax_is_set_up_previewed_and_told_by_invoice_and_line() -> None:
    a_plan()
    a_subscription(a_customer())
    use("cust_acme", "1500", at=JULY + timedelta(days=3))
    caller = Caller()

    before = caller.post("/api/v1/invoices/preview", {"customer_id": "cust_acme", "as_of": "2026-07-20T00:00:00Z"})
    made = [
        caller.post(f"/api/v1/tax/{what}", body)
        for what, body in (("settings", SETTINGS), ("registrations", REGISTRATION), ("rates", RATE))
        for _ in range(2)
    ]
    missing = caller.post("/api/v1/invoices/preview", {"customer_id": "cust_acme", "as_of": "2026-07-20T00:00:00Z"})
    nobody = caller.get("/api/v1/customers/cust_acme/tax")
    told = caller.put("/api/v1/customers/cust_acme/tax", {"country": "DE", "vat_id": "136 695 976", **WHY})
    preview = caller.post("/api/v1/invoices/preview", {"customer_id": "cust_acme", "as_of": "2026-07-20T00:00:00Z"})
    [invoice] = issue_billing(as_of=AUGUST, at=AUGUST).invoices
    read = caller.get(f"/api/v1/invoices/{invoice.number}").json()

    assert (before.json()["tax"], before.json()["tax_amount"]) == (None, None)
    assert [one.status_code for one in made] == [201] * 6
    assert [
        caller.get(f"/api/v1/tax/{what}").json()["data"][1:] for what in ("settings", "registrations", "rates")
    ] == [
        [],
        [],
        [],
    ]
    assert missing.json()["tax"] == {"provider": "table", "missing": ["the country of Acme GmbH"]}
    assert (nobody.status_code, told.json()) == (
        404,
        {
            "country": "DE",
            "region": "",
            "vat_id": "DE136695976",
            "postal_code": "",
            "city": "",
            "line1": "",
            "checked": None,
            "told": None,
        },
    )
    assert preview.json()["tax_amount"] == read["tax_amount"] == {"amount": "8.36", "currency": "USD"}
    assert read["total"] == {"amount": "52.36", "currency": "USD"}
    assert read["tax"]["seller"]["number"] == "DE136695976"
    assert [line["taxes"][0]["amount"]["amount"] for line in read["lines"]] == ["5.51", "2.85"]
    assert [line["taxes"] for line in preview.json()["lines"]] == [line["taxes"] for line in read["lines"]]


def test_exemptions_and_rates_are_ended_and_a_customers_key_sees_only_its_own() -> None:
    a_customer()
    a_customer("cust_other")
    caller = Caller()
    exemption = caller.post("/api/v1/tax/exemptions", EXEMPTION).json()
    rate = caller.post("/api/v1/tax/rates", RATE).json()

    ended = [
        caller.post(f"/api/v1/tax/{what}/end", {"valid_to": "2026-08-01", **WHY}).json()["valid_to"]
        for what in (f"exemptions/{exemption['id']}", f"rates/{rate['id']}")
    ]
    nothing = caller.post("/api/v1/tax/rates/99999999999999999999/end", {"valid_to": None, **WHY})

    assert ended == ["2026-08-01", "2026-08-01"]
    assert nothing.status_code == 404
    assert len(caller.get("/api/v1/tax/exemptions?customer_id=cust_acme").json()["data"]) == 1
    assert caller.get("/api/v1/tax/exemptions?customer_id=cust_other").json()["data"] == []


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("settings", SETTINGS | {"country": "Germany"}, "country"),
        ("settings", SETTINGS | {"rounding": "sometimes"}, "rounding"),
        ("settings", SETTINGS | {"valid_from": "soon"}, "valid_from"),
        ("registrations", REGISTRATION | {"jurisdiction": "Bavaria"}, "jurisdiction"),
        ("registrations", REGISTRATION | {"number": " "}, "number"),
        ("rates", RATE | {"rate": "19"}, "rate"),
        ("rates", RATE | {"rate": "0.123456789"}, "rate"),
        ("rates", RATE | {"valid_to": "2025-01-01"}, "valid_to"),
        ("rates", RATE | {"jurisdiction": "EU"}, "jurisdiction"),
        ("exemptions", EXEMPTION | {"evidence": ""}, "evidence"),
        ("exemptions", EXEMPTION | {"law": "x" * 301}, "law"),
        ("exemptions", EXEMPTION | {"colour": "red"}, "colour"),
    ],
)
def test_what_is_wrong_is_named_by_its_field(path: str, body: dict[str, Any], field: str) -> None:
    a_customer()

    refused = Caller().post(f"/api/v1/tax/{path}", body)

    assert (refused.status_code, field in fields_of(refused)) == (422, True)
