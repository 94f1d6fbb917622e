"""What may be asked about deeds that take two people."""

from decimal import Decimal

from django.db.models import QuerySet

from invoicing.approvals.models import NO_CURRENCY, SWITCHED, Approval, ApprovalLimit, ApprovedDeed


def open_approvals() -> "QuerySet[Approval]":
    """Return what waits for somebody to decide, oldest first."""
    return Approval.objects.filter(decision="").order_by("requested_at", "id")


def last_approval(*, deed: ApprovedDeed, subject: str) -> Approval | None:
    """Return the newest request for a deed on a subject."""
    return Approval.objects.filter(deed=deed, subject=subject).order_by("-id").first()


def takes_two(*, deed: ApprovedDeed) -> bool:
    """Say whether a deed over no amount takes a second person now."""
    assert deed in SWITCHED, "others are asked for their amount"
    return limit_of(deed=deed, currency=NO_CURRENCY) is not None


def limit_of(*, deed: ApprovedDeed, currency: str) -> Decimal | None:
    """Return from which amount on a deed takes a second person; None: from none."""
    newest = ApprovalLimit.objects.filter(deed=deed, currency=currency).order_by("-number").first()
    return newest.amount if newest else None
