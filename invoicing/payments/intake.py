"""Intake of Stripe's news: verified, stored once, a job queued, all before the answer; what it means is found out later."""

import logging
from collections.abc import Sequence
from datetime import datetime

from django.db import connection, transaction
from psycopg.types.json import Jsonb

from billing_site.kernel.errors import Conflict, Malformed, NotFound
from billing_site.kernel.jobs import queue, queue_each
from invoicing.payments import gateway
from invoicing.payments.due import queue_due
from invoicing.payments.models import StripeNotice
from invoicing.payments.patience import QUEUE_PATIENCE

logger = logging.getLogger(__name__)

JOB = "invoicing.tasks.follow_notice"
# The news that an invoice was paid.
PAID_EVENTS = ("invoice.paid", "invoice.payment_succeeded")
# News that was not told but found: its id begins so.
FOUND = "found:"
PAYOUT_EVENT = "payout.updated"
# Stripe's ids and types are far shorter; the columns are as long as this.
NAME_LENGTH_MAX = 100
# Stripe waits for the answer: one statement keeps a notice and says whether it came before.
KEEP = """
    INSERT INTO invoicing_stripenotice
        (event_id, event_type, object_id, body, received_at, next_attempt_at, delivery_count, outcome, attempt_count, last_error)
    VALUES (%s, %s, %s, %s, %s, %s, 1, '', 0, '')
    ON CONFLICT (event_id) DO UPDATE SET delivery_count = invoicing_stripenotice.delivery_count + 1
    RETURNING id, event_id, delivery_count, xmax = 0 AS is_new
"""


def receive_notice(*, payload: bytes, signature: str, at: datetime) -> StripeNotice:
    """Verify one webhook delivery, store it and queue its job in one transaction (S0-049..055).

    A repeated event is counted, nothing more (S0-101, S0-116). Raises SignatureInvalid and Malformed.
    """
    event = gateway.verified_event(payload=payload, signature=signature)
    if max(len(event.id), len(event.type), len(event.object_id)) > NAME_LENGTH_MAX:
        raise Malformed("The webhook's names are longer than Stripe's.")
    kept = [event.id, event.type, event.object_id, Jsonb(event.body), at, at + QUEUE_PATIENCE]
    with transaction.atomic():
        (notice,) = StripeNotice.objects.raw(KEEP, kept)
        if notice.is_new:  # type: ignore[attr-defined]  # what the statement says beside the row
            queue(JOB, notice.pk)
    return notice


def find_payment(*, invoice: str, at: datetime) -> None:
    """Follow an invoice that was found paid at Stripe as if its news came now, unless it came already; in the caller's transaction."""
    assert connection.in_atomic_block, "what was found commits with whoever looked"
    if StripeNotice.objects.filter(object_id=invoice, event_type__in=PAID_EVENTS).exists():
        return
    _find(event_id=f"{FOUND}{invoice}", event_type=PAID_EVENTS[0], kind="invoice", object_id=invoice, at=at)


@transaction.atomic
def find_payout(*, payout: str, status: str, at: datetime) -> None:
    """Keep a payout that Stripe lists and that could not be taken in as news, once for each status.

    It is followed as any news is: again and again, then it waits for people, who replay it or dismiss it with a reason.
    """
    if StripeNotice.objects.filter(object_id=payout, processed_at__isnull=True).exists():
        return
    _find(event_id=f"{FOUND}{payout}:{status}", event_type=PAYOUT_EVENT, kind="payout", object_id=payout, at=at)


def _find(*, event_id: str, event_type: str, kind: str, object_id: str, at: datetime) -> None:
    """Keep what was found as news that was delivered 0 times, once, and queue its job."""
    subject = {"object": kind, "id": object_id}
    notice, created = StripeNotice.objects.get_or_create(
        event_id=event_id,
        defaults={
            "event_type": event_type,
            "object_id": object_id,
            "body": {"object": "event", "created": int(at.timestamp()), "data": {"object": subject}},
            "received_at": at,
            "next_attempt_at": at + QUEUE_PATIENCE,
            "delivery_count": 0,
        },
    )
    if created:
        queue(JOB, notice.pk)


def sweep_notices(*, at: datetime) -> int:
    """Queue the notices whose next attempt is due; returns how many."""
    waiting = StripeNotice.objects.filter(processed_at__isnull=True, parked_at__isnull=True)
    return queue_due(waiting=waiting, job=JOB, at=at)


@transaction.atomic
def replay_notices(*, notice_ids: Sequence[int], at: datetime) -> int:
    """Queue notices again that nobody could follow, as if they came now; returns how many. Who replays them knows what has changed since."""
    waiting = StripeNotice.objects.select_for_update().filter(pk__in=notice_ids, processed_at__isnull=True)
    keys = list(waiting.order_by("id").values_list("id", flat=True))
    StripeNotice.objects.filter(pk__in=keys).update(
        parked_at=None, attempt_count=0, next_attempt_at=at + QUEUE_PATIENCE
    )
    queue_each(JOB, keys)
    return len(keys)


@transaction.atomic
def dismiss_notice(*, notice_id: int, at: datetime, actor: str, reason: str) -> StripeNotice:
    """Close a notice that people have dealt with by hand; raises NotFound, and Conflict for one that is closed."""
    assert actor and reason, "who dismissed it, and why, is its outcome"
    notice = StripeNotice.objects.select_for_update().filter(pk=notice_id).first()
    if notice is None:
        raise NotFound("there is no such notice", field="notice")
    if notice.processed_at is not None:
        raise Conflict(f"the notice is closed already: {notice.outcome}", field="notice")
    notice.processed_at = at
    notice.outcome = f"dismissed by {actor}: {reason}"[:300]
    notice.save(update_fields=["processed_at", "outcome"])
    return notice
