"""Charge an invoice that is open at Stripe once more: planned in a transaction, done by a job, each attempt with a key of its own."""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from billing_site.kernel.errors import NotFound
from billing_site.kernel.jobs import queue, queue_each
from invoicing.invoices.models import Invoice
from invoicing.payments import gateway
from invoicing.payments.breaker import outage_now
from invoicing.payments.charge_attempt import ChargeAttempt, ChargeStatus
from invoicing.payments.disputes import is_frozen
from invoicing.payments.due import queue_due
from invoicing.payments.locks import only_worker
from invoicing.payments.models import PaymentFailure, PushIntent, PushStatus
from invoicing.payments.operations import record_failure
from invoicing.payments.patience import (
    QUEUE_PATIENCE,
    TRIED_AGAIN,
    database_may_be_away,
    next_attempt_after,
    unforeseen,
    verdict_on,
)
from invoicing.payments.push import refuse_unless_owed
from invoicing.payments.remote import CardDeclined, GatewayRefused, GatewayUnavailable
from invoicing.payments.told import told_customer
from invoicing.payments.under_way import note_under_way

logger = logging.getLogger(__name__)

# Whoever asks for attempts knows what speaks against one when its time has come.
JOB = "dunning.tasks.charge_again"
LOOK_JOB = "invoicing.tasks.follow_invoice"
UNDER_WAY = "a payment is under way at Stripe: what became of it is told later"


def plan_charge(*, invoice: Invoice, reference: str, at: datetime, actor: str, reason: str) -> ChargeAttempt | None:
    """Plan to charge an invoice again and queue that, in the caller's transaction; once per reference: the same again is the first.

    None where the invoice is not at Stripe, or is not charged there.
    """
    assert connection.in_atomic_block, "the attempt commits with what asks for it, or not at all"
    if not PushIntent.objects.filter(invoice=invoice, status=PushStatus.PUSHED).exists():
        return None
    attempt, created = ChargeAttempt.objects.get_or_create(
        reference=reference,
        defaults={
            "invoice": invoice,
            "planned_at": at,
            "next_attempt_at": at + QUEUE_PATIENCE,
            "actor": actor,
            "reason": reason[:300],
        },
    )
    if created:
        queue(JOB, attempt.pk)
    return attempt


def nothing_against(invoice: Invoice) -> str:
    """Return what speaks against charging an invoice now: nothing."""
    return ""


def charge_again(
    *, attempt_id: int, at: datetime, against: Callable[[Invoice], str] = nothing_against
) -> ChargeAttempt:
    """Charge what was planned, unless it is paid, withdrawn, or cannot be charged by now, or another attempt came first; returns the attempt as it is then.

    While `against` tells a reason not to, or a payment of the customer is disputed, it stays planned.
    The invoice is read again here and at Stripe right before. Raises GatewayUnavailable while a worker is pushing it.
    """
    attempt = ChargeAttempt.objects.select_related("invoice__customer").get(pk=attempt_id)
    intent = PushIntent.objects.select_related("invoice__customer").get(invoice=attempt.invoice_id)
    # Whoever pushes the invoice, or withdraws it, holds the same lock.
    with only_worker(f"push of intent {intent.pk}") as alone:
        if not alone:
            raise GatewayUnavailable("The invoice is being pushed at this moment.")
        attempt.refresh_from_db(fields=["status", "attempt_count", "failure_count", "key_round"])
        if attempt.status != ChargeStatus.PLANNED or outage_now() is not None:
            return attempt
        reason = against(attempt.invoice) or _frozen(attempt)
        if reason:
            _record(attempt, outcome=reason[:500])
            return attempt
        count = attempt.attempt_count + 1
        _record(attempt, attempt_count=count, next_attempt_at=next_attempt_after(attempt_count=count, at=at))
        try:
            with database_may_be_away():
                status, outcome = _charge(attempt, intent, at=at)
        except GatewayUnavailable as error:
            _put_off(attempt, error, at=at)
            return attempt
        except GatewayRefused as error:
            status, outcome = ChargeStatus.DROPPED, error.message
        except Exception as error:
            logger.exception("charge %s failed for a reason that nobody foresaw", attempt.reference)
            status, outcome = ChargeStatus.FAILED, unforeseen(error)
        _record(attempt, status=status, outcome=outcome[:500], done_at=at)
    return attempt


def is_being_charged(*, invoice_id: int) -> bool:
    """Say whether we are charging an invoice at this moment: news of it may come before our own record."""
    return ChargeAttempt.objects.filter(invoice=invoice_id, status=ChargeStatus.PLANNED, attempt_count__gt=0).exists()


def sweep_charges(*, at: datetime) -> int:
    """Queue the attempts whose next try is due; returns how many."""
    return queue_due(waiting=ChargeAttempt.objects.filter(status=ChargeStatus.PLANNED), job=JOB, at=at)


@transaction.atomic
def retry_charges(*, attempt_ids: Sequence[int], at: datetime, actor: str, reason: str) -> list[ChargeAttempt]:
    """Queue attempts again that failed, and return them; raises NotFound where none of them did. The invoice is read again right before."""
    assert actor and reason, "who tries it again, and why, is told beside it"
    rows = ChargeAttempt.objects.select_for_update(of=("self",))
    attempts = list(
        rows.filter(pk__in=attempt_ids, status=ChargeStatus.FAILED).select_related("invoice").order_by("id")
    )
    if not attempts:
        raise NotFound("none of them has failed", field="charge")
    for attempt in attempts:
        attempt.status, attempt.done_at, attempt.failure_count = ChargeStatus.PLANNED, None, 0
        attempt.next_attempt_at = at + QUEUE_PATIENCE
        attempt.outcome = TRIED_AGAIN.format(actor, reason, attempt.outcome)[:500]
        attempt.save(update_fields=["status", "done_at", "failure_count", "next_attempt_at", "outcome"])
    queue_each(JOB, [attempt.pk for attempt in attempts])
    return attempts


def _put_off(attempt: ChargeAttempt, error: GatewayUnavailable, *, at: datetime) -> None:
    """Let it come again when its time has come; what failed too often waits for people."""
    logger.warning("charge %s has to wait: %s", attempt.reference, error)
    verdict = verdict_on(error, failure_count=attempt.failure_count, at=at)
    changes: dict[str, Any] = {
        "failure_count": verdict.failure_count,
        "key_round": attempt.key_round + error.is_kept,
        "outcome": verdict.cause[:500],
    }
    if verdict.is_given_up:
        changes |= {"status": ChargeStatus.FAILED, "done_at": at}
    else:
        changes["next_attempt_at"] = verdict.next_attempt_at
    _record(attempt, **changes)


def _charge(attempt: ChargeAttempt, intent: PushIntent, *, at: datetime) -> tuple[str, str]:
    assert intent.stripe_invoice_id, "what was pushed is at Stripe"
    present = gateway.retrieve_invoice(intent.stripe_invoice_id)
    note_under_way(present=present, invoice_id=attempt.invoice_id, at=at)
    if present.status == "paid":
        queue(LOOK_JOB, intent.pk)
        return ChargeStatus.DROPPED, "it is paid at Stripe already"
    if present.is_under_way:
        return ChargeStatus.DROPPED, UNDER_WAY
    if _came_first(attempt):
        return ChargeStatus.DROPPED, "it was charged another time since this was planned"
    refuse_unless_owed(attempt.invoice_id)
    if present.status != "open":
        return ChargeStatus.DROPPED, f"it is {present.status} at Stripe"
    if not told_customer(intent, at=at, key_round=attempt.key_round).payment_method:
        return ChargeStatus.DROPPED, "there is no means of payment that could be charged"
    try:
        present = gateway.pay_invoice(invoice=present.id, idempotency_key=f"{attempt.key}:{attempt.key_round}:pay")
    except CardDeclined as declined:
        code = declined.decline_code or declined.code
        reference = gateway.retrieve_invoice(present.id).payment_reference
        if (
            not reference
            or PaymentFailure.objects.filter(reference=reference, occurred_at__lt=attempt.planned_at).exists()
        ):
            # Stripe tells no charge of its own for this attempt.
            reference = f"{attempt.key}:pay"
        record_failure(
            invoice_id=attempt.invoice_id, reference=reference, code=code, message=declined.message, occurred_at=at
        )
        return ChargeStatus.REFUSED, f"{code}: {declined.message}"
    note_under_way(present=present, invoice_id=attempt.invoice_id, at=at)
    queue(LOOK_JOB, intent.pk)
    return ChargeStatus.PAID, UNDER_WAY if present.is_under_way else "the bank has accepted the charge"


def _frozen(attempt: ChargeAttempt) -> str:
    is_disputed = is_frozen(customer_id=attempt.invoice.customer_id)
    return (
        "a payment of this customer is disputed: its card is not charged until that is decided" if is_disputed else ""
    )


def _came_first(attempt: ChargeAttempt) -> bool:
    """Say whether the same invoice was charged by another attempt since this one was planned: one refusal is not charged twice."""
    others = ChargeAttempt.objects.filter(invoice=attempt.invoice_id).exclude(pk=attempt.pk)
    return others.filter(status__in=(ChargeStatus.REFUSED, ChargeStatus.PAID), done_at__gte=attempt.planned_at).exists()


def _record(attempt: ChargeAttempt, **changes: object) -> None:
    """Commit what is known by now: we may be killed at the next call."""
    with transaction.atomic(durable=True):
        ChargeAttempt.objects.filter(pk=attempt.pk, status=ChargeStatus.PLANNED).update(**changes)
    for name, value in changes.items():
        setattr(attempt, name, value)
