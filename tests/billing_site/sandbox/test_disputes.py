"""Disputes in the sandbox: opened and decided on demand, by a test card, by evidence or by giving up; the balance follows."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command


@pytest.fixture
def charge(sandbox):
    sandbox.post(f"/v1/invoices/{sandbox.open_invoice(sandbox.customer())}/pay")
    return sandbox.get("/v1/charges")["data"][0]


def question(sandbox, charge, **params):
    return sandbox.post("/_sandbox/disputes", {"charge": charge["id"], **params})


def moved(sandbox, dispute):
    there = sandbox.get(f"/v1/disputes/{dispute['id']}")
    return there["status"], [
        (one["amount"], one["fee"], one["reporting_category"]) for one in there["balance_transactions"]
    ]


def test_a_chargeback_takes_amount_and_fee_and_brings_back_the_amount_alone(sandbox, charge):
    dispute = question(sandbox, charge, amount=1000)
    assert moved(sandbox, dispute) == ("needs_response", [(-1000, 1500, "dispute")])
    assert sandbox.get(f"/v1/charges/{charge['id']}")["disputed"] is True

    sandbox.post(f"/v1/disputes/{dispute['id']}", {"evidence[product_description]": "answers", "submit": "false"})
    assert moved(sandbox, dispute)[0] == "needs_response"
    sandbox.post(f"/v1/disputes/{dispute['id']}", {"evidence[uncategorized_text]": "winning_evidence"})

    assert moved(sandbox, dispute) == ("won", [(-1000, 1500, "dispute"), (1000, 0, "dispute_reversal")])


@pytest.mark.parametrize(
    ("path", "params", "param"),
    [
        ("/_sandbox/disputes", {"charge": "ch_nobody"}, "charge"),
        ("/_sandbox/disputes", {"amount": 1231}, "amount"),
        ("/_sandbox/disputes", {"reason": "spite"}, "reason"),
        ("/_sandbox/disputes/{dispute}/decide", {"status": "warning_closed"}, "status"),
        ("/v1/disputes/{dispute}", {"evidence[mood]": "bad"}, "evidence[mood]"),
        ("/v1/disputes/dp_nobody/close", {}, "id"),
    ],
)
def test_what_cannot_be_is_refused_by_the_name_of_the_parameter(sandbox, charge, path, params, param):
    dispute = question(sandbox, charge, amount=1)
    if path == "/_sandbox/disputes":
        params = {"charge": charge["id"], **params}

    refused = sandbox.call("POST", path.format(dispute=dispute["id"]), params)

    assert (refused.status_code in (400, 404), refused.json()["error"]["param"]) == (True, param)


def test_a_loss_is_accepted_once_and_then_nothing_is_refunded(sandbox, charge):
    dispute = question(sandbox, charge)
    assert sandbox.post(f"/v1/disputes/{dispute['id']}/close")["status"] == "lost"

    again = sandbox.call("POST", f"/v1/disputes/{dispute['id']}/close")
    refund = sandbox.call("POST", "/v1/refunds", {"charge": charge["id"]})

    assert again.json()["error"]["message"] == "This dispute is already closed"
    assert refund.json()["error"]["code"] == "charge_disputed"


def test_the_command_disputes_the_charge_of_an_invoice_and_decides(sandbox):
    customer = sandbox.customer()
    invoice = sandbox.post("/v1/invoices", {"customer": customer, "currency": "eur", "number": "INV-2026-00042"})["id"]
    sandbox.post("/v1/invoiceitems", {"invoice": invoice, "customer": customer, "amount": 1230, "currency": "eur"})
    sandbox.post(f"/v1/invoices/{invoice}/finalize")
    sandbox.post(f"/v1/invoices/{invoice}/pay")
    said = StringIO()

    call_command("sandbox_dispute", "INV-2026-00042", "--inquiry", stdout=said)
    dispute, status = said.getvalue().split()
    call_command("sandbox_dispute", dispute, "--decide", "warning_closed", stdout=said)

    assert (status, said.getvalue().split()[-1]) == ("warning_needs_response", "warning_closed")
    assert moved(sandbox, {"id": dispute}) == ("warning_closed", [])
    for subject in ("INV-2026-00043", "dp_nobody"):
        with pytest.raises(CommandError):
            call_command("sandbox_dispute", subject, stdout=said)
