"""What may happen to requests for deeds that take two people: asked for, decided by another, withdrawn."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import IntegrityError, transaction
from moneyed import Money

from billing_site.kernel.errors import Conflict, FieldError, InvalidFields
from billing_site.kernel.money import is_rounded
from billing_site.kernel.reasons import checked_reason
from invoicing.approvals.models import LIMITED, NO_CURRENCY, SWITCHED, Approval, ApprovalLimit, ApprovedDeed, Decision
from invoicing.approvals.queries import limit_of, loosens, newest_limit

AMOUNT_MAX = Decimal("999999999999")


class SamePerson(Conflict):
    """Whoever asks for a deed does not approve it."""

    code = "same_person"


class NeedsApproval(Conflict):
    """The deed is large: it takes a second person, who has not been asked yet."""

    code = "needs_approval"


def check_approved(*, deed: ApprovedDeed, amount: Money, alone: Money, approval: Approval | None) -> None:
    """Raise NeedsApproval where an amount, with what was done of the same before without a second person, takes one, and none has approved it.

    The database asks once more, for the figures.
    """
    limit = limit_of(deed=deed, currency=amount.currency.code)
    if approval is None and limit is not None and (amount + alone).amount >= limit:
        raise NeedsApproval(
            f"{deed.label.lower()}: from {limit} {amount.currency} on somebody else approves it", field="amount"
        )


def request_approval(
    *,
    deed: ApprovedDeed,
    subject: str,
    digest: str,
    summary: str,
    at: datetime,
    actor: str,
    reason: str,
    asked: Mapping[str, Any] | None = None,
) -> Approval:
    """Ask for a deed on a subject that the caller has locked; the same request a second time is the one that is open.

    `asked` is what the deed is done with then, with its `figures` as pairs of words for whoever decides. One for other figures is withdrawn. Raises InvalidInput at `reason`.
    """
    said = checked_reason(reason=reason)
    is_open = Approval.objects.select_for_update().filter(deed=deed, subject=subject, decision="").first()
    if is_open is not None and is_open.digest == digest:
        return is_open
    if is_open is not None:
        _decide(is_open, Decision.WITHDRAWN, at=at, actor=actor, reason="it would be something else by now")
    return Approval.objects.create(
        deed=deed,
        subject=subject,
        digest=digest,
        summary=summary[:300],
        asked=dict(asked or {}),
        requested_at=at,
        requested_by=actor,
        reason=said,
    )


@transaction.atomic
def decide_approval(
    *, approval_id: int, digest: str, decision: Decision, at: datetime, actor: str, reason: str
) -> Approval:
    """Approve or refuse what somebody else asked for, or withdraw it; the same decision by the same person again changes nothing.

    `digest` is that of what the person saw. Raises SamePerson, InvalidInput at `reason`, and Conflict (code `outdated`) where it was
    decided already or is about something else. What follows from an approval is `workflows/approve.py`'s.
    """
    said = checked_reason(reason=reason)
    approval = Approval.objects.select_for_update().get(pk=approval_id)
    if (approval.decision, approval.decided_by, approval.digest) == (decision.value, actor, digest):
        return approval
    if approval.decision:
        raise Conflict(f"{approval.decided_by} has {approval.decision} it already", code="outdated")
    if approval.digest != digest:
        raise Conflict("it is about something else by now: look again", code="outdated")
    if decision is not Decision.WITHDRAWN and approval.requested_by.lower() == actor.lower():
        raise SamePerson(f"{actor} has asked for it: somebody else decides", field="actor")
    _decide(approval, decision, at=max(at, approval.requested_at), actor=actor, reason=said)
    return approval


@transaction.atomic
def set_limit(
    *,
    deed: ApprovedDeed,
    currency: str,
    amount: Decimal | None,
    at: datetime,
    actor: str,
    reason: str,
    approval: Approval | None = None,
) -> ApprovalLimit:
    """Say from which amount on a deed takes a second person; None: from none. Raises InvalidFields, and NeedsApproval where that loosens the one in force.

    Of a deed over no amount (SWITCHED) the currency is NO_CURRENCY, and the amount 0: it takes a second person always.
    """
    errors = []
    if deed in SWITCHED and (currency != NO_CURRENCY or amount not in (None, 0)):
        errors.append(FieldError("amount", "invalid", "is over no amount: 0 takes two people always, empty never"))
    elif deed not in (*LIMITED, *SWITCHED):
        errors.append(FieldError("deed", "unlimited", "always takes two people, or is over no amount"))
    if amount is not None and not (
        amount.is_finite() and 0 <= amount <= AMOUNT_MAX and is_rounded(Money(amount, currency))
    ):
        errors.append(FieldError("amount", "invalid", f"must be an amount of {currency} from 0 on"))
    if errors:
        raise InvalidFields(tuple(errors))
    said = checked_reason(reason=reason)
    last = newest_limit(deed=deed, currency=currency)
    if last is not None and last.amount == amount:
        return last
    if approval is None and last is not None and loosens(before=last.amount, after=amount):
        raise NeedsApproval("it loosens the limit in force: somebody else approves that", field="amount")
    try:
        with transaction.atomic():
            return ApprovalLimit.objects.create(
                deed=deed,
                currency=currency,
                number=last.number + 1 if last else 1,
                amount=amount,
                set_at=at,
                actor=actor,
                reason=said,
                approval=approval,
            )
    except IntegrityError:
        raise Conflict("somebody else has just set this limit: look again", code="outdated") from None


def _decide(approval: Approval, decision: Decision, *, at: datetime, actor: str, reason: str) -> None:
    approval.decision, approval.decided_at = decision.value, at
    approval.decided_by, approval.decision_reason = actor, reason
    approval.save(update_fields=["decision", "decided_at", "decided_by", "decision_reason"])
