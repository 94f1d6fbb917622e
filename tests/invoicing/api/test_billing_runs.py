"""Billing runs over HTTP: proposed with one key, approved with another, issued as signed."""

from datetime import timedelta
from decimal import Decimal

import pytest

from billing_site.api.operations import create_api_key
from invoicing.approvals.models import ApprovedDeed
from invoicing.approvals.operations import set_limit
from invoicing.run_proposals.models import RunProposal
from invoicing.tasks import issue_proposed_run, show_proposed_run
from tests.billing_site.api.caller import Caller, fields_of
from tests.factories import use
from tests.invoicing.test_gate import bill, month, three_usual_months
from tests.invoicing.test_run_proposals import a_house

pytestmark = pytest.mark.django_db
RUNS, APPROVALS = "/api/v1/billing-runs", "/api/v1/approvals"


def a_second_caller() -> Caller:
    caller = Caller()
    caller.key = create_api_key(name="cfo", scopes=["approvals:read", "approvals:write"], customer_key="")
    return caller


def test_a_run_is_proposed_read_approved_by_another_key_and_issued() -> None:
    a_house()
    finance, chief = Caller("billing_runs:read", "billing_runs:write", "approvals:write"), a_second_caller()

    answer = finance.post(RUNS, {"as_of": "2026-08-01T00:00:00Z", "reason": "the month is over"})
    assert (answer.status_code, answer.json()["digest"], answer.json()["approval"]) == (202, "", None)
    number = answer.json()["id"]
    show_proposed_run(number)
    run = finance.get(f"{RUNS}/{number}").json()
    assert [(one["customer_id"], one["becomes"]) for one in run["invoices"]] == [
        ("cust_acme", "held"),
        ("cust_beta", "issue"),
    ]
    assert run["invoices"][0]["last_total"] == {"amount": "105.00", "currency": "USD"}
    assert run["invoices"][1]["period_start"] == "2026-07-01T00:00:00Z"
    assert (run["sums"][0]["issued_count"], run["sums"][0]["gone_customers"], run["not_billed"]) == (1, 1, [])

    unsigned = finance.post(f"{RUNS}/{number}/issue", {"digest": run["digest"]})
    assert (unsigned.status_code, unsigned.json()["detail"]) == (409, "nobody else has signed these figures")
    decision = {"decision": "approved", "digest": run["digest"], "reason": "compared with June"}
    address = f"{APPROVALS}/{run['approval']}/decision"
    own = finance.post(address, decision)
    assert (own.status_code, fields_of(own)) == (409, {"actor": "same_person"})
    [waiting] = chief.get(f"{APPROVALS}?state=open").json()["data"]
    assert waiting["summary"] == "Issue 1 invoice, USD 12.00; 1 held stay drafts"
    assert chief.post(address, decision).json()["decided_by"] == "API key cfo"
    assert finance.post(f"{RUNS}/{number}/issue", {"digest": run["digest"]}).status_code == 202
    issue_proposed_run(number)

    done = finance.get(f"{RUNS}/{number}").json()
    assert (done["refusal"], done["approved_by"]) == ("", "API key cfo")
    assert done["issued_at"] is not None
    assert [one["id"] for one in finance.get(RUNS).json()["data"]] == [number]


def test_what_would_differ_is_told_and_bad_requests_are_refused_by_their_fields() -> None:
    a_house()
    finance, chief = Caller("billing_runs:read", "billing_runs:write"), a_second_caller()
    number = finance.post(RUNS, {"as_of": "2026-08-01T00:00:00Z", "reason": "the month is over"}).json()["id"]
    show_proposed_run(number)
    run = finance.get(f"{RUNS}/{number}").json()
    chief.post(
        f"{APPROVALS}/{run['approval']}/decision", {"decision": "approved", "digest": run["digest"], "reason": "ok"}
    )
    finance.post(f"{RUNS}/{number}/issue", {"digest": run["digest"]})
    use("cust_beta", "1", at=month(7) + timedelta(days=5))
    issue_proposed_run(number)

    told = finance.get(f"{RUNS}/{number}").json()
    assert told["refusal"].endswith("USD 12.00 was signed, USD 13.00 it would be now")
    assert told["issued_at"] is None
    assert fields_of(finance.post(RUNS, {"as_of": "2099-01-01T00:00:00Z", "reason": "early"})) == {"as_of": "invalid"}
    assert fields_of(finance.post(RUNS, {"as_of": "2026-08-01T00:00:00Z", "reason": " "})) == {"reason": "required"}
    assert fields_of(finance.post(f"{RUNS}/{number}/issue", {"digest": "x"})) == {"digest": "outdated"}
    assert set(fields_of(finance.post(RUNS, {}))) == {"as_of", "reason"}
    assert finance.get(f"{RUNS}/999").status_code == finance.get(f"{RUNS}/x").status_code == 404
    assert (
        chief.post(f"{APPROVALS}/999/decision", {"decision": "approved", "digest": "x", "reason": "ok"}).status_code
        == 404
    )
    assert fields_of(chief.get(f"{APPROVALS}?state=done")) == {"state": "unknown"}
    assert RunProposal.objects.count() == 1


def test_a_held_invoice_is_listed_with_its_findings_and_released_as_it_is_by_two_where_it_is_large() -> None:
    three_usual_months()
    use("cust_acme", "500", at=month(7) + timedelta(days=3))
    bill(8)
    set_limit(
        deed=ApprovedDeed.RELEASE, currency="USD", amount=Decimal(500), at=month(8), actor="board", reason="agreed"
    )
    finance, chief = Caller("billing_runs:read", "billing_runs:write"), a_second_caller()

    [held] = finance.get("/api/v1/held-invoices?state=held").json()["data"]
    assert (held["customer_id"], held["total"], [one["check"] for one in held["findings"]]) == (
        "cust_acme",
        {"amount": "505.00", "currency": "USD"},
        ["spike"],
    )
    address = f"/api/v1/held-invoices/{held['id']}/release"
    assert fields_of(finance.post(address, {"digest": held["digest"], "reason": " "})) == {"reason": "required"}
    assert finance.post(address, {"digest": "x", "reason": "a launch"}).status_code == 409
    assert finance.post("/api/v1/held-invoices/999/release", {"digest": "x", "reason": "x"}).status_code == 404
    assert fields_of(finance.get("/api/v1/held-invoices?state=gone")) == {"state": "unknown"}
    answer = finance.post(address, {"digest": held["digest"], "reason": "a launch"}).json()
    assert answer["held_invoice"]["state"] == "held"
    chief.post(
        f"{APPROVALS}/{answer['approval']}/decision",
        {"decision": "approved", "digest": held["digest"], "reason": "seen the mail"},
    )

    [ready] = finance.get("/api/v1/held-invoices?state=ready").json()["data"]
    assert (ready["released_by"], ready["reason"]) == ("API key a test", "a launch")
