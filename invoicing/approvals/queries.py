"""What may be asked about deeds that take two people."""

from decimal import Decimal

from django.db.models import QuerySet

from invoicing.approvals.models import Approval, ApprovalLimit, ApprovedDeed


def open_approvals() -> "QuerySet[Approval]":
    """Return what waits for somebody to decide, oldest first."""
    return Approval.objects.filter(decision="").order_by("requested_at", "id")


def last_approval(*, deed: ApprovedDeed, subject: str) -> Approval | None:
    """Return the newest request for a deed on a subject."""
    return Approval.objects.filter(deed=deed, subject=subject).order_by("-id").first()


def limit_of(*, deed: ApprovedDeed, currency: str) -> Decimal | None:
    """Return from which amount on a deed takes a second person; None: from none."""
    newest = ApprovalLimit.objects.filter(deed=deed, currency=currency).order_by("-number").first()
    return newest.amount if newest else None
