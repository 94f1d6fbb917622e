"""Approvals in the back office: a run is proposed by one, signed by another on the page of its figures, and issued as signed."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from billing_site.backoffice.approval_queue import approval_queues
from billing_site.backoffice.queries import index_page
from billing_site.backoffice.roles import APPROVERS, ensure_roles
from billing_site.kernel.clock import now
from invoicing.approvals.models import Approval, ApprovalLimit
from invoicing.gate.models import InvoiceHold
from invoicing.invoices.models import Invoice
from invoicing.run_proposals.models import RunProposal
from invoicing.tasks import issue_proposed_run, show_proposed_run
from tests.factories import use
from tests.invoicing.test_gate import bill, month, three_usual_months
from tests.invoicing.test_run_proposals import a_house

pytestmark = pytest.mark.django_db


@pytest.fixture
def approver(db: Any) -> Client:
    """A signed-in member of the group Approvers."""
    ensure_roles()
    person = User.objects.create_user("anna", is_staff=True)
    person.groups.add(Group.objects.get(name=APPROVERS))
    client = Client()
    client.force_login(person)
    return client


def page_of(proposal: RunProposal, action: str = "change") -> str:
    return reverse(f"admin:invoicing_runproposal_{action}", args=[proposal.pk])


@pytest.fixture
def proposal(finance: Client) -> RunProposal:
    """A run as of the first of August that Fiona proposed in the back office; the worker has made its figures."""
    a_house()
    answer = finance.post(
        reverse("admin:invoicing_runproposal_add"), {"until": "2026-07-31", "reason": "the month is over"}
    )
    proposed = RunProposal.objects.get()
    assert answer.headers["Location"] == page_of(proposed)
    assert "counting" in finance.get(page_of(proposed)).content.decode()
    show_proposed_run(proposed.pk)
    return RunProposal.objects.get()


def test_a_run_is_proposed_signed_by_another_and_issued_as_signed(
    proposal: RunProposal, finance: Client, approver: Client, support: Client
) -> None:
    shown = finance.get(page_of(proposal)).content.decode()
    assert "Issue 1 invoice, USD 12.00; 1 held stay drafts" in shown
    assert "4.8 × the usual USD 105" in shown
    assert page_of(proposal, "sign") not in shown, "whoever proposes does not sign"
    assert finance.post(page_of(proposal, "sign"), {}).status_code == 403
    assert support.get(page_of(proposal)).status_code == 200
    assert support.post(page_of(proposal, "issue")).status_code == 403
    [queue] = [one for one in index_page(at=month(8)).queues if one.name == "Approvals to give"]
    assert (queue.count, queue.why) == (1, "Billing run: Issue 1 invoice, USD 12.00; 1 held stay drafts")

    finance.post(page_of(proposal, "issue"), {"digest": proposal.figures_digest})
    assert RunProposal.objects.get().asked_at is None
    unseen = approver.get(page_of(proposal, "sign") + "?digest=" + "0" * 64, follow=True).content.decode()
    assert "The figures were made again: look at them first." in unseen
    assert page_of(proposal, "sign") + f"?digest={proposal.figures_digest}" in unseen
    asked = approver.get(page_of(proposal, "sign"), {"digest": proposal.figures_digest}).content.decode()
    assert "You sign the digest of every figure" in asked
    approver.post(page_of(proposal, "sign"), {"digest": proposal.figures_digest, "reason": "compared with June"})
    assert Approval.objects.get().decided_by == "anna"
    confirmed = finance.get(page_of(proposal, "issue")).content.decode()
    assert "Issue 1 invoice, USD 12.00; 1 held stay drafts. They get their numbers" in confirmed
    assert 'name="reason"' not in confirmed
    [runs] = [one for one in index_page(at=month(8)).queues if one.name == "Signed runs not issued"]
    assert (runs.count, runs.why) == (1, "1 signed, and not issued")
    finance.post(page_of(proposal, "issue"), {"digest": proposal.figures_digest})
    assert "issuing" in finance.get(page_of(proposal)).content.decode()
    issue_proposed_run(proposal.pk)

    done = finance.get(page_of(proposal)).content.decode()
    assert "Issued as it was signed" in done and "Issued 1 invoice, USD 12.00; 1 held stayed drafts" in done
    assert Invoice.objects.get(customer__key="cust_beta").number is not None
    assert "compared with June" in approver.get(reverse("admin:backoffice_changes")).content.decode()
    assert "Run as of" in finance.get(reverse("admin:invoicing_runproposal_changelist")).content.decode()
    runs = reverse("admin:invoicing_billingrun_changelist")
    assert "trial of" not in finance.get(runs).content.decode()
    assert f"trial of {proposal}" in finance.get(runs, {"trial": "yes"}).content.decode()
    beta = Invoice.objects.get(customer__key="cust_beta")
    timeline = finance.get(reverse("admin:invoicing_invoice_change", args=[beta.pk])).context["page"].timeline
    assert [(one.word, one.actor, one.reason) for one in timeline if one.word == "signed"] == [
        ("signed", "anna", "compared with June")
    ]


def test_a_figure_that_moved_is_named_on_the_page_and_the_run_is_refused(
    proposal: RunProposal, finance: Client, approver: Client
) -> None:
    approver.post(page_of(proposal, "sign"), {"digest": proposal.figures_digest, "reason": "compared with June"})
    finance.post(page_of(proposal, "issue"), {"digest": proposal.figures_digest})
    use("cust_beta", "1", at=month(7) + timedelta(days=5))

    issue_proposed_run(proposal.pk)

    shown = finance.get(page_of(proposal)).content.decode()
    assert "USD 12.00 was signed, USD 13.00 it would be now" in shown
    [runs] = [one for one in index_page(at=month(8)).queues if one.name == "Signed runs not issued"]
    assert runs.count == 1 and "USD 12.00 was signed, USD 13.00 it would be now" in runs.why
    finance.post(page_of(proposal, "again"))
    show_proposed_run(proposal.pk)
    assert "Issue 1 invoice, USD 13.00" in finance.get(page_of(proposal)).content.decode()
    approver.post(page_of(proposal, "refuse"), {"digest": RunProposal.objects.get().figures_digest, "reason": "no"})
    assert "anna has refused it: no" in finance.get(page_of(proposal)).content.decode()
    queues = {one.name: one for one in approval_queues(name="fiona", allowed=lambda _: False, at=now())}
    assert "Signed runs not issued" not in queues, "who may not see runs is not told of one"
    assert queues["Refused, yours to read"].why.endswith("Issue 1 invoice, USD 13.00; 1 held stay drafts")
    listed = finance.get(queues["Refused, yours to read"].link).content.decode()
    assert "USD 13.00" in listed


def test_nobody_signs_a_run_of_which_an_invoice_was_issued_singly_meanwhile(
    proposal: RunProposal, finance: Client, approver: Client
) -> None:
    draft = Invoice.objects.get(customer__key="cust_beta", status="draft")
    finance.post(reverse("admin:invoicing_invoice_issue", args=[draft.pk]), {"reason": "asked for by the customer"})

    shown = approver.get(page_of(proposal)).content.decode()
    assert "1 of 1 invoice has been issued since. Make the figures again" in shown
    assert page_of(proposal, "sign") not in shown
    signed = {"digest": proposal.figures_digest, "reason": "compared with June"}
    refused = approver.post(page_of(proposal, "sign"), signed, follow=True).content.decode()
    assert "Not signed: 1 of 1 invoice has been issued since." in refused
    assert RunProposal.objects.get().approval.decision == ""


def test_an_issued_run_leads_to_the_invoices_that_it_issued(
    proposal: RunProposal, finance: Client, approver: Client
) -> None:
    approver.post(page_of(proposal, "sign"), {"digest": proposal.figures_digest, "reason": "compared with June"})
    finance.post(page_of(proposal, "issue"), {"digest": proposal.figures_digest})
    issue_proposed_run(proposal.pk)

    issued = Invoice.objects.get(customer__key="cust_beta")
    assert issued.billing_run == RunProposal.objects.get().run
    listed = reverse("admin:invoicing_invoice_changelist") + f"?billing_run__id__exact={issued.billing_run_id}"
    assert listed in finance.get(page_of(proposal)).content.decode()
    assert str(issued.number) in finance.get(listed).content.decode()


def test_who_may_not_approve_is_told_so_in_a_page_with_a_way_back(proposal: RunProposal, finance: Client) -> None:
    refused = finance.post(page_of(proposal, "sign"), {"digest": proposal.figures_digest, "reason": "me myself"})

    assert refused.status_code == 403
    told = "Approving takes the group Approvers, and never who asked; the words of notices take Legal."
    assert told in refused.content.decode()
    assert reverse("admin:index") in refused.content.decode()


def test_a_run_of_a_day_to_come_is_refused_at_its_field(finance: Client) -> None:
    ahead = finance.post(reverse("admin:invoicing_runproposal_add"), {"until": "2099-01-01", "reason": "early"})

    assert "lies in the future" in ahead.content.decode()
    assert not RunProposal.objects.exists()


def test_a_large_release_waits_for_an_approver_and_limits_are_set_by_approvers(
    finance: Client, approver: Client
) -> None:
    three_usual_months()
    use("cust_acme", "500", at=month(7) + timedelta(days=3))
    bill(8)
    held = InvoiceHold.objects.get()
    limits = reverse("admin:invoicing_approvallimit_add")
    assert finance.get(limits).status_code == 403
    refused = approver.post(
        limits, {"deed": "release", "currency": "USD", "amount": "0.001", "reason": "board"}
    ).content.decode()
    assert "must be an amount of USD" in refused
    assert "to publish new prices" in approver.get("/admin/invoicing/approvallimit/").content.decode()
    approver.post(limits, {"deed": "release", "currency": "USD", "amount": "500", "reason": "agreed with the board"})
    assert ApprovalLimit.objects.get().actor == "anna"
    assert "agreed with the board" in approver.get("/admin/invoicing/approvallimit/").content.decode()

    release = reverse("admin:invoicing_invoicehold_release", args=[held.pk])
    told = finance.get(release).content.decode()
    assert "From USD 500.00 on two people decide: it is asked for" in told
    assert "Ask for its release" in told
    answered = finance.post(release, {"digest": held.content_digest, "reason": "a launch"}, follow=True)
    assert "It takes two people: “" in answered.content.decode()

    held.refresh_from_db()
    asked = Approval.objects.get()
    assert held.state == "held"
    assert release not in answered.content.decode(), "it is asked for already"
    assert finance.get(release).status_code == 302
    assert (
        "somebody else approves"
        in finance.get(reverse("admin:invoicing_invoicehold_change", args=[held.pk])).content.decode()
    )
    decide = reverse("admin:invoicing_approval_approve", args=[asked.pk])
    assert finance.post(decide, {"digest": asked.digest, "reason": "me too"}).status_code == 403
    assert (
        "the held invoice, with what the checks found"
        in approver.get(reverse("admin:invoicing_approval_change", args=[asked.pk])).content.decode()
    )
    approver.post(decide, {"digest": asked.digest, "reason": "seen the mail"})
    held.refresh_from_db()
    assert (held.state, held.released_by) == ("ready", "fiona")
    page = finance.get(reverse("admin:invoicing_invoice_change", args=[held.invoice_id])).context["page"]
    assert [(one.word, one.actor, one.reason) for one in page.timeline] == [
        ("draft", "billing run", page.timeline[0].reason),
        ("held", "", ""),
        ("approved", "anna", "seen the mail"),
        ("released", "fiona", "a launch"),
    ]
