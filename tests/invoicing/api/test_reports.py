"""Reports over HTTP: the same figures and ties as the pages, by scope, and refused by the name of the parameter."""

import pytest

from invoicing.reports.catalogue import REPORTS
from tests.billing_site.api.caller import Caller, fields_of
from tests.invoicing.reports.building import a_quarter

pytestmark = pytest.mark.django_db


def test_a_report_is_answered_with_its_figures_and_its_ties() -> None:
    a_quarter()
    caller = Caller("reports:read")

    answer = caller.get("/api/v1/reports/aged-receivables?as_of=2026-10-31&currency=USD").json()

    [section] = answer["sections"]
    [row] = section["rows"]
    assert row["customer_id"] == "cust_acme"
    assert row["days_61_90"] == {"amount": "24.00", "currency": "USD"}
    assert row["over_90"] is None
    assert section["totals"]["open"] == {"amount": "82.00", "currency": "USD"}
    assert section["ties"] == [
        {
            "about": "open",
            "reported": {"amount": "82.00", "currency": "USD"},
            "against": "account 1200 Receivable",
            "booked": {"amount": "82.00", "currency": "USD"},
            "holds": True,
        }
    ]
    assert answer["ties"] is True


def test_every_report_of_the_catalogue_is_answered() -> None:
    a_quarter()
    caller = Caller("reports:read")

    listed = caller.get("/api/v1/reports").json()["reports"]

    assert [one["report"] for one in listed] == [kind.name for kind in REPORTS]
    for one in listed:
        query = "&".join(f"{name}=cust_acme" for name in one["asks"] if name == "customer_id")
        answer = caller.get(f"/api/v1/reports/{one['report']}?{query}")
        assert answer.status_code == 200, answer.content
        assert answer.json()["ties"] is True


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ("trial-balance?as_of=soon", 422, {"as_of": "invalid"}),
        ("trial-balance?start=2026-08-01", 422, {"start": "unknown"}),
        ("statement?customer_id=cust_nobody", 422, {"customer_id": "unknown"}),
        ("general-ledger?account=77", 422, {"account": "unknown"}),
        ("tea-leaves", 404, {"report": "not_found"}),
    ],
)
def test_what_cannot_be_asked_is_refused_by_its_name(asked: str, status: int, code: dict[str, str]) -> None:
    answer = Caller("reports:read").get(f"/api/v1/reports/{asked}")

    assert answer.status_code == status
    assert fields_of(answer) == code


def test_a_key_of_one_customer_reads_no_report() -> None:
    a_quarter()

    assert Caller("reports:read", customer="cust_acme").get("/api/v1/reports/trial-balance").status_code == 403
