"""Held invoices in the back office: the queue with its reasons, releasing as it is, and setting the checks."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.test import Client
from django.urls import reverse

from billing_site.backoffice.queries import index_page
from billing_site.backoffice.roles import APPROVERS
from invoicing.approvals.models import Approval
from invoicing.core.gate import Check
from invoicing.gate.models import GateSetting, InvoiceHold
from invoicing.gate.queries import rules_in_force
from invoicing.workflows.run_billing import draft_billing
from tests.billing_site.backoffice.conftest import a_member
from tests.factories import use
from tests.invoicing.test_gate import month, three_usual_months

pytestmark = pytest.mark.django_db
LIST = "/admin/invoicing/invoicehold/"


@pytest.fixture
def held() -> InvoiceHold:
    three_usual_months()
    use("cust_acme", "500", at=month(7) + timedelta(days=3))
    draft_billing(as_of=month(8), at=month(8))
    return InvoiceHold.objects.get()


@pytest.mark.requirement("S3-053")
def test_a_held_draft_waits_with_its_reason_and_is_no_draft_to_issue(held: InvoiceHold, finance: Client) -> None:
    queues = {one.name: one for one in index_page(at=month(8)).queues}

    assert (queues["Drafts held before issue"].count, queues["Drafts held before issue"].why) == (1, "spike 1")
    assert queues["Drafts to issue"].count == 0
    listed = finance.get(queues["Drafts held before issue"].link).content.decode()
    assert "USD 505 charged, 4.8 × the usual USD 105" in listed
    page = finance.get(reverse("admin:invoicing_invoice_change", args=[held.invoice_id])).content.decode()
    assert "Held before issue" in page
    assert reverse("admin:invoicing_invoice_issue", args=[held.invoice_id]) not in page
    assert "held" in finance.get("/admin/invoicing/invoice/?state=held").content.decode()


def test_releasing_asks_why_and_keeps_what_was_seen(held: InvoiceHold, finance: Client, support: Client) -> None:
    page = reverse("admin:invoicing_invoicehold_release", args=[held.pk])

    asked = finance.get(page).content.decode()
    assert "Release the draft over USD 505.00 as it is" in asked
    assert support.post(page, {"digest": held.content_digest, "reason": "ok"}).status_code == 403
    finance.post(page, {"digest": "another", "reason": "a launch"})
    finance.post(page, {"digest": held.content_digest, "reason": "  "})
    held.refresh_from_db()
    assert held.state == "held"

    finance.post(page, {"digest": held.content_digest, "reason": "a launch"})

    held.refresh_from_db()
    assert (held.state, held.released_by, held.reason) == ("ready", "fiona", "a launch")
    shown = finance.get(reverse("admin:invoicing_invoice_change", args=[held.invoice_id])).content.decode()
    assert "Released by fiona" in shown
    assert reverse("admin:invoicing_invoice_issue", args=[held.invoice_id]) in shown


def test_a_check_is_set_with_a_reason_and_stands_with_its_hit_rate(
    held: InvoiceHold, finance: Client, support: Client
) -> None:
    page = reverse("admin:invoicing_gate_check", args=["spike"])
    assert support.get(page).status_code == 403
    refused = finance.post(page, {"is_on": "on", "threshold": "1", "reason": "earlier"})
    assert "must be from 1.1 to 1,000" in refused.content.decode()
    finance.post(page, {"is_on": "on", "threshold": "2", "reason": "three was too late"})

    assert rules_in_force()[Check.SPIKE].threshold == Decimal(2)
    assert GateSetting.objects.get().actor == "fiona"
    shown = support.get(reverse("admin:invoicing_gate_checks")).content.decode()
    assert "held from 2 × the usual amount on" in shown
    assert "three was too late" in shown
    assert finance.get(reverse("admin:invoicing_gate_check", args=["nonsense"])).status_code == 404
    assert "Earlier settings" in finance.get(page).content.decode()
    finance.post(reverse("admin:invoicing_gate_check", args=["first_bill"]), {"is_on": "on", "reason": "new house"})
    assert rules_in_force()[Check.FIRST_BILL].is_on


def test_a_check_that_takes_two_is_switched_off_by_two_who_see_what_is_asked(finance: Client) -> None:
    page = reverse("admin:invoicing_gate_check", args=["edited"])
    assert "another one approves what you change here" in finance.get(page).content.decode()

    told = finance.post(page, {"takes_two": "on", "reason": "it is in the way"}, follow=True).content.decode()

    assert "“Change of a check that takes two: Changed by hand: off” waits for somebody else to approve." in told
    assert rules_in_force()[Check.EDITED].is_on
    asked = Approval.objects.get()
    approver = a_member("anton", APPROVERS)
    request_page = reverse("admin:invoicing_approval_change", args=[asked.pk])
    shown = approver.get(request_page).content.decode()
    assert "on; two people release" in shown and reverse("admin:invoicing_gate_checks") in shown
    assert approver.get(reverse("admin:invoicing_gate_checks")).status_code == 200
    approver.post(
        reverse("admin:invoicing_approval_approve", args=[asked.pk]),
        {"digest": asked.digest, "reason": "for the migration"},
    )
    assert not rules_in_force()[Check.EDITED].is_on
