"""What people decided about an invoice before it was issued, and about its credit notes: held, released, signed, approved."""

from collections.abc import Iterable
from datetime import datetime

from invoicing.approvals.models import Approval, ApprovedDeed, Decision
from invoicing.core.gate import CHECKS, Check
from invoicing.credit_notes.models import CreditNote
from invoicing.gate.models import InvoiceHold
from invoicing.gate.operations import subject_of
from invoicing.invoices.models import Invoice
from invoicing.run_proposals.models import RunProposal
from invoicing.workflows.ask_first import subject_of_invoice

# When, word, text, by whom and why: as the timeline of an invoice has it.
Told = tuple[datetime, str, str, str, str]


def gate_moments(*, invoice: Invoice, notes: Iterable[CreditNote]) -> list[Told]:
    """Return when a draft was held and released, its billing run signed, and what of the invoice took a second person."""
    told: list[Told] = []
    for held in InvoiceHold.objects.filter(invoice=invoice).order_by("id"):
        found = ", ".join(CHECKS[Check(one["check"])].title for one in held.findings)
        told.append((held.held_at, "held", f"Held: {found}", "", ""))
        if held.released_at is not None:
            told.append((held.released_at, "released", "Released as it is", held.released_by, held.reason))
        told += _approved(ApprovedDeed.RELEASE, subject_of(held=held), "approved", "Release approved")
        told += _refused(subject_of(held=held))
    told += _refused(subject_of_invoice(invoice=invoice))
    proposal = RunProposal.objects.filter(run=invoice.billing_run_id).first() if invoice.billing_run_id else None
    if proposal is not None:
        told += _approved(ApprovedDeed.BILLING_RUN, proposal.subject, "signed", f"{proposal} signed")
    for note in notes:
        if note.approval is not None:
            told.append(_moment(note.approval, "approved", f"{note.number} approved"))
    return told


def _approved(deed: ApprovedDeed, subject: str, word: str, text: str) -> list[Told]:
    given = Approval.objects.filter(deed=deed, subject=subject, decision=Decision.APPROVED).order_by("-id")[:1]
    return [_moment(approval, word, text) for approval in given]


def _refused(subject: str) -> list[Told]:
    refused = Approval.objects.filter(subject=subject, decision=Decision.REFUSED).order_by("id")
    return [
        _moment(approval, "refused", f"{approval.get_deed_display()} refused, which {approval.requested_by} asked for")
        for approval in refused
    ]


def _moment(approval: Approval, word: str, text: str) -> Told:
    assert approval.decided_at is not None, "it is approved"
    return approval.decided_at, word, text, approval.decided_by, approval.decision_reason
