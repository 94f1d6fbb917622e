"""Everybody sees that Stripe is not called, what waits, and since when; who may stops the calls and begins again, with a reason."""

import ast
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django_q.models import OrmQ

from billing_site.kernel.clock import now
from billing_site.portal import views
from invoicing.admin.invoice_page import invoice_page
from invoicing.invoices.models import Invoice
from invoicing.payments import breaker, gateway
from invoicing.payments.models import PushIntent
from invoicing.payments.outage import Outage
from tests.billing_site.backoffice.test_what_if_pages import text_of
from tests.billing_site.portal.conftest import present, visit
from tests.invoicing.payments.building import a_card_customer, an_issued_invoice

__all__ = ["present", "visit"]

ROOT = Path(__file__).resolve().parents[3]
STATUS = "/admin/invoicing/outage/status/"


def out(by_hand: bool = False) -> Outage:
    if by_hand:
        return breaker.open_by_hand(at=now(), actor="ada", reason="Stripe asked us to wait.")
    for _ in range(6):
        breaker.note_failure(cause="HTTP 500 to GET /v1/invoices/:id", is_write=False)
    outage = breaker.outage_now()
    assert outage is not None
    return outage


def question_of(invoice: Invoice) -> str:
    """What the page of an invoice says of it on the day on which it was issued."""
    assert invoice.issued_at is not None
    return invoice_page(invoice=invoice, at=invoice.issued_at, allowed=lambda _: True).question


@pytest.mark.requirement("S2-032")
def test_every_page_of_staff_says_that_stripe_is_not_called_and_why(
    administrator: Client, transactional_db: Any
) -> None:
    quiet = administrator.get("/admin/").content.decode()
    out()

    pages = [administrator.get(path).content.decode() for path in ("/admin/", "/admin/invoicing/invoice/", STATUS)]

    assert "Stripe is not called" not in quiet
    for page in pages:
        assert "Stripe is not called" in page and "6 calls in a row failed" in page


@pytest.mark.requirement("S2-030")
def test_billing_pages_stay_readable_in_an_outage(
    administrator: Client, visit: Any, monkeypatch: pytest.MonkeyPatch, transactional_db: Any
) -> None:
    invoice = an_issued_invoice()
    out()
    monkeypatch.setattr(gateway.PacedClient, "request", lambda *_, **__: pytest.fail("a page has called Stripe"))
    customer = visit("cust_acme")

    answers = [
        administrator.get(reverse("admin:invoicing_invoice_change", args=[invoice.pk])),
        administrator.get("/admin/invoicing/customer/"),
        administrator.get(STATUS),
        customer.get("/portal/"),
        customer.get(f"/portal/invoices/{invoice.number}/"),
    ]

    assert [answer.status_code for answer in answers] == [200] * 5
    assert "Payments take longer than usual" not in answers[3].content.decode(), "it may be over in a moment"
    # The clock of this customer stands in August.
    monkeypatch.setattr(views, "OUTAGE_TOLD_AFTER", timedelta(days=-365))
    told = customer.get("/portal/").content.decode()
    assert "Payments take longer than usual" in told
    assert "HTTP 500" not in told


def test_no_face_imports_what_calls_stripe() -> None:
    """In a request nothing may wait for Stripe: faces queue a job."""
    calling = {"gateway", "mirror", "probe", "pace"}
    found = []
    for folder in ("invoicing/admin", "invoicing/api", "billing_site"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("invoicing.payments"):
                    names = {alias.name for alias in node.names} | {(node.module or "").rpartition(".")[2]}
                    found += [(path.name, name) for name in names & calling]

    assert found == []


def test_the_status_says_what_waits_with_its_money(administrator: Client, transactional_db: Any) -> None:
    an_issued_invoice()
    an_issued_invoice(a_card_customer("cust_yen", currency="JPY"), fee="4000")
    out()

    page = administrator.get(STATUS).content.decode()

    assert "Invoices to be sent" in page
    assert "280.00" in page and "4,000" in page
    assert "Outages so far" in page and "Next probe" in page


@pytest.mark.requirement("S2-031")
def test_who_may_stops_the_calls_and_begins_again_with_a_reason(administrator: Client, transactional_db: Any) -> None:
    administrator.post(STATUS + "stop/", {"reason": " "})
    before = breaker.outage_now()
    administrator.post(STATUS + "stop/", {"reason": "Stripe asked us to wait."})
    page = administrator.get("/admin/").content.decode()
    administrator.post(STATUS + "resume/", {"reason": "They called back."})

    ended = Outage.objects.get()
    assert before is None
    assert "stopped by root" in page and "Stripe asked us to wait." in page
    assert (ended.closed_by, ended.closed_reason) == ("root", "They called back.")


def test_a_probe_by_hand_is_a_job_for_the_worker(administrator: Client, transactional_db: Any) -> None:
    out()
    OrmQ.objects.all().delete()

    administrator.post(STATUS + "probe/")

    assert [row.task["func"] for row in OrmQ.objects.all()] == ["invoicing.tasks.probe_stripe"]


def test_the_status_says_what_people_have_to_do_although_stripe_is_called(
    administrator: Client, transactional_db: Any
) -> None:
    quiet = administrator.get(STATUS).content.decode()
    an_issued_invoice()
    by_itself = administrator.get(STATUS).content.decode()
    PushIntent.objects.update(status="refused", last_error="no such card")
    failed = administrator.get(STATUS).content.decode()

    assert "nothing is held back: nothing to do" in quiet
    assert "what waits goes on its way by itself (invoices to be sent: 1): nothing to do" in by_itself
    assert "somebody has to look at what failed (invoices that failed: 1)" in failed and "nothing to do" not in failed


def test_a_stop_by_hand_is_told_at_once_to_customers_in_their_time_and_on_what_waits_for_it(
    administrator: Client, visit: Any, transactional_db: Any
) -> None:
    invoice = an_issued_invoice()
    a_card_customer("cust_berlin", timezone="Europe/Berlin")
    before = question_of(invoice)
    asked = administrator.get(STATUS + "stop/").content.decode()
    administrator.post(STATUS + "stop/", {"reason": "a new account"})

    shown = visit("cust_berlin").get("/portal/")
    portal = shown.content.decode()

    assert "read it on their pages at once" in asked
    assert '<div class="page told"><p class="delay" role="status">Payments take longer than usual since' in portal
    assert "Europe/Berlin : our payment provider" in text_of(shown)
    assert before == "On its way to Stripe."
    assert question_of(invoice) == (
        "It waits for its way to Stripe, which is not called, until somebody begins again; then it is sent by itself."
    )


def test_support_looks_and_stops_nothing(support: Client, transactional_db: Any) -> None:
    out()

    assert support.get(STATUS).status_code == 200
    assert "Stop all calls" not in support.get(STATUS).content.decode()
    assert support.post(STATUS + "stop/", {"reason": "mine"}).status_code == 403
    assert support.post(STATUS + "probe/").status_code == 403


def test_health_says_so_without_the_reason(transactional_db: Any) -> None:
    out(by_hand=True)

    report = Client().get("/health").json()

    assert (report["status"], report["stripe"]["state"]) == ("ok", "stopped")
    assert "asked" not in str(report)
