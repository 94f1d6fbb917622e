"""Withdraw invoices at Stripe that are settled here another way: open there, they could be paid again (S1-036). Tried until Stripe has heard of it.

Where Stripe has received the money already, that is found, as if its news came now: two payments of one invoice are never silent.
"""

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from billing_site.kernel.errors import NotFound
from billing_site.kernel.jobs import queue, queue_each, queue_later
from invoicing.invoices.models import InvoiceStatus
from invoicing.payments import gateway
from invoicing.payments.breaker import outage_now
from invoicing.payments.due import queue_due
from invoicing.payments.intake import find_payment
from invoicing.payments.locks import only_worker
from invoicing.payments.models import PushIntent
from invoicing.payments.patience import (
    QUEUE_PATIENCE,
    TRIED_AGAIN,
    Verdict,
    database_may_be_away,
    is_quick,
    unforeseen,
    verdict_on,
)
from invoicing.payments.remote import GatewayRefused, GatewayUnavailable, RemoteInvoice
from invoicing.payments.withdrawal import VOIDED, WAS_VOID, Withdrawal, WithdrawalStatus

logger = logging.getLogger(__name__)

JOB = "invoicing.tasks.withdraw_invoice"
# Stripe's word for what it does not have.
MISSING = "resource_missing"


def plan_withdrawal(*, invoice_id: int, at: datetime) -> None:
    """Write down that Stripe is to hear what became of an invoice that was paid another way, is void or written off, and queue that."""
    assert connection.in_atomic_block, "it commits with what happened to the invoice, or not at all"
    for intent in PushIntent.objects.filter(invoice_id=invoice_id, stripe_invoice_id__isnull=False):
        _plan(intent, at=at)
        queue(JOB, intent.pk)


def withdraw_invoice(*, intent_id: int, at: datetime) -> Withdrawal:
    """Void an invoice at Stripe that is paid or void here, and mark one uncollectible that is written off; a draft, or what is closed there, is left as it is.

    Stripe would collect the whole total: what is written off and paid in part otherwise is void there. Returns the withdrawal as it is then;
    what Stripe cannot take now comes again, what it refuses, or failed too often, waits for people.
    """
    with only_worker(f"push of intent {intent_id}") as alone:
        withdrawal = _held(intent_id, at=at)
        if not alone or withdrawal.status != WithdrawalStatus.PLANNED or outage_now() is not None:
            # Whoever has it, or the sweep, goes on.
            return withdrawal
        withdrawal.attempt_count += 1
        _record(withdrawal, attempt_count=withdrawal.attempt_count, next_attempt_at=at + QUEUE_PATIENCE)
        try:
            with database_may_be_away():
                present, outcome = _withdrawn(withdrawal)
                _done(withdrawal, present, outcome, at=at)
        except GatewayUnavailable as error:
            _put_off(withdrawal, verdict_on(error, failure_count=withdrawal.failure_count, at=at), at=at)
        except GatewayRefused as error:
            logger.error("the withdrawal of %s was refused: %s", withdrawal.intent_id, error)
            _record(withdrawal, status=WithdrawalStatus.FAILED, last_error=error.message)
        except Exception as error:
            logger.exception("the withdrawal of %s failed for a reason that nobody foresaw", withdrawal.intent_id)
            _record(withdrawal, status=WithdrawalStatus.FAILED, last_error=unforeseen(error))
    return withdrawal


def sweep_withdrawals(*, at: datetime) -> int:
    """Queue the withdrawals whose next attempt is due; returns how many."""
    return queue_due(waiting=Withdrawal.objects.filter(status=WithdrawalStatus.PLANNED), job=JOB, at=at)


@transaction.atomic
def retry_withdrawals(*, intent_ids: Sequence[int], at: datetime, actor: str, reason: str) -> int:
    """Queue those again that failed; returns how many. Raises NotFound where none of them did."""
    assert actor and reason, "who tries it again, and why, is told beside it"
    failed = Withdrawal.objects.select_for_update().filter(pk__in=intent_ids, status=WithdrawalStatus.FAILED)
    rows = list(failed.order_by("pk"))
    if not rows:
        raise NotFound("none of them has failed", field="withdrawal")
    for row in rows:
        row.status, row.failure_count, row.next_attempt_at = WithdrawalStatus.PLANNED, 0, at + QUEUE_PATIENCE
        row.last_error = TRIED_AGAIN.format(actor, reason, row.last_error)
        row.save(update_fields=["status", "failure_count", "next_attempt_at", "last_error"])
    queue_each(JOB, [row.pk for row in rows])
    return len(rows)


def _plan(intent: PushIntent, *, at: datetime) -> None:
    fresh = {
        "status": WithdrawalStatus.PLANNED,
        "outcome": "",
        "failure_count": 0,
        "last_error": "",
        "next_attempt_at": at + QUEUE_PATIENCE,
        "planned_at": at,
        "done_at": None,
    }
    Withdrawal.objects.update_or_create(intent=intent, defaults=fresh)


def _held(intent_id: int, *, at: datetime) -> Withdrawal:
    rows = Withdrawal.objects.select_related("intent__invoice")
    withdrawal = rows.filter(pk=intent_id).first()
    if withdrawal is None:
        # A job that was queued before withdrawals were written down.
        with transaction.atomic():
            _plan(PushIntent.objects.get(pk=intent_id), at=at)
        withdrawal = rows.get(pk=intent_id)
    return withdrawal


def _withdrawn(withdrawal: Withdrawal) -> tuple[RemoteInvoice | None, str]:
    """Return the invoice as it is at Stripe then, None where it is gone, and in words what was done or found there."""
    intent = withdrawal.intent
    invoice = intent.invoice
    assert intent.stripe_invoice_id, "there is nothing at Stripe to withdraw"
    try:
        present = gateway.retrieve_invoice(intent.stripe_invoice_id)
    except GatewayRefused as error:
        if error.code != MISSING:
            raise
        # A draft that somebody deleted there.
        return None, "Stripe does not have it any more"
    if present.status == "void":
        return present, WAS_VOID
    if present.status not in ("open", "uncollectible"):
        return present, f"it was {present.status} at Stripe"
    if invoice.status == InvoiceStatus.ISSUED:
        return present, "it is expected again: it stays at Stripe as it is"
    # Whatever was done before is seen in its state: each attempt has a key of its own, so that no kept failure stands in the way.
    key = f"{intent.key}:withdrawal:{withdrawal.planned_at.timestamp()}:{withdrawal.attempt_count}"
    if invoice.status == InvoiceStatus.WRITTEN_OFF and invoice.amount_unpaid == invoice.total:
        if present.status == "uncollectible":
            return present, "it was uncollectible at Stripe"
        return gateway.mark_uncollectible(invoice=present.id, idempotency_key=key), "marked uncollectible at Stripe"
    return gateway.void_invoice(invoice=present.id, idempotency_key=key), VOIDED


def _done(withdrawal: Withdrawal, present: RemoteInvoice | None, outcome: str, *, at: datetime) -> None:
    with transaction.atomic(durable=True):
        if present is not None and present.status == "paid":
            find_payment(invoice=present.id, at=at)
        done = {"status": WithdrawalStatus.DONE, "outcome": outcome[:300], "done_at": at, "last_error": ""}
        _change(withdrawal, **done, failure_count=0)


def _put_off(withdrawal: Withdrawal, verdict: Verdict, *, at: datetime) -> None:
    logger.warning("the withdrawal of %s has to wait: %s", withdrawal.intent_id, verdict.cause)
    changes: dict[str, Any] = {"failure_count": verdict.failure_count, "last_error": verdict.cause}
    if verdict.is_given_up:
        _record(withdrawal, status=WithdrawalStatus.FAILED, **changes)
        return
    with transaction.atomic(durable=True):
        _change(withdrawal, next_attempt_at=verdict.next_attempt_at, **changes)
        if is_quick(at=at, next_at=verdict.next_attempt_at):
            queue_later(JOB, withdrawal.pk, due_at=verdict.next_attempt_at)


def _record(withdrawal: Withdrawal, **changes: Any) -> None:
    """Commit what is known by now: we may be killed at the next call."""
    with transaction.atomic(durable=True):
        _change(withdrawal, **changes)


def _change(withdrawal: Withdrawal, **changes: Any) -> None:
    """Write it down, unless it was planned anew meanwhile: then that goes on."""
    Withdrawal.objects.filter(
        pk=withdrawal.pk, planned_at=withdrawal.planned_at, status=WithdrawalStatus.PLANNED
    ).update(**changes)
    for name, value in changes.items():
        setattr(withdrawal, name, value)
