"""Push issued invoices to Stripe: from an intent row, one worker at a time, exactly once however often it is tried.

Three things keep an invoice from being there twice. The intent's key is in the idempotency key of every
call, so a call that is repeated gets its first answer (`rounds`). Where that key is of no use any more, what was
begun before is looked up before it is created: the customer and the invoice by metadata, the lines by the draft's
total, because they are added all at once. And our number is on the invoice, which Stripe accepts only once.

Two workers never push one invoice at the same moment (S3-035): a worker holds a session advisory lock of
PostgreSQL, which needs no open transaction during the calls and goes with the worker when it is killed.
Behind a connection pooler that is a pooler of sessions, not of transactions.
"""

import logging
import time as clock
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Case, F, TextField, Value, When
from django.db.models.functions import Concat
from moneyed import Money

from billing_site.kernel.errors import Conflict, NotFound
from billing_site.kernel.jobs import queue, queue_each, queue_later
from invoicing.core.invoice_life import stage_words
from invoicing.customers.models import SettlementChannel
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.payments import gateway, rounds
from invoicing.payments.attempts import (
    Outcome,
    Step,
    record_attempt,
    record_decisions,
    record_interruption,
)
from invoicing.payments.breaker import outage_now
from invoicing.payments.calls import CallLog, logged_calls
from invoicing.payments.disputes import is_frozen
from invoicing.payments.due import queue_due
from invoicing.payments.locks import only_worker
from invoicing.payments.models import FAILED_STATUSES, PushIntent, PushStatus, StripeCustomer
from invoicing.payments.operations import record_failure
from invoicing.payments.pace import urgently
from invoicing.payments.patience import (
    GIVEN_UP,
    QUEUE_PATIENCE,
    database_may_be_away,
    is_given_up,
    is_quick,
    next_attempt_after,
    unforeseen,
    with_jitter,
)
from invoicing.payments.remote import (
    CardDeclined,
    GatewayRefused,
    GatewayUnavailable,
    NotNow,
    RemoteInvoice,
)
from invoicing.payments.told import new_lines, told_customer
from invoicing.payments.under_way import note_under_way

logger = logging.getLogger(__name__)

JOB = "invoicing.tasks.push_invoice"
# The metadata by which an invoice at Stripe is known to be ours, and which one.
INTENT_METADATA = "push_intent"
# By so much Stripe's clock may differ from ours where we look for what was made since.
CLOCKS_APART = timedelta(hours=1)
# Whose payment is disputed is not charged by itself (S0-047); that it is over is heard of at once, `wake_pushes`.
FROZEN = "A payment of this customer is disputed: its card is not charged until that is decided, or somebody lifts it."
FROZEN_SECONDS = 6 * 3600
# What people can do about the refusals that they will meet, by Stripe's error code.
HINTS = {
    "amount_not_representable": "Stripe cannot charge this amount; settle the invoice by bank transfer.",
    "amount_too_small": "Stripe does not charge so little; settle the invoice by bank transfer.",
    "resource_missing": "Correct the customer's payment method, then send it again.",
    "total_differs": "Correct the draft at Stripe or delete it there, then send it again.",
}


def plan_pushes(*, invoices: Sequence[Invoice]) -> None:
    """Write the intents to push issued invoices and queue their jobs, in the transaction that issues; once per invoice.

    The number of queries does not grow with the invoices.
    """
    assert connection.in_atomic_block, "the intents commit with the issue, or not at all"
    intents = []
    for invoice in invoices:
        assert invoice.status == InvoiceStatus.ISSUED and invoice.issued_at, "only an issued invoice is pushed"
        assert invoice.settlement_channel == SettlementChannel.STRIPE, "the customer does not pay through Stripe"
        assert invoice.total.amount > 0, "there is nothing to collect"
        due_at = invoice.issued_at + QUEUE_PATIENCE
        intents.append(PushIntent(invoice=invoice, is_urgent=is_urgent(invoice.total), next_attempt_at=due_at))
    planned = PushIntent.objects.bulk_create(intents)
    queue_each(JOB, [intent.pk for intent in sorted(planned, key=lambda intent: not intent.is_urgent)])


def is_urgent(amount: Money) -> bool:
    """Say whether so much goes to Stripe before all others (S3-058)."""
    least = settings.STRIPE_URGENT_AMOUNTS.get(amount.currency.code)
    return least is not None and amount.amount >= least


def next_urgent_push(*, besides: int) -> int | None:
    """Return the oldest push that nobody has begun although it goes before all others: its job waits behind theirs."""
    new = PushIntent.objects.filter(status=PushStatus.PENDING, is_urgent=True, attempt_count=0)
    return new.exclude(pk=besides).order_by("id").values_list("id", flat=True).first()


def push_invoice(*, intent_id: int, at: datetime) -> PushIntent:
    """Bring an invoice to Stripe as far as it will go now, and return the intent as it is then.

    Does nothing if it is done, refused, or in another worker's hands. Each step is recorded as soon as
    it is known. Ends as pushed (a declined card is recorded beside it), as refused with the reason in
    words, or stays pending with the time of the next attempt.
    """
    with only_worker(f"push of intent {intent_id}") as alone:
        intent = PushIntent.objects.select_related("invoice__customer").get(pk=intent_id)
        if not alone or intent.status != PushStatus.PENDING:
            return intent
        if outage_now() is not None:
            # It has not begun: it is no attempt, and the end of the outage lets it have its turn.
            return intent
        record_interruption(intent=intent)
        _record(intent, attempt_count=intent.attempt_count + 1, began_at=at, next_attempt_at=at + QUEUE_PATIENCE)
        with urgently(intent.is_urgent), logged_calls() as log:
            _attempt(intent, log, at=at)
    return intent


def _attempt(intent: PushIntent, log: CallLog, *, at: datetime) -> None:
    """Try once, and keep what became of it in one transaction with when it comes again."""
    began = clock.monotonic()

    def ended() -> timedelta:
        return timedelta(seconds=clock.monotonic() - began)

    try:
        with database_may_be_away():
            _push(intent, log, at=at)
    except NotNow as error:
        later = at + ended() + with_jitter(timedelta(seconds=error.retry_after_seconds or 1))
        changes = {"last_error": error.message, "next_attempt_at": later}
        _end(intent, log, at=at, duration=ended(), outcome=Outcome.NOT_NOW, cause=error.message, **changes)
    except GatewayUnavailable as error:
        # Read again: somebody may have sent it again meanwhile, and begins to count anew.
        intent.refresh_from_db(fields=["failure_count"])
        failures = intent.failure_count + 1
        changes = {"last_error": error.message, "failure_count": failures}
        if error.is_kept:
            changes["told"] = rounds.spent(intent, at=at)
        outcome = Outcome.FAILED
        if is_given_up(attempt_count=failures):
            outcome = Outcome.GIVEN_UP
            changes |= {"status": PushStatus.FAILED, "last_error": GIVEN_UP.format(failures, error.message)}
            logger.error("push of %s is given up: %s", intent.invoice.number, error)
        else:
            asked = error.retry_after_seconds
            later = next_attempt_after(attempt_count=failures, at=at + ended(), asked_seconds=asked)
            changes["next_attempt_at"] = later
            logger.warning("push of %s has to wait until %s: %s", intent.invoice.number, later, error)
        _end(intent, log, at=at, duration=ended(), outcome=outcome, cause=error.message, **changes)
    except GatewayRefused as error:
        logger.error("push of %s was refused: %s", intent.invoice.number, error)
        changes = {"status": PushStatus.REFUSED, "last_error": in_words(error)}
        _end(intent, log, at=at, duration=ended(), outcome=Outcome.REFUSED, cause=in_words(error), **changes)
    except Exception as error:
        logger.exception("push of %s failed for a reason that nobody foresaw", intent.invoice.number)
        told = unforeseen(error)
        changes = {"status": PushStatus.FAILED, "last_error": told, "failure_count": intent.failure_count + 1}
        _end(intent, log, at=at, duration=ended(), outcome=Outcome.GIVEN_UP, cause=told, **changes)
    else:
        log.step = Step.DONE
        changes = {"status": PushStatus.PUSHED, "pushed_at": at, "last_error": "", "failure_count": 0}
        changes["hosted_url"] = intent.hosted_url
        _end(intent, log, at=at, duration=ended(), outcome=Outcome.PUSHED, cause="", **changes)


def _end(
    intent: PushIntent,
    log: CallLog,
    *,
    at: datetime,
    duration: timedelta,
    outcome: Outcome,
    cause: str,
    **changes: Any,
) -> None:
    with transaction.atomic(durable=True):
        record_attempt(intent=intent, at=at, duration=duration, log=log, outcome=outcome, cause=cause)
        _change(intent, **changes)
        later = intent.next_attempt_at
        if intent.status == PushStatus.PENDING and is_quick(at=at + duration, next_at=later):
            queue_later(JOB, intent.pk, due_at=later)


@transaction.atomic
def retry_push(*, intent_id: int, at: datetime, actor: str, reason: str) -> PushIntent:
    """Queue a push again that failed, or waits after a failure; raises NotFound, and Conflict for any other.

    One that was refused gets fresh idempotency keys; one that Stripe could not take keeps them: an answer may have been lost.
    """
    assert actor and reason, "who sends it again, and why, is told beside it"
    intent = PushIntent.objects.select_for_update().filter(pk=intent_id).first()
    if intent is None:
        raise NotFound("there is no such push", field="push")
    if intent.status not in FAILED_STATUSES and not (intent.status == PushStatus.PENDING and intent.last_error):
        raise Conflict(
            f"the push of {intent.invoice} is {intent.status}: only a refused one, or one that failed, is sent again",
            field="status",
        )
    if intent.status == PushStatus.REFUSED:
        # The keys of the round before would get the same refusal again. The id stays: what is open there is found, and withdrawn, by it.
        intent.retry_count += 1
    record_decisions(intents=[intent], at=at, actor=actor, reason=reason)
    intent.status, intent.failure_count = PushStatus.PENDING, 0
    intent.next_attempt_at = at + QUEUE_PATIENCE
    intent.last_error = f"Sent again by {actor}: {reason}. Before that: {intent.last_error}"
    intent.save(update_fields=["status", "retry_count", "failure_count", "next_attempt_at", "last_error"])
    queue(JOB, intent.pk)
    return intent


@transaction.atomic
def retry_pushes(*, intent_ids: Sequence[int], at: datetime, actor: str, reason: str) -> list[PushIntent]:
    """Queue many again, the urgent ones first, and return them as they were; who was sent again meanwhile is left as it is.

    The number of queries does not grow with them.
    """
    assert actor and reason, "who sends them again, and why, is told beside them"
    failed = PushIntent.objects.select_for_update(of=("self",)).filter(pk__in=intent_ids, status__in=FAILED_STATUSES)
    waiting = list(failed.select_related("invoice").order_by("-is_urgent", "id"))
    record_decisions(intents=waiting, at=at, actor=actor, reason=reason)
    keys = [intent.pk for intent in waiting]
    told = Value(f"Sent again by {actor}: {reason}. Before that: ", output_field=TextField())
    PushIntent.objects.filter(pk__in=keys).update(
        # Of a refused one, as `retry_push` says.
        retry_count=F("retry_count") + Case(When(status=PushStatus.REFUSED, then=1), default=0),
        status=PushStatus.PENDING,
        failure_count=0,
        next_attempt_at=at + QUEUE_PATIENCE,
        last_error=Concat(told, F("last_error")),
    )
    queue_each(JOB, keys)
    return waiting


def sweep_pushes(*, at: datetime) -> int:
    """Queue the pushes whose next attempt is due, the urgent ones first; returns how many."""
    pending = PushIntent.objects.filter(status=PushStatus.PENDING)
    return queue_due(waiting=pending, job=JOB, at=at, first=("-is_urgent",))


def _push(intent: PushIntent, log: CallLog, *, at: datetime) -> None:
    log.step = Step.CUSTOMER
    customer = told_customer(intent, at=at, key_round=rounds.round_of(intent, at=at))
    log.step = Step.INVOICE
    remote = _begun_invoice(intent, customer, at=at)
    if remote.status == "draft":
        refuse_unless_owed(intent.invoice_id)
        if remote.total == Money(0, remote.currency):
            log.step = Step.LINES
            lines = new_lines(intent.invoice)
            remote = gateway.add_invoice_lines(invoice=remote.id, lines=lines, idempotency_key=_key(intent, "lines"))
        log.step = Step.FINALIZE
        # The gateway compares totals and currency first, and finalises nothing that differs (see peers.md 25).
        remote = gateway.finalize_invoice(
            present=remote, expected_total=intent.invoice.total, idempotency_key=_key(intent, "finalize")
        )
    if remote.status not in ("open", "paid"):
        raise GatewayRefused(f"The invoice is {remote.status} at Stripe ({remote.id}).")
    if remote.total != intent.invoice.total:
        message = f"Stripe's invoice says {remote.total}, ours {intent.invoice.total}; nothing was charged."
        raise GatewayRefused(message, param="total", code="total_differs")
    intent.hosted_url = remote.hosted_url[:1000]
    log.step = Step.PAY
    if remote.status == "open" and customer.payment_method:
        if is_frozen(customer_id=intent.invoice.customer_id):
            # It is there to be paid by whoever wants to; the next attempt charges it, unless it was paid by then.
            raise NotNow(FROZEN, retry_after_seconds=FROZEN_SECONDS)
        _collect(intent, remote, at=at)


def refuse_unless_owed(invoice_id: int) -> None:
    """Refuse where the total is not, or no longer, what the customer owes: it would be charged all the same."""
    invoice = Invoice.objects.get(pk=invoice_id)
    if invoice.status != InvoiceStatus.ISSUED:
        raise GatewayRefused(f"The invoice is {stage_words(invoice.status)} here: there is nothing to collect.")
    if invoice.amount_paid.amount > 0:
        raise GatewayRefused(f"{invoice.amount_paid} was paid already: Stripe would collect the whole total again.")
    if invoice.amount_credited.amount > 0:
        raise GatewayRefused(f"{invoice.amount_credited} was credited: Stripe would collect the whole total.")


def _begun_invoice(intent: PushIntent, customer: StripeCustomer, *, at: datetime) -> RemoteInvoice:
    """Return the invoice at Stripe as an earlier attempt left it, or a new draft.

    Within a round the same call again brings back what was made; where that is over it is looked up.
    """
    goes_on = rounds.goes_on(intent, at=at)
    if not goes_on:
        _record(intent, told=rounds.new_round(intent, customer=customer, at=at))
    if intent.stripe_invoice_id:
        try:
            return gateway.retrieve_invoice(intent.stripe_invoice_id)
        except GatewayRefused as error:
            # A draft that was deleted there is begun anew once somebody has sent it again: the keys of this round would bring the old one back.
            if error.code != "resource_missing" or not intent.retry_count:
                raise
    begun = [] if goes_on or intent.attempt_count == 1 else _found(intent, customer)
    remote = begun[0] if begun else _new_invoice(intent)
    _record(intent, stripe_invoice_id=remote.id)
    return remote


def _found(intent: PushIntent, customer: StripeCustomer) -> list[RemoteInvoice]:
    return gateway.find_invoices_by_metadata(
        customer=customer.stripe_id,
        key=INTENT_METADATA,
        value=str(intent.key),
        made_since=intent.created_at - CLOCKS_APART,
    )


def _new_invoice(intent: PushIntent) -> RemoteInvoice:
    invoice = intent.invoice
    assert invoice.number, "an issued invoice has a number"
    refuse_unless_owed(invoice.pk)
    return gateway.create_invoice(
        customer=intent.told["customer"],
        currency=invoice.currency,
        number=invoice.number,
        metadata={INTENT_METADATA: str(intent.key), "customer": invoice.customer.key},
        due_at=rounds.due_at_of(intent.told),
        idempotency_key=_key(intent, "invoice"),
    )


def _collect(intent: PushIntent, remote: RemoteInvoice, *, at: datetime) -> None:
    """Charge the customer's payment method; a refusal is recorded under the attempt that the webhook will name too."""
    refuse_unless_owed(intent.invoice_id)
    try:
        present = gateway.pay_invoice(invoice=remote.id, idempotency_key=_key(intent, "pay"))
        note_under_way(present=present, invoice_id=intent.invoice_id, at=at)
    except CardDeclined as declined:
        present = gateway.retrieve_invoice(remote.id)
        record_failure(
            invoice_id=intent.invoice_id,
            reference=present.payment_reference or f"{intent.key}:pay",
            code=declined.decline_code or declined.code,
            message=declined.message,
            occurred_at=at,
        )


def _key(intent: PushIntent, step: str) -> str:
    return rounds.key_of(intent, step=step)


def in_words(error: GatewayRefused) -> str:
    """Return what Stripe said, and as a sentence of its own what people can do about it."""
    hint = HINTS.get(error.code, "")
    if hint and not error.message.endswith((".", "!", "?")):
        return f"{error.message}. {hint}"
    return " ".join(filter(None, (error.message, hint)))


def _record(intent: PushIntent, **changes: Any) -> None:
    """Commit what is known by now; inside of somebody else's transaction it would not be on record when we are killed."""
    with transaction.atomic(durable=True):
        _change(intent, **changes)


def _change(intent: PushIntent, **changes: Any) -> None:
    changed = PushIntent.objects.filter(pk=intent.pk, status=PushStatus.PENDING).update(**changes)
    assert changed == 1, "only the worker with the lock changes a pending push"
    for name, changed_to in changes.items():
        setattr(intent, name, changed_to)
