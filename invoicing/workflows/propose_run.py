"""A billing run that is looked at first: proposed with every figure, signed by another, issued as it was signed or not at all.

The preview is the run itself, made and taken back, so that nothing but the world may make the two differ. What is signed is
the digest of all figures; the commit makes the run again, everything locked, and refuses where one of them differs.
"""

import logging
from datetime import datetime
from typing import Any

from django.db import transaction

from billing_site.kernel.errors import BillingError, Conflict, InvalidInput
from billing_site.kernel.jobs import queue
from billing_site.kernel.reasons import checked_reason
from billing_site.kernel.words import counted
from invoicing.approvals.models import ApprovedDeed, Decision
from invoicing.approvals.operations import request_approval
from invoicing.invoices.models import BillingRun
from invoicing.invoices.printed_text import money_text
from invoicing.run_proposals.models import HELD, ISSUED, WAITS, RunProposal
from invoicing.subscriptions.queries import who_is_billed
from invoicing.workflows.run_billing import draft_billing, issue_due
from invoicing.workflows.run_figures import figures_digest, first_difference, run_figures, run_sums
from invoicing.workflows.run_report import RunReport, settle_first
from metering.rollup import roll_up

logger = logging.getLogger(__name__)

SHOW_TASK, ISSUE_TASK = "invoicing.tasks.show_proposed_run", "invoicing.tasks.issue_proposed_run"


@transaction.atomic
def propose_run(*, as_of: datetime, at: datetime, actor: str, reason: str) -> RunProposal:
    """Keep a proposal and queue the making of its figures; raises InvalidInput at `as_of` or `reason`."""
    said = checked_reason(reason=reason)
    if as_of > at:
        raise InvalidInput("lies in the future: nothing is issued ahead of its time", field="as_of")
    proposal = RunProposal.objects.create(as_of=as_of, proposed_at=at, proposed_by=actor, reason=said)
    queue(SHOW_TASK, proposal.pk)
    return proposal


def show_run_again(*, proposal_id: int) -> None:
    """Queue the making of the figures once more: usage has arrived, or a draft was released. What was signed before counts no more."""
    _open_proposal(proposal_id)
    queue(SHOW_TASK, proposal_id)


def show_run(*, proposal_id: int, at: datetime) -> RunProposal:
    """Make a proposal's figures and ask for their signature; drafts are kept, so that each can be looked at. Twice is once."""
    proposal = _open_proposal(proposal_id)
    draft_billing(as_of=proposal.as_of, at=at, actor=proposal.proposed_by, trial_of=str(proposal))
    with transaction.atomic():
        _, figures = _made(proposal, at=at, actor=proposal.proposed_by)
        transaction.set_rollback(True)
    with transaction.atomic():
        proposal = _open_proposal(proposal_id, lock=True)
        proposal.figures, proposal.figures_digest, proposal.shown_at = figures, figures_digest(figures=figures), at
        proposal.refusal = ""
        proposal.approval = request_approval(
            deed=ApprovedDeed.BILLING_RUN,
            subject=proposal.subject,
            digest=proposal.figures_digest,
            summary=run_summary(figures=figures),
            at=at,
            actor=proposal.proposed_by,
            reason=proposal.reason,
        )
        proposal.save(update_fields=["figures", "figures_digest", "shown_at", "refusal", "approval"])
    return proposal


def ask_to_issue(*, proposal_id: int, digest: str, at: datetime, actor: str) -> RunProposal:
    """Queue the issue of what was signed; a second time changes nothing.

    Raises Conflict: `outdated` where the figures are others than the caller saw, `not_signed` where nobody else has signed them.
    """
    with transaction.atomic():
        proposal = RunProposal.objects.select_for_update().get(pk=proposal_id)
        if proposal.figures_digest != digest or not digest:
            raise Conflict("it says something else by now: look again", field="digest", code="outdated")
        if proposal.committed_at is None:
            _refuse_unsigned(proposal)
            proposal.asked_at, proposal.asked_by, proposal.refusal = at, actor, ""
            proposal.save(update_fields=["asked_at", "asked_by", "refusal"])
            queue(ISSUE_TASK, proposal.pk)
    return proposal


def issue_proposed(*, proposal_id: int, at: datetime) -> RunProposal:
    """Issue what was signed, or keep why not: the job behind `ask_to_issue`."""
    try:
        return commit_run(proposal_id=proposal_id, at=at)
    except BillingError as problem:
        logger.info("billing run %s was not issued: %s", proposal_id, problem)
        RunProposal.objects.filter(pk=proposal_id, committed_at__isnull=True).update(refusal=problem.message[:500])
        return RunProposal.objects.get(pk=proposal_id)


def commit_run(*, proposal_id: int, at: datetime) -> RunProposal:
    """Issue every invoice of a signed proposal in one transaction, if each figure still is what was signed; else nothing.

    A second time changes nothing. Raises Conflict (code `outdated`) naming the first difference, or `not_signed`.
    """
    roll_up()
    # What is late for earlier invoices is settled as any run settles it; where that changes a figure, it is another run.
    settle_first(RunReport(), at=at, customer_key="")
    with transaction.atomic():
        proposal = RunProposal.objects.select_for_update().get(pk=proposal_id)
        if proposal.committed_at is not None:
            return proposal
        _refuse_unsigned(proposal)
        assert proposal.asked_by, "somebody has asked for it"
        run, figures = _made(proposal, at=at, actor=proposal.asked_by)
        if figures_digest(figures=figures) != proposal.figures_digest:
            different = first_difference(signed=proposal.figures or {}, now=figures)
            raise Conflict(f"nothing was issued, one figure would differ: {different}", code="outdated")
        proposal.committed_at, proposal.run, proposal.refusal = at, run, ""
        proposal.save(update_fields=["committed_at", "run", "refusal"])
    return proposal


def run_summary(*, figures: dict[str, Any], is_issued: bool = False) -> str:
    """Say in figures what a run does, or has done: Issue 412 invoices, EUR 183,220.10, USD 12.00; 3 held stay drafts."""
    sums = run_sums(figures=figures)
    number = sum(one.counts[ISSUED] for one in sums)
    money = "".join(f", {money_text(money=one.totals[ISSUED])}" for one in sums if one.counts[ISSUED])
    stay = [
        f"{count} {word}"
        for state, word in ((HELD, "held"), (WAITS, "waiting for late usage"))
        if (count := sum(one.counts[state] for one in sums))
    ]
    rest = f"; {' and '.join(stay)} {'stayed' if is_issued else 'stay'} drafts" if stay else ""
    return f"{'Issued' if is_issued else 'Issue'} {number:,} {counted('invoice', number)}{money}{rest}"


def _made(proposal: RunProposal, *, at: datetime, actor: str) -> tuple[BillingRun, dict[str, Any]]:
    """Make the run, within the caller's transaction, which keeps it or takes it back."""
    # Everybody who may be billed, in one order and before any number is taken: no figure moves from here on, and nobody waits for whom we wait for.
    list(who_is_billed().select_for_update(no_key=True).order_by("pk").values_list("pk", flat=True))
    report = RunReport()
    run = issue_due(report=report, as_of=proposal.as_of, at=at, actor=actor, reason=f"{proposal.reason} ({proposal})")
    return run, run_figures(report=report)


def _open_proposal(proposal_id: int, *, lock: bool = False) -> RunProposal:
    rows = RunProposal.objects.select_for_update() if lock else RunProposal.objects.all()
    proposal = rows.get(pk=proposal_id)
    if proposal.committed_at is not None:
        raise Conflict("it is issued already", code="issued")
    return proposal


def _refuse_unsigned(proposal: RunProposal) -> None:
    asked = proposal.approval
    if asked is None or (asked.decision, asked.digest) != (Decision.APPROVED, proposal.figures_digest):
        raise Conflict("nobody else has signed these figures", code="not_signed")
