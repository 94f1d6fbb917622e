"""Invoices that are declared void, alone or to be made again: done at once below the limit of their currency, asked for above it, and done as shown once another approves."""

from datetime import datetime
from typing import Any

from django.db import transaction

from billing_site.kernel.digest import digest_of
from billing_site.kernel.errors import Conflict
from billing_site.kernel.money import plain
from invoicing.approvals.models import Approval, ApprovedDeed
from invoicing.approvals.operations import NeedsApproval, request_approval
from invoicing.invoices.models import Invoice
from invoicing.invoices.operations import locked_invoice
from invoicing.invoices.printed_text import money_text
from invoicing.workflows.ask_first import subject_of_invoice
from invoicing.workflows.reissue_invoice import Reissue, preview_reissue, reissue_from_windows, reissue_invoice
from invoicing.workflows.void_invoice import void_invoice


@transaction.atomic
def void_or_ask(*, invoice_id: int, at: datetime, actor: str, reason: str) -> Invoice | Approval:
    """Declare an invoice void as `void_invoice` does, or, from the limit of its currency on, ask for a second person; raises what `void_invoice` raises."""
    # Locked before: what is asked for is what was refused.
    invoice = locked_invoice(invoice_id=invoice_id)
    try:
        return void_invoice(invoice_id=invoice_id, at=at, actor=actor, reason=reason)
    except NeedsApproval:
        return _ask(invoice, digest=_digest(invoice), figures=[], at=at, actor=actor, reason=reason)


def reissue_or_ask(*, invoice_id: int, at: datetime, actor: str, reason: str, digest: str = "") -> Reissue | Approval:
    """Void and re-issue as `reissue_invoice` does, or, from the limit of its currency on, ask for a second person, who sees the difference; raises what `reissue_invoice` raises."""
    try:
        return reissue_invoice(invoice_id=invoice_id, at=at, actor=actor, reason=reason, digest=digest)
    except NeedsApproval:
        shown = preview_reissue(invoice_id=invoice_id, at=at)
    lines = [
        [f"{one.description}, difference", money_text(money=one.difference)] for one in shown.lines if one.difference
    ]
    figures = [
        *lines,
        ["Drafted again over", money_text(money=shown.total_after) if shown.after else "nothing: no draft follows"],
        ["Difference", money_text(money=shown.difference)],
    ]
    with transaction.atomic():
        invoice = locked_invoice(invoice_id=invoice_id)
        return _ask(invoice, digest=shown.digest, figures=figures, at=at, actor=actor, reason=reason)


def void_as_approved(approval: Approval) -> None:
    """Do what was approved, for whoever asked for it; raises Conflict where it would be something else by now."""
    assert approval.decided_at is not None, "it is approved"
    invoice = locked_invoice(invoice_id=int(approval.subject.rpartition(" ")[2]))
    who: dict[str, Any] = {"actor": approval.requested_by, "reason": approval.reason, "approval": approval}
    if approval.asked["again"]:
        reissue_from_windows(invoice_id=invoice.pk, at=approval.decided_at, digest=approval.digest, **who)
        return
    if _digest(invoice) != approval.digest:
        raise Conflict("the invoice is another by now: ask again", code="outdated")
    void_invoice(invoice_id=invoice.pk, at=approval.decided_at, **who)


def _ask(invoice: Invoice, *, digest: str, figures: list[list[str]], at: datetime, actor: str, reason: str) -> Approval:
    again = bool(figures)
    what = "declared void and drafted again" if again else "declared void"
    return request_approval(
        deed=ApprovedDeed.VOID,
        subject=subject_of_invoice(invoice=invoice),
        digest=digest,
        summary=f"{money_text(money=invoice.total)} of invoice {invoice.number} for {invoice.customer_name[:150]}, {what}",
        at=at,
        actor=actor,
        reason=reason,
        asked={
            "amount": plain(invoice.total.amount),
            "again": again,
            "figures": [["Owed no more", money_text(money=invoice.total)], *figures],
        },
    )


def _digest(invoice: Invoice) -> str:
    return digest_of({"void": invoice.seal, "status": invoice.status})
