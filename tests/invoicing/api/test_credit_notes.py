"""Credit notes over HTTP: shown, issued as shown, listed, read; refunds written down."""

from typing import Any

import pytest

from invoicing.credit_notes.models import CreditNote
from invoicing.invoices.models import Invoice
from tests.billing_site.api.caller import Caller, fields_of
from tests.factories import a_customer, settle_constraints
from tests.invoicing.selling import item, once, paid

pytestmark = pytest.mark.django_db


@pytest.fixture
def workshop() -> Invoice:
    invoice = once(a_customer(settlement_channel="manual"), item("10", "10"), item("7"))
    paid(invoice)
    return invoice


def test_a_credit_note_is_shown_issued_as_it_was_shown_and_paid_back(workshop: Invoice) -> None:
    caller = Caller()
    path = f"/api/v1/invoices/{workshop.number}/credit-notes"
    asked: dict[str, Any] = {"disposition": "refund", "lines": [{"position": 1, "quantity": "2.5"}]}

    shown = caller.post(path, asked | {"preview": True}).json()
    assert CreditNote.objects.count() == 0
    made, again = (
        caller.post(path, asked | {"key": "k", "reason": "outage", "digest": shown["digest"]}) for _ in range(2)
    )
    number = made.json()["number"]
    [refund] = made.json()["refunds"]
    settled = caller.post(f"/api/v1/credit-notes/{number}/refunds/{refund['id']}/paid", {"reference": "SEPA 1"}).json()

    assert (shown["total"]["amount"], shown["refund_amount"]["amount"]) == ("25.00", "25.00")
    assert made.status_code == again.status_code == 201
    assert made.json() == again.json()
    assert [line["quantity"] for line in made.json()["lines"]] == ["2.5"]
    assert (refund["status"], settled["refunds"][0]["status"]) == ("pending", "paid")
    assert [one["number"] for one in caller.get(f"/api/v1/credit-notes?invoice={workshop.number}").json()["data"]] == [
        number
    ]
    assert caller.get(f"/api/v1/credit-notes/{number}").json() == settled
    assert caller.get("/api/v1/credit-notes/CN-2026-00009").status_code == 404
    settle_constraints()


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"disposition": "refund"}, ["key", "reason"]),
        ({"disposition": "gift", "preview": True}, ["disposition"]),
        ({"disposition": "offset", "preview": True}, ["disposition"]),
        ({"disposition": "refund", "preview": True, "lines": []}, ["lines"]),
        ({"disposition": "refund", "preview": True, "lines": [{"position": 3}]}, ["lines[0].position"]),
        (
            {"disposition": "refund", "preview": True, "lines": [{"position": 1, "quantity": "11"}]},
            ["lines[0].quantity"],
        ),
        (
            {"disposition": "refund", "preview": True, "lines": [{"position": 1, "quantity": "many"}]},
            ["lines[0].quantity"],
        ),
        ({"disposition": "refund", "key": "k!", "reason": "x"}, ["key"]),
        ({"disposition": "refund", "key": "k", "reason": "x" * 301}, ["reason"]),
    ],
)
def test_what_cannot_be_accepted_is_refused_by_its_field(
    workshop: Invoice, body: dict[str, Any], fields: list[str]
) -> None:
    answer = Caller().post(f"/api/v1/invoices/{workshop.number}/credit-notes", body)

    assert (answer.status_code, list(fields_of(answer))) == (422, fields)
    assert CreditNote.objects.count() == 0


def test_a_key_of_one_customer_sees_its_own_credit_notes_only(workshop: Invoice) -> None:
    a_customer("cust_other")
    Caller().post(
        f"/api/v1/invoices/{workshop.number}/credit-notes", {"disposition": "balance", "key": "k", "reason": "outage"}
    )
    own, other = Caller(customer="cust_acme"), Caller(customer="cust_other")

    assert len(own.get("/api/v1/credit-notes").json()["data"]) == 1
    assert other.get("/api/v1/credit-notes").json()["data"] == []
    assert other.get("/api/v1/credit-notes/CN-2026-00001").status_code == 404
