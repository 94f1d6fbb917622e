"""Pay back what credit notes promised: planned over the payments that came through Stripe, the rest by hand; sent to Stripe once however often it is tried."""

import logging
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from django.db import connection, transaction
from django.db.models import OuterRef, Subquery, Sum
from moneyed import Money

from billing_site.kernel.errors import Conflict, NotFound
from billing_site.kernel.jobs import queue, queue_each, queue_later
from billing_site.kernel.money import round_money
from invoicing.core.dispute_life import HELD_BACK
from invoicing.credit_notes.models import CreditNote
from invoicing.customers.models import SettlementChannel
from invoicing.payments import gateway
from invoicing.payments.breaker import outage_now
from invoicing.payments.dispute import Dispute
from invoicing.payments.due import queue_due
from invoicing.payments.locks import only_worker
from invoicing.payments.models import Payment
from invoicing.payments.patience import (
    QUEUE_PATIENCE,
    TRIED_AGAIN,
    database_may_be_away,
    is_quick,
    next_attempt_after,
    unforeseen,
    verdict_on,
)
from invoicing.payments.refund import Refund, RefundStatus
from invoicing.payments.remote import GatewayRefused, GatewayUnavailable, RemoteRefund

logger = logging.getLogger(__name__)

JOB = "invoicing.tasks.pay_refund"
# The metadata by which a refund at Stripe is known to be ours.
REFUND_METADATA = "refund"
# What Stripe can pay back: a charge, or the payment intent that made it.
REFUNDABLE = ("ch_", "py_", "pi_")
NOTHING = Decimal(0)


def plan_refunds(*, note: CreditNote, at: datetime) -> list[Refund]:
    """Write down how a credit note's refund is to be paid and queue what goes through Stripe, in the transaction that issues the note.

    Payments that came through Stripe go back there, the newest first and none beyond its amount; what is left is transferred by hand.
    """
    assert connection.in_atomic_block, "the refund commits with its credit note, or not at all"
    rest, planned = note.refund_amount, []
    for payment, left in refundable_payments(invoice_id=note.invoice_id, currency=note.currency):
        part = min(rest, left)
        if part.amount:
            planned.append(_planned(note, part, channel=SettlementChannel.STRIPE, payment=payment, at=at))
            rest -= part
    if rest.amount:
        planned.append(_planned(note, rest, channel=SettlementChannel.MANUAL, payment=None, at=at))
    for refund in planned:
        if refund.channel == SettlementChannel.STRIPE:
            queue(JOB, refund.pk)
    return planned


def refundable_payments(*, invoice_id: int, currency: str) -> list[tuple[Payment, Money]]:
    """Return the payments of an invoice that Stripe can pay back, the newest first, each with what is neither promised back nor disputed of it."""
    payments = Payment.objects.filter(invoice=invoice_id, channel=SettlementChannel.STRIPE)
    found: list[tuple[Payment, Money]] = []
    held_back = Dispute.objects.filter(payment=OuterRef("pk"), status__in=HELD_BACK).order_by().values("payment")
    disputed = Subquery(held_back.annotate(amount_of=Sum("amount")).values("amount_of"))
    for payment in payments.annotate(promised=Sum("refunds__amount"), disputed=disputed).order_by(
        "-received_at", "-id"
    ):
        gone = (payment.promised or NOTHING) + (payment.disputed or NOTHING)
        left = payment.amount - round_money(gone, currency)
        if payment.reference.startswith(REFUNDABLE) and left.amount > 0:
            found.append((payment, left))
    return found


def attempt_refund(*, refund_id: int, at: datetime) -> RemoteRefund | None:
    """Bring a refund to Stripe as far as it will go now; None where there is nothing to do, or it has to come again.

    What Stripe refuses for good, or could not take for hours, is left to people. Whoever calls this settles what has succeeded.
    """
    with only_worker(f"refund {refund_id}") as alone:
        if not alone:
            return None
        refund = Refund.objects.select_related("payment").get(pk=refund_id)
        if refund.status != RefundStatus.PENDING or refund.channel != SettlementChannel.STRIPE:
            return None
        if outage_now() is not None:
            return None
        refund.attempt_count += 1
        refund.next_attempt_at = next_attempt_after(attempt_count=refund.attempt_count, at=at)
        _record(refund)
        try:
            with database_may_be_away():
                remote = _at_stripe(refund)
        except GatewayUnavailable as error:
            _put_off(refund, error, at=at)
            return None
        except GatewayRefused as error:
            _refused(refund, error.message)
            return None
        except Exception as error:
            logger.exception("refund %s failed for a reason that nobody foresaw", refund.pk)
            refund.status, refund.last_error = RefundStatus.FAILED, unforeseen(error)
            _record(refund)
            return None
        refund.stripe_refund_id = remote.id
        if remote.status in ("failed", "canceled"):
            _refused(refund, f"Stripe could not pay it back: {remote.failure_reason or remote.status}.")
            return None
        refund.last_error, refund.failure_count = "", 0
        _record(refund)
        return remote if remote.status == "succeeded" else None


def sweep_refunds(*, at: datetime) -> int:
    """Queue the refunds whose next attempt is due, also while the bank works; returns how many."""
    pending = Refund.objects.filter(status=RefundStatus.PENDING, channel=SettlementChannel.STRIPE)
    return queue_due(waiting=pending, job=JOB, at=at)


@transaction.atomic
def retry_refunds(*, refund_ids: Sequence[int], at: datetime, actor: str, reason: str) -> list[Refund]:
    """Queue refunds again that failed, and return them; raises NotFound where none of them did. What Stripe has begun is found by its key."""
    assert actor and reason, "who tries it again, and why, is told beside it"
    failed = Refund.objects.select_for_update(of=("self",)).filter(pk__in=refund_ids, status=RefundStatus.FAILED)
    refunds = list(failed.select_related("note").order_by("id"))
    if not refunds:
        raise NotFound("none of them has failed", field="refund")
    for refund in refunds:
        refund.status, refund.failure_count, refund.next_attempt_at = RefundStatus.PENDING, 0, at + QUEUE_PATIENCE
        refund.last_error = TRIED_AGAIN.format(actor, reason, refund.last_error)
        _save(refund)
    queue_each(JOB, [refund.pk for refund in refunds])
    return refunds


def mark_paid(*, refund_id: int, channel: str, reference: str, paid_at: datetime, actor: str) -> tuple[Refund, bool]:
    """Write down that a refund was paid, and whether that is new; raises NotFound, and Conflict where it was paid otherwise."""
    assert connection.in_atomic_block, "it commits with its journal entry, or not at all"
    refund = Refund.objects.select_for_update(of=("self",)).select_related("note__invoice").filter(pk=refund_id).first()
    if refund is None:
        raise NotFound("there is no such refund", field="refund")
    if refund.status == RefundStatus.PAID:
        if (refund.channel, refund.reference) == (channel, reference):
            return refund, False
        raise Conflict(f"it was paid already: {refund.reference}", field="refund")
    if channel == SettlementChannel.MANUAL and refund.status == RefundStatus.PENDING and refund.channel != channel:
        raise Conflict("Stripe is paying it back: wait until it has, or has refused", field="refund")
    if channel == SettlementChannel.MANUAL and refund.status == RefundStatus.FAILED:
        message = "nobody knows whether Stripe has paid it back: try it again, Stripe pays or refuses it"
        raise Conflict(message, field="refund")
    if Refund.objects.filter(channel=channel, reference=reference, status=RefundStatus.PAID).exists():
        raise Conflict(f"{reference} is another refund already", field="reference")
    refund.status, refund.channel, refund.reference = RefundStatus.PAID, channel, reference
    refund.paid_at, refund.actor = paid_at, actor
    refund.save(update_fields=["status", "channel", "reference", "paid_at", "actor"])
    return refund, True


def _at_stripe(refund: Refund) -> RemoteRefund:
    """Return the refund at Stripe: as an earlier attempt left it, or new."""
    assert refund.payment is not None, "what Stripe pays back was paid through it"
    if refund.stripe_refund_id:
        return gateway.retrieve_refund(refund.stripe_refund_id)
    if refund.attempt_count > 1:
        known = gateway.find_refund(payment=refund.payment.reference, key=REFUND_METADATA, value=str(refund.key))
        if known is not None:
            return known
    return gateway.create_refund(
        payment=refund.payment.reference,
        amount=refund.amount,
        metadata={REFUND_METADATA: str(refund.key)},
        idempotency_key=f"{refund.key}:refund:{refund.key_round}",
    )


def _planned(note: CreditNote, amount: Money, *, channel: str, payment: Payment | None, at: datetime) -> Refund:
    return Refund.objects.create(
        note=note,
        payment=payment,
        channel=channel,
        currency=note.currency,
        amount=amount,
        planned_at=at,
        next_attempt_at=at + QUEUE_PATIENCE,
    )


def _refused(refund: Refund, why: str) -> None:
    logger.warning("refund %s of credit note %s was refused: %s", refund.pk, refund.note_id, why)
    refund.status, refund.last_error = RefundStatus.REFUSED, why
    _record(refund)


def _put_off(refund: Refund, error: GatewayUnavailable, *, at: datetime) -> None:
    """Let it come again when its time has come; what failed too often waits for people."""
    verdict = verdict_on(error, failure_count=refund.failure_count, at=at)
    refund.failure_count, refund.last_error = verdict.failure_count, verdict.cause
    refund.key_round += error.is_kept
    if verdict.is_given_up:
        logger.error("refund %s is given up: %s", refund.pk, error)
        refund.status = RefundStatus.FAILED
        _record(refund)
        return
    refund.next_attempt_at = verdict.next_attempt_at
    with transaction.atomic(durable=True):
        _save(refund)
        if is_quick(at=at, next_at=refund.next_attempt_at):
            queue_later(JOB, refund.pk, due_at=refund.next_attempt_at)


def _record(refund: Refund) -> None:
    """Commit what is known by now: we may be killed at the next call."""
    with transaction.atomic(durable=True):
        _save(refund)


def _save(refund: Refund) -> None:
    refund.save(
        update_fields=[
            "status",
            "attempt_count",
            "failure_count",
            "key_round",
            "next_attempt_at",
            "last_error",
            "stripe_refund_id",
        ]
    )
