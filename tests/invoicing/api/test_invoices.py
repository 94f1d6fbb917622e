"""Invoices over HTTP: listed, read, explained, previewed, printed."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from invoicing.customers.portal_links import link_for
from invoicing.invoices.models import Invoice
from invoicing.workflows.issue_invoice import issue_invoice
from invoicing.workflows.run_billing import draft_billing, issue_billing
from tests.billing_site.api.caller import Caller, fields_of
from tests.factories import AUGUST, JULY, a_customer, a_plan, a_subscription, usd_fee, usd_per_action, use

pytestmark = pytest.mark.django_db

ISSUED_AT = AUGUST + timedelta(hours=7)


@pytest.fixture
def july() -> Invoice:
    """Acme's issued invoice for July: a fee of USD 29 and 250 actions at USD 0.01."""
    a_plan()
    a_subscription(a_customer("cust_acme"))
    use("cust_acme", "250", at=JULY + timedelta(days=3))
    report = issue_billing(as_of=AUGUST, at=ISSUED_AT)
    assert not report.failures
    return report.invoices[0]


def usd(amount: str) -> dict[str, str]:
    return {"amount": amount, "currency": "USD"}


def test_an_invoice_is_read_with_its_lines(july):
    answer = Caller("invoices:read").get(f"/api/v1/invoices/{july.number}")

    assert answer.status_code == 200
    invoice = answer.json()
    lines = invoice.pop("lines")
    assert invoice == {
        "number": july.number,
        "kind": "period",
        "key": None,
        "customer_id": "cust_acme",
        "legal_entity": "main",
        "status": "issued",
        "stage": "issued",
        "currency": "USD",
        "period": {"start": "2026-07-01T00:00:00Z", "end": "2026-08-01T00:00:00Z"},
        "timezone": "UTC",
        "subtotal": usd("31.50"),
        "tax": None,
        "tax_amount": None,
        "total": usd("31.50"),
        "amount_paid": usd("0.00"),
        "amount_credited": usd("0.00"),
        "amount_written_off": usd("0.00"),
        "amount_due": usd("31.50"),
        "drafted_at": "2026-08-01T07:00:00Z",
        "issued_at": "2026-08-01T07:00:00Z",
        "due_date": "2026-08-15",
        "paid_at": None,
        "settlement_channel": "manual",
        "seal": july.seal,
        "events_root": july.events_root,
        "takes_off": [],
        "taken_off_by": [],
    }
    assert [(line["position"], line["meter"], line["quantity"], line["amount"]) for line in lines] == [
        (1, "", lines[0]["quantity"], usd("29.00")),
        (2, "actions", "250", usd("2.50")),
    ]
    assert lines[1]["subscription"] == "sub_cust_acme"
    assert lines[1]["service_period"] == invoice["period"]
    assert [(step["quantity"], step["unit_amount"], step["amount"]) for step in lines[1]["steps"]] == [
        ("250", "0.01", "2.5")
    ]


@pytest.mark.requirement("S0-147")
def test_an_invoice_explains_itself(july):
    explanation = Caller().get(f"/api/v1/invoices/{july.number}/explain").json()

    assert explanation["equal"] is True
    assert [line["events"]["count"] for line in explanation["lines"]] == [0, 1]


def test_invoices_are_listed_by_customer_status_and_month(july):
    a_subscription(a_customer("cust_berlin", timezone="Europe/Berlin"), started_at=AUGUST)
    draft_billing(as_of=datetime(2026, 9, 1, tzinfo=UTC), at=datetime(2026, 9, 1, tzinfo=UTC))
    caller = Caller()

    def found(query: str) -> list[tuple[str, str | None]]:
        page = caller.get(f"/api/v1/invoices{query}").json()["data"]
        return [(invoice["customer_id"], invoice["number"]) for invoice in page]

    issued, draft, berlin = ("cust_acme", july.number), ("cust_acme", None), ("cust_berlin", None)
    assert sorted(found(""), key=str) == sorted([draft, berlin, issued], key=str)
    assert found("?status=issued") == [issued]
    assert found("?period=2026-07") == [issued]
    # Berlin's August begins in UTC's July; the month is the one of the invoice's own clock.
    assert sorted(found("?period=2026-08"), key=str) == sorted([draft, berlin], key=str)
    assert found("?customer_id=cust_berlin&status=draft&period=2026-08") == [berlin]
    assert found("?customer_id=cust_nobody") == []
    for query, field in (("?status=open", "status"), ("?period=2026-13", "period"), ("?period=july", "period")):
        assert set(fields_of(caller.get(f"/api/v1/invoices{query}"))) == {field}


def test_a_preview_is_the_invoice_as_it_would_be_and_stores_nothing():
    a_plan()
    a_subscription(a_customer("cust_acme"))
    use("cust_acme", "250", at=JULY + timedelta(days=3))
    use("cust_acme", "1000", at=JULY + timedelta(days=20))

    answer = Caller("invoices:read").post(
        "/api/v1/invoices/preview", {"customer_id": "cust_acme", "as_of": "2026-07-15T02:00:00+02:00"}
    )

    assert answer.status_code == 200
    preview = answer.json()
    assert (preview["customer_id"], preview["as_of"]) == ("cust_acme", "2026-07-15T00:00:00Z")
    assert preview["period"] == {"start": "2026-07-01T00:00:00Z", "end": "2026-08-01T00:00:00Z"}
    assert preview["total"] == usd("31.50")
    assert [(line["position"], line["amount"]) for line in preview["lines"]] == [(1, usd("29.00")), (2, usd("2.50"))]
    assert preview["lines"][1]["steps"][0]["amount"] == "2.5"
    assert Invoice.objects.count() == 0


@pytest.mark.parametrize("as_of", ["2026-07-01T00:00:00Z", "2026-07-10T00:00:00Z", "2026-07-31T23:59:59.999999Z"])
def test_a_preview_can_be_asked_for_at_any_moment_of_the_period(as_of):
    a_plan("fee", usd_fee())
    a_plan("usage", usd_per_action())
    customer = a_customer("cust_acme")
    a_subscription(customer, key="first", plan="fee")
    a_subscription(customer, key="second", plan="usage", started_at=JULY + timedelta(days=9))

    answer = Caller().post("/api/v1/invoices/preview", {"customer_id": "cust_acme", "as_of": as_of})

    assert answer.status_code == 200, answer.content


def test_a_preview_with_an_idempotency_key_is_answered_again():
    a_plan()
    a_subscription(a_customer("cust_acme"))
    caller = Caller()
    question = {"customer_id": "cust_acme", "as_of": "2026-07-15T00:00:00Z"}

    first = caller.post("/api/v1/invoices/preview", question, Idempotency_Key="p")
    again = caller.post("/api/v1/invoices/preview", question, Idempotency_Key="p")

    assert first.status_code == again.status_code == 200
    assert first.content == again.content


def test_a_preview_of_an_unknown_customer_or_without_a_subscription_is_told_by_field():
    caller = Caller()
    a_customer("cust_idle")

    unknown = caller.post("/api/v1/invoices/preview", {"customer_id": "x", "as_of": "2026-07-15T00:00:00Z"})
    idle = caller.post("/api/v1/invoices/preview", {"customer_id": "cust_idle", "as_of": "2026-07-15T00:00:00Z"})

    assert (unknown.status_code, set(fields_of(unknown))) == (404, {"customer_id"})
    assert (idle.status_code, set(fields_of(idle))) == (404, {"as_of"})


def pdf_of(invoice: Invoice) -> str:
    return f"/billing/invoices/{invoice.number}/pdf"


def test_the_pdf_is_sent_once_and_then_304(july):
    caller = Caller("invoices:read")

    first = caller.get(pdf_of(july))
    again = caller.get(pdf_of(july), If_None_Match=first.headers["ETag"])
    other = caller.get(pdf_of(july), If_None_Match='"something else"')

    assert first.status_code == other.status_code == 200
    assert first.content.startswith(b"%PDF-")
    assert first.headers["Content-Type"] == "application/pdf"
    assert first.headers["Content-Disposition"] == f'inline; filename="{july.number}.pdf"'
    assert "private" in first.headers["Cache-Control"]
    assert again.status_code == 304
    assert again.content == b""
    assert again.headers["ETag"] == first.headers["ETag"]
    assert first.content == other.content


def test_a_machine_gets_a_pdf_only_with_the_scope_and_only_of_its_customer(july):
    a_customer("cust_other")

    assert Caller("usage:read").get(pdf_of(july)).status_code == 403
    assert Caller("invoices:read", customer="cust_acme").get(pdf_of(july)).status_code == 200
    other = Caller("invoices:read", customer="cust_other").get(pdf_of(july))
    assert (other.status_code, fields_of(other)) == (404, {"number": "not_found"})
    wrong = Caller()
    wrong.key = "bbk_wrong"
    assert wrong.get(pdf_of(july)).status_code == 401


def test_the_portal_shows_a_customer_its_own_pdf_only(july):
    a_customer("cust_other")
    browser, stranger = Client(), Client()
    browser.get(link_for(customer_key="cust_acme").removeprefix("http://127.0.0.1:8000"))
    stranger.get(link_for(customer_key="cust_other").removeprefix("http://127.0.0.1:8000"))

    assert browser.get(pdf_of(july)).status_code == 200
    assert stranger.get(pdf_of(july)).status_code == 404
    assert browser.get("/billing/invoices/INV-2026-99999/pdf").status_code == 404


def test_staff_may_print_with_the_permission_to_see_invoices(july):
    clerk = User.objects.create_user("clerk", is_staff=True)
    browser = Client()
    browser.force_login(clerk)
    assert browser.get(pdf_of(july)).status_code == 404

    clerk.user_permissions.add(Permission.objects.get(codename="view_invoice", content_type__app_label="invoicing"))

    assert browser.get(pdf_of(july)).status_code == 200
    User.objects.update(is_staff=False)
    assert browser.get(pdf_of(july)).status_code == 404


def test_a_stranger_is_told_401_and_a_person_that_a_link_is_needed_and_where_staff_sign_in(july):
    page = Client().get(pdf_of(july), headers={"Accept": "text/html,application/xhtml+xml"})
    machine = Client().get(pdf_of(july))

    assert page.status_code == 401
    assert "You need a link to see this page" in page.content.decode()
    assert f'href="/admin/login/?next={quote(pdf_of(july), safe="")}"' in page.content.decode()
    assert july.number not in page.content.decode().replace(quote(pdf_of(july), safe=""), "")
    assert machine.status_code == 401
    assert "create_api_key" in machine.json()["detail"]


def test_a_draft_has_no_address(july):
    draft = draft_billing(as_of=datetime(2026, 9, 1, tzinfo=UTC), at=ISSUED_AT).invoices[0]

    assert Caller().get("/api/v1/invoices/None").status_code == 404
    assert Caller().get("/billing/invoices/None/pdf").status_code == 404
    issued = issue_invoice(invoice_id=draft.pk, at=draft.period_end, actor="test", reason="now")
    assert Caller().get(f"/api/v1/invoices/{issued.number}").status_code == 200


def test_reading_an_invoice_costs_the_same_for_one_line_and_for_many(july, django_assert_max_num_queries):
    caller = Caller()
    with django_assert_max_num_queries(7):
        caller.get(f"/api/v1/invoices/{july.number}")


def test_a_preview_without_a_moment_is_as_of_now(july, monkeypatch):
    monkeypatch.setattr("invoicing.api.invoices.now", lambda: datetime(2026, 8, 10, tzinfo=UTC))
    use("cust_acme", "70", at=datetime(2026, 8, 9, tzinfo=UTC))
    caller = Caller()

    without = caller.post("/api/v1/invoices/preview", {"customer_id": "cust_acme"})

    assert without.status_code == 200
    asked = {"customer_id": "cust_acme", "as_of": "2026-08-10T00:00:00Z"}
    assert without.json() == caller.post("/api/v1/invoices/preview", asked).json()
