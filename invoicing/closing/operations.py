"""What may happen to closed months: somebody asks that the newest is opened again, and another's approval opens it."""

from datetime import datetime

from django.db import transaction

from billing_site.kernel.errors import Conflict, NotFound
from invoicing.approvals.models import Approval, ApprovedDeed
from invoicing.approvals.operations import request_approval
from invoicing.closing.models import MonthClose, MonthReopening
from invoicing.closing.queries import closes_in_force
from invoicing.ledger.operations import lock_books

SUBJECT = "month close "


@transaction.atomic
def ask_to_reopen(*, close_id: int, at: datetime, actor: str, reason: str) -> Approval:
    """Ask that the newest closed month is opened again; the same request a second time is the one that is open.

    Raises NotFound, Conflict where it is not the newest, and InvalidInput at `reason`.
    """
    lock_books()
    close = _newest(close_id)
    return request_approval(
        deed=ApprovedDeed.REOPENING,
        subject=close.subject,
        digest=close.digest,
        summary=f"Reopen {close.month:%B %Y}, closed on {close.closed_at:%Y-%m-%d} by {close.actor}"[:300],
        at=at,
        actor=actor,
        reason=reason,
    )


def lock_for_reopening(approval: Approval) -> None:
    """Take the books before the request, as whoever asks does."""
    lock_books()


def reopen_as_approved(approval: Approval) -> None:
    """Open the month that an approved request is about; raises Conflict where it is not the newest any more."""
    assert approval.decided_at is not None, "it is approved"
    MonthReopening.objects.create(
        close=_newest(int(approval.subject.removeprefix(SUBJECT))),
        approval=approval,
        reopened_at=approval.decided_at,
        requested_by=approval.requested_by,
        approved_by=approval.decided_by,
        reason=approval.reason,
    )


def _newest(close_id: int) -> MonthClose:
    newest = closes_in_force().first()
    if newest is not None and newest.pk == close_id:
        return newest
    close = MonthClose.objects.filter(pk=close_id).first()
    if close is None:
        raise NotFound("there is no such close of a month", field="month")
    told = f"{newest} is" if newest else "none is closed"
    raise Conflict(f"{close} is not the newest closed month: {told}", field="month", code="outdated")
