"""Bank statements over HTTP: imported once, and the lines with what they are."""

from base64 import b64encode
from typing import Any

import pytest

from invoicing.bank.models import BankLine
from invoicing.workflows.match_bank_lines import settle_certain_lines
from tests.billing_site.api.caller import Caller
from tests.factories import a_customer
from tests.invoicing.bank.statements import AT, OURS, Entry, camt
from tests.invoicing.selling import once

pytestmark = pytest.mark.django_db
CSV = b"Date,Memo,Amount\n07/10/2026,hello,12.50\n"


def body(content: bytes, **members: Any) -> dict[str, Any]:
    return {"name": "july.xml", "format": "camt053", "content": b64encode(content).decode(), **members}


def test_a_statement_is_imported_once_and_its_lines_say_what_they_are() -> None:
    invoice = once(a_customer(settlement_channel="manual"))
    caller = Caller()
    content = camt(Entry("120.00", str(invoice.number)), Entry("-4.90", "fee", name="The Bank"))

    first = caller.post("/api/v1/bank-statements", body(content))
    again = caller.post("/api/v1/bank-statements", body(content, name="again.xml"))
    settle_certain_lines(file_id=None, at=AT)

    assert (first.status_code, again.status_code) == (201, 200), first.content
    assert (first.json()["is_new"], again.json()["is_new"]) == (True, False)
    assert first.json()["statements"] == again.json()["statements"]
    [statement] = caller.get(f"/api/v1/bank-statements?account={OURS}").json()["data"]
    assert (statement["opening"], statement["line_count"]) == ({"amount": "1000.00", "currency": "USD"}, 2)
    [settled] = caller.get("/api/v1/bank-lines?state=settled").json()["data"]
    assert [(one["kind"], one["invoice"], one["customer_id"]) for one in settled["allocations"]] == [
        ("payment", invoice.number, "cust_acme")
    ]
    [waiting] = caller.get(f"/api/v1/bank-lines?state=open&statement={statement['id']}").json()["data"]
    assert (waiting["left"], waiting["state"]) == ({"amount": "-4.90", "currency": "USD"}, "open")


def test_a_csv_is_read_by_its_layout() -> None:
    asked = body(CSV, format="csv", layout="american", columns={"text": "Memo", "account": "=123"})

    answer = Caller().post("/api/v1/bank-statements", asked)

    assert answer.status_code == 201, answer.content
    assert answer.json()["statements"][0]["opening"] is None
    assert BankLine.objects.get().text == "hello"


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (body(camt(Entry("1.00"), closing="9")), "file"),
        (body(b"x") | {"content": "é"}, "content"),
        (body(b"x") | {"format": "pdf"}, "format"),
        (body(b"x", format="csv", columns={"colour": "red"}), "map"),
        ({"name": "x"}, "content"),
    ],
)
def test_what_is_wrong_is_told_at_its_field_and_nothing_is_kept(asked: dict[str, Any], field: str) -> None:
    answer = Caller().post("/api/v1/bank-statements", asked)

    assert answer.status_code == 422, answer.content
    assert field in [error["field"] for error in answer.json()["errors"]]
    assert not BankLine.objects.exists()


def test_wrong_filters_are_refused() -> None:
    caller = Caller()

    for query in ("state=maybe", "statement=x", "colour=red"):
        assert caller.get(f"/api/v1/bank-lines?{query}").status_code == 422, query
    assert caller.get("/api/v1/bank-lines?statement=99999999999999999999999").status_code == 200
