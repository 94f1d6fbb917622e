"""The checks before issue: set by one person, but those of which two release what they hold by two, or whoever may set them would be bound by none."""

from datetime import datetime
from decimal import Decimal

from django.db import IntegrityError, transaction

from billing_site.kernel.digest import digest_of
from billing_site.kernel.errors import Conflict
from billing_site.kernel.money import plain
from invoicing.approvals.models import Approval, ApprovedDeed
from invoicing.approvals.operations import NeedsApproval, request_approval
from invoicing.core.gate import CHECKS, Check, Rule
from invoicing.gate.models import GateSetting
from invoicing.gate.operations import set_check
from invoicing.gate.queries import newest_setting, rules_in_force


def set_check_or_ask(*, check: Check, rule: Rule, at: datetime, actor: str, reason: str) -> GateSetting | Approval:
    """Set a check as `set_check` does, or, where that takes two, ask for a second person; raises what `set_check` raises."""
    try:
        return set_check(check=check, **vars(rule), at=at, actor=actor, reason=reason)
    except NeedsApproval:
        subject = _subject(check)
    asked = {
        "is_on": rule.is_on,
        "threshold": None if rule.threshold is None else plain(rule.threshold),
        "takes_two": rule.takes_two,
    }
    title = CHECKS[check].title
    before, after = (rule_words(check=check, rule=one) for one in (rules_in_force()[check], rule))
    try:
        with transaction.atomic():
            return request_approval(
                deed=ApprovedDeed.CHECK,
                subject=subject,
                digest=digest_of({"subject": subject, **asked}),
                summary=f"{title}: {after}",
                at=at,
                actor=actor,
                reason=reason,
                asked={**asked, "figures": [["Check", title], ["Until now", before], ["Then", after]]},
            )
    except IntegrityError:
        raise Conflict("somebody else has just asked for another: look again", code="outdated") from None


def set_as_approved(approval: Approval) -> None:
    """Set the check as it was approved, for whoever asked for it; raises Conflict where it is set otherwise by now."""
    assert approval.decided_at is not None, "it is approved"
    check, asked = Check(approval.subject.split()[1]), approval.asked
    if approval.subject != _subject(check):
        raise Conflict("the check is set otherwise by now: ask again", code="outdated")
    set_check(
        check=check,
        is_on=asked["is_on"],
        threshold=None if asked["threshold"] is None else Decimal(asked["threshold"]),
        takes_two=asked["takes_two"],
        at=approval.decided_at,
        actor=approval.requested_by,
        reason=approval.reason,
        approval=approval,
    )


def rule_words(*, check: Check, rule: Rule) -> str:
    """Say how a check is set."""
    if not rule.is_on:
        return "off"
    how = "on" if rule.threshold is None else CHECKS[check].threshold.format(plain(rule.threshold))
    return f"{how}; two people release" if rule.takes_two else how


def _subject(check: Check) -> str:
    """Return what an approval calls a check as it is set now: its name, and the number of its setting."""
    last = newest_setting(check=check)
    return f"check {check.value} {last.number if last else 0}"
