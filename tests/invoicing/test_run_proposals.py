"""A billing run that is looked at first: every figure is shown, another signs their digest, and it is issued as signed or not at all."""

import threading
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.test.utils import override_settings

from billing_site.kernel.errors import Conflict, InvalidInput
from invoicing.approvals.models import Approval, Decision
from invoicing.approvals.operations import SamePerson
from invoicing.draft_edits.models import LineEdit
from invoicing.gate.models import InvoiceHold
from invoicing.gate.operations import release_hold
from invoicing.invoices.models import BillingRun, Invoice, InvoiceSeries, InvoiceStatus
from invoicing.ledger.models import JournalEntry
from invoicing.run_proposals.models import RunProposal
from invoicing.run_proposals.queries import open_signed_runs
from invoicing.subscriptions.cancel import end_subscription
from invoicing.workflows import edit_draft as edit_draft_workflow
from invoicing.workflows.approve import decide
from invoicing.workflows.edit_draft import edit_draft
from invoicing.workflows.issue_invoice import issue_invoice
from invoicing.workflows.propose_run import (
    ask_to_issue,
    commit_run,
    issue_proposed,
    propose_run,
    run_summary,
    show_run,
)
from invoicing.workflows.run_figures import run_sums
from invoicing.workflows.verify import verify
from tests.factories import a_customer, a_subscription, settle_constraints, usd_fee, use
from tests.invoicing.test_credits import grant
from tests.invoicing.test_gate import bill, month, three_usual_months
from tests.invoicing.test_taxes import germany
from tests.races import at_once, unexpected

pytestmark = pytest.mark.django_db
AT = month(8) + timedelta(hours=2)


def proposed(number: int = 8) -> RunProposal:
    """A run as of the beginning of a month, with its figures, that Paula proposed."""
    proposal = propose_run(as_of=month(number), at=AT, actor="paula", reason="the month is over")
    return show_run(proposal_id=proposal.pk, at=AT)


def sign(
    proposal: RunProposal, *, actor: str = "simon", digest: str = "", decision: Decision = Decision.APPROVED
) -> Approval:
    asked = Approval.objects.get(deed="billing_run", subject=proposal.subject, decision="")
    return decide(
        approval_id=asked.pk,
        digest=digest or proposal.figures_digest,
        decision=decision,
        at=AT,
        actor=actor,
        reason="compared with June",
    )


def ask(proposal: RunProposal, *, actor: str = "paula") -> RunProposal:
    return ask_to_issue(proposal_id=proposal.pk, digest=proposal.figures_digest, at=AT, actor=actor)


def a_house() -> None:
    """Acme with three usual months and a spike in July, Beta that is new, Gone that ended with June."""
    three_usual_months()
    gone = a_subscription(a_customer("cust_gone", name="Gone"), started_at=month(6))
    bill(7)
    end_subscription(subscription=gone, ended_at=month(7), actor="test", reason="left")
    a_subscription(a_customer("cust_beta", name="Beta"), started_at=month(7))
    use("cust_acme", "500", at=month(7) + timedelta(days=3))
    use("cust_beta", "7", at=month(7) + timedelta(days=3))


def test_a_proposal_shows_what_is_issued_and_held_and_what_changed_and_issues_nothing() -> None:
    a_house()

    proposal = proposed()

    figures: Any = proposal.figures
    rows = {row["customer"]: (row["state"], row["total"], row["before"]) for row in figures["rows"]}
    assert rows == {"cust_acme": ("held", "505.00", "105.00"), "cust_beta": ("issue", "12.00", None)}
    assert [row["name"] for row in figures["gone"]] == ["Gone"]
    [dollars] = run_sums(figures=figures)
    assert (dollars.counts, dollars.newcomers, dollars.gone) == ({"issue": 1, "held": 1, "waits": 0}, 1, 1)
    assert (dollars.before.amount, dollars.gone_before.amount) == (110, 5)
    assert run_summary(figures=figures) == "Issue 1 invoice, USD 12.00; 1 held stay drafts"
    assert run_summary(figures=figures, is_issued=True) == "Issued 1 invoice, USD 12.00; 1 held stayed drafts"
    assert Invoice.objects.filter(period_end=month(8)).values_list("status", flat=True).distinct().get() == "draft"
    assert InvoiceHold.objects.get().state == "held", "the drafts are there to be looked at"


def test_what_another_has_signed_is_issued_as_signed_once_with_who_asked_for_it() -> None:
    a_house()
    proposal = proposed()
    with pytest.raises(Conflict, match="nobody else has signed these figures"):
        ask(proposal)
    sign(proposal)
    ask(proposal)

    done = issue_proposed(proposal_id=proposal.pk, at=AT)
    again = issue_proposed(proposal_id=proposal.pk, at=AT)

    assert done.refusal == again.refusal == ""
    assert done.run == again.run == BillingRun.objects.order_by("-id")[0]
    assert done.run is not None
    assert (done.run.issued_count, done.run.held_count) == (1, 1)
    beta = Invoice.objects.get(customer__key="cust_beta")
    assert (beta.status, beta.history.latest().history_user_id) == (InvoiceStatus.ISSUED, None)
    assert JournalEntry.objects.filter(reference=beta.number).count() == 1
    settle_constraints()
    assert verify() == []


def test_one_figure_that_differs_and_nothing_is_issued() -> None:
    a_house()
    proposal = proposed()
    sign(proposal)
    ask(proposal)
    use("cust_beta", "1", at=month(7) + timedelta(days=4))

    refused = issue_proposed(proposal_id=proposal.pk, at=AT)

    assert refused.committed_at is None
    assert refused.refusal == (
        "nothing was issued, one figure would differ: Beta, period from 2026-07-01: USD 12.00 was signed, USD 13.00 it would be now"
    )
    assert not Invoice.objects.filter(customer__key="cust_beta", status=InvoiceStatus.ISSUED).exists()

    other = show_run(proposal_id=proposal.pk, at=AT)
    with pytest.raises(Conflict, match="nobody else has signed"):
        ask(other)
    sign(other)
    ask(other)
    assert issue_proposed(proposal_id=proposal.pk, at=AT).committed_at is not None


def test_a_signed_run_waits_to_be_issued_until_a_later_one_that_bills_as_much_is_signed_too() -> None:
    a_house()
    signed = proposed()
    sign(signed)
    later = propose_run(as_of=month(8), at=AT, actor="paula", reason="once more")
    assert open_signed_runs() == [signed], "the later one has no figures"
    shown = show_run(proposal_id=later.pk, at=AT)
    sign(shown, decision=Decision.REFUSED)
    assert open_signed_runs() == [signed], "the later one was refused"

    sign(newest := proposed())

    assert open_signed_runs() == [newest]


@pytest.mark.requirement("S0-112")
def test_a_draft_of_a_signed_run_is_not_issued_alone_unless_the_signature_is_taken_back() -> None:
    a_house()
    proposal = proposed()
    draft = Invoice.objects.get(customer__key="cust_beta", status=InvoiceStatus.DRAFT)
    sign(proposal)

    with pytest.raises(Conflict, match=r"part of a signed run \(Run as of 2026-08-01 00:00 UTC\)"):
        issue_invoice(invoice_id=draft.pk, at=AT, actor="fiona", reason="in a hurry")
    draft.refresh_from_db()
    assert draft.status == InvoiceStatus.DRAFT
    show_run(proposal_id=proposal.pk, at=AT)
    issued = issue_invoice(invoice_id=draft.pk, at=AT, actor="fiona", reason="in a hurry")

    assert issued.status == InvoiceStatus.ISSUED


def test_a_draft_that_is_released_after_the_signature_is_another_run() -> None:
    a_house()
    proposal = proposed()
    sign(proposal)
    ask(proposal)
    held = InvoiceHold.objects.get()
    release_hold(hold_id=held.pk, digest=held.content_digest, at=AT, actor="fiona", reason="a launch")

    with pytest.raises(Conflict, match=r"USD 505.00 \(held\) was signed, USD 505.00 it would be now"):
        commit_run(proposal_id=proposal.pk, at=AT)


def test_two_missed_months_that_draw_on_one_credit_are_issued_as_they_were_shown() -> None:
    three_usual_months()
    customer = a_customer("cust_late", name="Late")
    a_subscription(customer, started_at=month(6))
    grant(customer, "8", effective_at=month(6))

    proposal = proposed()

    totals = [row["total"] for row in proposal.figures["rows"] if row["customer"] == "cust_late"]  # type: ignore[index]
    assert totals == ["0.00", "2.00"], "fees of 5 each, less a credit of 8"
    sign(proposal)
    ask(proposal)
    assert issue_proposed(proposal_id=proposal.pk, at=AT).refusal == ""


def test_an_invoice_that_cannot_be_taxed_yet_stays_a_draft_and_is_signed_as_one() -> None:
    a_house()
    germany()

    proposal = proposed()

    figures: Any = proposal.figures
    beta = next(row for row in figures["rows"] if row["customer"] == "cust_beta")
    assert (beta["state"], "the country of Beta" in beta["reasons"], figures["failures"]) == ("held", True, [])
    sign(proposal)
    ask(proposal)
    assert issue_proposed(proposal_id=proposal.pk, at=AT).refusal == ""
    assert Invoice.objects.get(customer__key="cust_beta").status == InvoiceStatus.DRAFT


def test_who_proposes_does_not_sign_and_nobody_signs_other_figures_than_are_shown() -> None:
    a_house()
    proposal = proposed()

    with pytest.raises(SamePerson, match="Paula has asked for it: somebody else decides"):
        sign(proposal, actor="Paula")
    with pytest.raises(Conflict, match="about something else"):
        sign(proposal, digest="0" * 64)
    with pytest.raises(InvalidInput, match="lies in the future"):
        propose_run(as_of=AT + timedelta(seconds=1), at=AT, actor="paula", reason="too early")
    with pytest.raises(InvalidInput, match="say why"):
        propose_run(as_of=AT, at=AT, actor="paula", reason=" ")


@override_settings(BILLING_RUNS_NEED_APPROVAL=True, BILLING_AUTO_ISSUE=True)
def test_where_runs_need_a_signature_the_hourly_run_drafts_and_the_command_refuses_to_issue() -> None:
    from invoicing.tasks import bill_what_is_due

    a_subscription_of_last_year()

    bill_what_is_due()

    assert set(Invoice.objects.values_list("status", flat=True)) == {"draft"}
    with pytest.raises(CommandError, match="runs need a signature"):
        call_command("bill", "--as-of", "2025-08-01", "--issue")


def a_subscription_of_last_year() -> None:
    from tests.factories import a_plan

    a_plan("pro", usd_fee("5"))
    a_subscription(a_customer(), started_at=month(1).replace(year=2025))


ATTACKS = (
    "UPDATE invoicing_runproposal SET committed_at = now(), asked_by = 'paula', run_id = (SELECT max(id) FROM invoicing_billingrun)",
    "UPDATE invoicing_approval SET decision = 'approved', decided_at = now(), decided_by = 'paula', decision_reason = 'x'",
    "UPDATE invoicing_approval SET decision = 'approved', decided_at = now(), decided_by = 'PAULA', decision_reason = 'x'",
    "UPDATE invoicing_approval SET decision = 'approved', decided_at = now(), decided_by = 'simon', decision_reason = ''",
    "UPDATE invoicing_approval SET requested_by = 'simon'",
    "UPDATE invoicing_approval SET digest = 'x'",
    "DELETE FROM invoicing_approval",
    "INSERT INTO invoicing_approval (deed, subject, digest, summary, requested_at, requested_by, reason, decision, decided_at,"
    " decided_by, decision_reason) SELECT deed, subject, digest, summary, requested_at, requested_by, reason, 'approved', now(),"
    " 'simon', 'x' FROM invoicing_approval",
    "INSERT INTO invoicing_approval (deed, subject, digest, summary, requested_at, requested_by, reason, decision, decided_by,"
    " decision_reason) SELECT deed, subject, digest, summary, requested_at, 'simon', reason, '', '', '' FROM invoicing_approval",
    "UPDATE invoicing_runproposal SET proposed_by = 'simon'",
    "UPDATE invoicing_runproposal SET as_of = now()",
)


@pytest.mark.parametrize("statement", ATTACKS)
def test_sql_gives_no_signature(statement: str) -> None:
    a_house()
    proposed()
    settle_constraints()

    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_sql_does_not_put_other_figures_under_a_signature_nor_change_an_issued_run() -> None:
    a_house()
    proposal = proposed()
    sign(proposal)
    with pytest.raises(IntegrityError, match="nobody else has signed"), transaction.atomic():
        RunProposal.objects.update(
            figures_digest="x", committed_at=AT, asked_by="paula", run=BillingRun.objects.latest("id")
        )
    ask(proposal)
    issue_proposed(proposal_id=proposal.pk, at=AT)

    with pytest.raises(IntegrityError, match="cannot be changed"), transaction.atomic():
        RunProposal.objects.update(figures={"rows": []})
    with pytest.raises(IntegrityError, match="cannot be changed"), transaction.atomic():
        Approval.objects.update(decided_by="somebody")


@pytest.mark.django_db(transaction=True)
def test_two_who_sign_at_once_sign_once_and_two_jobs_issue_once() -> None:
    a_house()
    proposal = proposed()

    signed = at_once(lambda: sign(proposal, actor="simon"), lambda: sign(proposal, actor="sue"))

    assert sum(isinstance(one, Approval) for one in signed) == 1
    assert Approval.objects.get().decided_by in ("simon", "sue")
    ask(proposal)
    before = InvoiceSeries.objects.get().next_number
    issued = at_once(*[lambda: issue_proposed(proposal_id=proposal.pk, at=AT)] * 2)
    assert {one.refusal for one in issued} == {""}
    assert InvoiceSeries.objects.get().next_number == before + 1
    assert verify() == []


@pytest.mark.django_db(transaction=True)
def test_usage_and_a_billing_run_at_the_moment_of_the_commit_change_no_signed_figure() -> None:
    a_house()
    proposal = proposed()
    sign(proposal)
    ask(proposal)

    results = at_once(
        lambda: issue_proposed(proposal_id=proposal.pk, at=AT),
        lambda: use("cust_beta", "1", at=month(7) + timedelta(days=4)),
        lambda: bill(8),
    )

    assert not any(isinstance(one, Exception) for one in results), results
    done = results[0]
    beta = Invoice.objects.get(customer__key="cust_beta")
    assert beta.status == InvoiceStatus.ISSUED, "by the one run or by the other"
    if done.committed_at is not None:
        assert beta.total.amount == 12
    else:
        assert done.refusal.startswith("nothing was issued, one figure would differ")
    assert verify() == []


def goodwill(draft: Invoice) -> LineEdit:
    return edit_draft(
        invoice_id=draft.pk,
        line="",
        description="Goodwill",
        amount=Decimal(-2),
        at=AT,
        actor="fiona",
        reason="promised",
    )


@pytest.mark.django_db(transaction=True)
def test_of_a_change_by_hand_and_a_signature_at_the_same_moment_what_is_issued_is_what_was_signed() -> None:
    a_house()
    proposal = proposed()
    draft = Invoice.objects.get(customer__key="cust_beta", status=InvoiceStatus.DRAFT)

    def sign_and_issue() -> RunProposal:
        sign(proposal)
        ask(proposal)
        return issue_proposed(proposal_id=proposal.pk, at=AT)

    done, changed = at_once(sign_and_issue, lambda: goodwill(draft))

    assert not unexpected([done, changed])
    draft.refresh_from_db()
    if isinstance(changed, LineEdit):
        assert (draft.status, draft.total.amount, done.committed_at) == (InvoiceStatus.DRAFT, 10, None)
    else:
        assert (draft.status, draft.total.amount, done.refusal) == (InvoiceStatus.ISSUED, 12, "")
        assert not LineEdit.objects.exists()
    assert verify() == []


@pytest.mark.django_db(transaction=True)
def test_a_change_that_began_before_the_signature_and_ends_after_it_is_another_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a_house()
    proposal = proposed()
    draft = Invoice.objects.get(customer__key="cust_beta", status=InvoiceStatus.DRAFT)
    began, is_signed, compute = threading.Event(), threading.Event(), edit_draft_workflow.refresh_from_windows

    def slowly(**asked: Any) -> Invoice:
        began.set()
        assert is_signed.wait(timeout=20)
        return compute(**asked)

    monkeypatch.setattr(edit_draft_workflow, "refresh_from_windows", slowly)

    def sign_and_issue() -> RunProposal:
        assert began.wait(timeout=20)
        sign(proposal)
        ask(proposal)
        is_signed.set()
        return issue_proposed(proposal_id=proposal.pk, at=AT)

    done, changed = at_once(sign_and_issue, lambda: goodwill(draft))

    assert isinstance(changed, LineEdit)
    draft.refresh_from_db()
    assert (draft.status, draft.total.amount, done.committed_at) == (InvoiceStatus.DRAFT, 10, None)
    assert "nothing was issued, one figure would differ: Beta" in done.refusal
    assert verify() == []
