"""The limits of approvals: tightened at once, and loosened once another approves, or whoever may set them would be bound by none."""

from datetime import datetime
from decimal import Decimal

from django.db import IntegrityError, transaction
from moneyed import Money

from billing_site.kernel.digest import digest_of
from billing_site.kernel.errors import Conflict
from billing_site.kernel.money import plain
from invoicing.approvals.models import SWITCHED, Approval, ApprovalLimit, ApprovedDeed
from invoicing.approvals.operations import NeedsApproval, request_approval, set_limit
from invoicing.approvals.queries import newest_limit
from invoicing.invoices.printed_text import money_text


def set_limit_or_ask(
    *, deed: ApprovedDeed, currency: str, amount: Decimal | None, at: datetime, actor: str, reason: str
) -> ApprovalLimit | Approval:
    """Set a limit as `set_limit` does, or, where that loosens the one in force, ask for a second person; raises what `set_limit` raises."""
    before = newest_limit(deed=deed, currency=currency)
    try:
        return set_limit(deed=deed, currency=currency, amount=amount, at=at, actor=actor, reason=reason)
    except NeedsApproval:
        assert before is not None, "what loosens follows a limit"
    figures = [
        ["Deed", deed.label],
        ["Until now", amount_words(deed=deed, currency=currency, amount=before.amount)],
        ["Then", amount_words(deed=deed, currency=currency, amount=amount)],
    ]
    try:
        with transaction.atomic():
            return request_approval(
                deed=ApprovedDeed.LIMIT,
                subject=f"limit {before.pk}",
                digest=digest_of({"limit": before.pk, "amount": _text(amount)}),
                summary=f"{limit_words(limit=before)}: {amount_words(deed=deed, currency=currency, amount=amount)}",
                at=at,
                actor=actor,
                reason=reason,
                asked={"amount": _text(amount), "figures": figures},
            )
    except IntegrityError:
        raise Conflict("somebody else has just asked for another: look again", code="outdated") from None


def loosen_as_approved(approval: Approval) -> None:
    """Set the limit that was approved, for whoever asked for it; raises Conflict where another is in force by now."""
    assert approval.decided_at is not None, "it is approved"
    before = ApprovalLimit.objects.get(pk=int(approval.subject.removeprefix("limit ")))
    deed, asked = ApprovedDeed(before.deed), approval.asked["amount"]
    if newest_limit(deed=deed, currency=before.currency) != before:
        raise Conflict("another limit is in force by now: ask again", code="outdated")
    set_limit(
        deed=deed,
        currency=before.currency,
        amount=None if asked is None else Decimal(asked),
        at=approval.decided_at,
        actor=approval.requested_by,
        reason=approval.reason,
        approval=approval,
    )


def limit_words(*, limit: ApprovalLimit) -> str:
    """Say what a limit is of."""
    deed = ApprovedDeed(limit.deed)
    return deed.label if deed in SWITCHED else f"{deed.label} in {limit.currency}"


def amount_words(*, deed: ApprovedDeed, currency: str, amount: Decimal | None) -> str:
    """Say from which amount on a deed takes two people."""
    if amount is None:
        return "one person is enough"
    return (
        "two people, always" if deed in SWITCHED else f"two people from {money_text(money=Money(amount, currency))} on"
    )


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else plain(amount)
