"""What may be asked about deeds that take two people."""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from django.db.models import Exists, OuterRef, QuerySet

from invoicing.approvals.models import NO_CURRENCY, SWITCHED, Approval, ApprovalLimit, ApprovedDeed, Decision

# So long what was refused stands with whoever asked for it.
REFUSED_FOR: Final = timedelta(days=7)

DECIDE = "invoicing.decide_approval"


def open_approvals() -> "QuerySet[Approval]":
    """Return what waits for somebody to decide, oldest first."""
    return Approval.objects.filter(decision="").order_by("requested_at", "id")


def decidable_deeds(*, allowed: Callable[[str], bool]) -> list[ApprovedDeed]:
    """Return the deeds that somebody approves when another asks for them; `allowed` says of a permission whether he has it."""
    return [deed for deed in ApprovedDeed if allowed(DECIDE) or allowed(f"invoicing.decide_{deed.value}")]


def approvals_to_give(*, name: str, allowed: Callable[[str], bool]) -> "QuerySet[Approval]":
    """Return what waits for this person, or another who may, to decide: what he asks for himself waits for others."""
    return open_approvals().filter(deed__in=decidable_deeds(allowed=allowed)).exclude(requested_by__iexact=name)


def own_requests(*, name: str) -> "QuerySet[Approval]":
    """Return what this person asks for and others have not decided yet."""
    return open_approvals().filter(requested_by__iexact=name)


def refused_lately(*, name: str, since: datetime) -> "QuerySet[Approval]":
    """Return what others refused this person since a moment, oldest first, unless it was asked for again."""
    again = Approval.objects.filter(deed=OuterRef("deed"), subject=OuterRef("subject"), pk__gt=OuterRef("pk"))
    refused = Approval.objects.filter(decision=Decision.REFUSED, requested_by__iexact=name, decided_at__gte=since)
    return refused.exclude(Exists(again)).order_by("decided_at", "id")


def last_approval(*, deed: ApprovedDeed, subject: str) -> Approval | None:
    """Return the newest request for a deed on a subject."""
    return Approval.objects.filter(deed=deed, subject=subject).order_by("-id").first()


def takes_two(*, deed: ApprovedDeed) -> bool:
    """Say whether a deed over no amount takes a second person now."""
    assert deed in SWITCHED, "others are asked for their amount"
    return limit_of(deed=deed, currency=NO_CURRENCY) is not None


def limit_of(*, deed: ApprovedDeed, currency: str) -> Decimal | None:
    """Return from which amount on a deed takes a second person; None: from none."""
    newest = newest_limit(deed=deed, currency=currency)
    return newest.amount if newest else None


def newest_limit(*, deed: ApprovedDeed, currency: str) -> ApprovalLimit | None:
    """Return the limit in force of a deed and currency; None: none was ever set."""
    return ApprovalLimit.objects.filter(deed=deed, currency=currency).order_by("-number").first()


def loosens(*, before: Decimal | None, after: Decimal | None) -> bool:
    """Say whether one person may do more alone after a change of a limit than before it."""
    return before is not None and (after is None or after > before)
