"""Approve what somebody else asked for, and do what follows from it, in one transaction; limits say from when it takes two."""

from collections.abc import Callable
from datetime import datetime

from django.db import transaction

from billing_site.kernel.money import round_money
from invoicing.approvals.models import Approval, ApprovedDeed, Decision
from invoicing.approvals.operations import SamePerson, decide_approval, request_approval
from invoicing.approvals.queries import limit_of
from invoicing.closing.operations import lock_for_reopening, reopen_as_approved
from invoicing.draft_edits.queries import edits_of
from invoicing.gate.models import InvoiceHold
from invoicing.gate.operations import checked_release, release_hold, subject_of
from invoicing.gate.queries import odd_checks
from invoicing.invoices.operations import locked_invoice
from invoicing.invoices.printed_text import money_text
from invoicing.workflows.agree_price import agree_as_approved, lock_subscription_of
from invoicing.workflows.ask_first import credit_as_approved, lock_invoice_of, write_off_as_approved
from invoicing.workflows.ask_to_void import void_as_approved
from invoicing.workflows.loosen_check import set_as_approved
from invoicing.workflows.loosen_limit import loosen_as_approved
from invoicing.workflows.publish_prices import lock_version_of, publish_as_approved
from invoicing.workflows.reverse_payment import lock_payment_of, reverse_as_approved


def decide(*, approval_id: int, digest: str, decision: Decision, at: datetime, actor: str, reason: str) -> Approval:
    """Approve, refuse or withdraw a request, bound to the digest of what the person saw; an approved deed is done at once.

    Raises what `decide_approval` raises, and Conflict (code `outdated`) where the deed cannot be done any more: then nothing is decided.
    """
    with transaction.atomic():
        asked = Approval.objects.get(pk=approval_id)
        lock, follow = FOLLOWS[ApprovedDeed(asked.deed)]
        # The subject first, then the request: in the order in which whoever asks locks them.
        lock(asked)
        before = asked.decision
        approval = decide_approval(
            approval_id=approval_id, digest=digest, decision=decision, at=at, actor=actor, reason=reason
        )
        if decision is Decision.APPROVED and not before:
            follow(approval)
    return approval


@transaction.atomic
def release_invoice(*, hold_id: int, digest: str, at: datetime, actor: str, reason: str) -> Approval | None:
    """Release a held draft as it is, or, where it is large or odd, ask for a second person; returns what is asked then.

    Raises what `release_hold` raises.
    """
    held = checked_release(hold_id=hold_id, digest=digest, reason=reason)
    if not why_two_release(held=held) or held.released_at is not None:
        release_hold(hold_id=hold_id, digest=digest, at=at, actor=actor, reason=reason)
        return None
    return request_approval(
        deed=ApprovedDeed.RELEASE,
        subject=subject_of(held=held),
        digest=digest,
        summary=f"Release the invoice for {held.customer.name[:150]} over {money_text(money=held.total)} as it is",
        at=at,
        actor=actor,
        reason=reason,
    )


def why_two_release(*, held: InvoiceHold) -> str:
    """Return why this draft is released by two people: it is large, or a check held it that takes two; "": one is enough."""
    limit = limit_of(deed=ApprovedDeed.RELEASE, currency=held.currency)
    if limit is not None and held.total.amount >= limit:
        return f"From {money_text(money=round_money(limit, held.currency))} on"
    odd = odd_checks(held=held)
    return f"What is held by {' and '.join(odd)}:" if odd else ""


def _hold_of(approval: Approval) -> int:
    return int(approval.subject.removeprefix("hold "))


def _lock_held(approval: Approval) -> None:
    invoice = InvoiceHold.objects.values_list("invoice_id", flat=True).get(pk=_hold_of(approval))
    if invoice is not None:
        locked_invoice(invoice_id=invoice)


def _release(approval: Approval) -> None:
    assert approval.decided_at is not None, "it is approved"
    held = InvoiceHold.objects.get(pk=_hold_of(approval))
    edits = edits_of(customer_id=held.customer_id, period_start=held.period_start, period_end=held.period_end)
    if edits.filter(ended_at=None, actor__iexact=approval.decided_by).exists():
        message = f"{approval.decided_by} has changed this draft by hand: somebody else approves its release"
        raise SamePerson(message, field="actor")
    release_hold(
        hold_id=held.pk,
        digest=approval.digest,
        at=approval.decided_at,
        actor=approval.requested_by,
        reason=approval.reason,
    )


def _nothing(approval: Approval) -> None:
    """Nothing is locked, or nothing follows: a signed run is issued by whoever asks for it then, limits are numbered without a gap."""


# How the subject of each deed is locked, and what is done once it is approved.
FOLLOWS: dict[ApprovedDeed, tuple[Callable[[Approval], None], Callable[[Approval], None]]] = {
    ApprovedDeed.BILLING_RUN: (_nothing, _nothing),
    ApprovedDeed.RELEASE: (_lock_held, _release),
    ApprovedDeed.CREDIT_NOTE: (lock_invoice_of, credit_as_approved),
    ApprovedDeed.WRITE_OFF: (lock_invoice_of, write_off_as_approved),
    ApprovedDeed.PRICE_VERSION: (lock_version_of, publish_as_approved),
    ApprovedDeed.OWN_PRICE: (lock_subscription_of, agree_as_approved),
    ApprovedDeed.VOID: (lock_invoice_of, void_as_approved),
    ApprovedDeed.LIMIT: (_nothing, loosen_as_approved),
    ApprovedDeed.CHECK: (_nothing, set_as_approved),
    ApprovedDeed.PAYMENT_REVERSAL: (lock_payment_of, reverse_as_approved),
    ApprovedDeed.REOPENING: (lock_for_reopening, reopen_as_approved),
}
assert set(FOLLOWS) == set(ApprovedDeed), "each deed says what follows"
