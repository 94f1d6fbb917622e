"""What people decide about notices: of those that could not be delivered, of those that may have been sent, and of addresses that are not written to."""

from datetime import datetime

from django.db import transaction

from billing_site.kernel.errors import Conflict, NotFound
from billing_site.kernel.jobs import queue
from billing_site.kernel.reasons import checked_reason
from dunning.core.notice_life import NoticeState
from dunning.notices.models import BlockedAddress, Notice, NoticeDecision
from dunning.notices.outbox import JOB
from dunning.notices.queries import maybe_sent, undelivered
from invoicing.payments.patience import QUEUE_PATIENCE

Kind = NoticeDecision.Kind


@transaction.atomic
def say_it_was_sent(*, notice_id: int, at: datetime, actor: str, reason: str) -> Notice:
    """Say of a notice of which nobody knew it that it was sent. Raises NotFound, InvalidInput at `reason`, and Conflict for any other."""
    notice = _in_doubt(notice_id, at=at)
    _decide(notice, Kind.WAS_SENT, at=at, actor=actor, reason=reason)
    notice.state, notice.settled_at = NoticeState.SENT.value, at
    notice.save(update_fields=["state", "settled_at"])
    return notice


@transaction.atomic
def send_again(*, notice_id: int, at: datetime, actor: str, reason: str) -> Notice:
    """Plan a notice anew that could not be delivered, or may not have been sent: it is written with what is open then.

    Raises NotFound, InvalidInput at `reason`, and Conflict for any other.
    """
    notice = _waiting(notice_id, at=at)
    _decide(notice, Kind.SEND_AGAIN, at=at, actor=actor, reason=reason)
    notice.state, notice.why, notice.settled_at = NoticeState.PLANNED.value, "", None
    notice.attempt_count, notice.next_attempt_at = 0, at + QUEUE_PATIENCE
    notice.save(update_fields=["state", "why", "settled_at", "attempt_count", "next_attempt_at"])
    queue(JOB, notice.pk)
    return notice


@transaction.atomic
def drop_notice(*, notice_id: int, at: datetime, actor: str, reason: str) -> Notice:
    """Say that a notice is not sent any more. Raises NotFound, InvalidInput at `reason`, and Conflict where nobody waits for that."""
    notice = _waiting(notice_id, at=at)
    decision = _decide(notice, Kind.DROP, at=at, actor=actor, reason=reason)
    notice.state, notice.settled_at = NoticeState.NOT_NEEDED.value, at
    notice.why = f"{actor}: {decision.reason}"
    notice.save(update_fields=["state", "why", "settled_at"])
    return notice


@transaction.atomic
def lift_block(*, block_id: int, at: datetime, actor: str, reason: str) -> BlockedAddress:
    """Let an address be written to again. Raises NotFound, InvalidInput at `reason`, and Conflict where it is lifted already."""
    said = checked_reason(reason=reason)
    block = BlockedAddress.objects.select_for_update().filter(pk=block_id).first()
    if block is None:
        raise NotFound("there is no such block", field="address")
    if block.lifted_at is not None:
        raise Conflict(f"{block.lifted_by} has lifted it already", code="outdated")
    block.lifted_at, block.lifted_by, block.reason = max(at, block.blocked_at), actor, said
    block.save(update_fields=["lifted_at", "lifted_by", "reason"])
    return block


def _waiting(notice_id: int, *, at: datetime) -> Notice:
    notice = _locked(notice_id)
    return notice if undelivered(at=at).filter(pk=notice.pk).exists() else _in_doubt(notice_id, at=at)


def _in_doubt(notice_id: int, *, at: datetime) -> Notice:
    notice = _locked(notice_id)
    if not maybe_sent(at=at).filter(pk=notice.pk).exists():
        raise Conflict(f"it is {notice.get_state_display().lower()}: there is nothing to decide", code="outdated")
    return notice


def _locked(notice_id: int) -> Notice:
    notice = Notice.objects.select_for_update(of=("self",)).select_related("customer").filter(pk=notice_id).first()
    if notice is None:
        raise NotFound("there is no such notice", field="notice")
    return notice


def _decide(notice: Notice, kind: Kind, *, at: datetime, actor: str, reason: str) -> NoticeDecision:
    said = checked_reason(reason=reason)
    return NoticeDecision.objects.create(notice=notice, kind=kind, decided_at=at, actor=actor, reason=said)
