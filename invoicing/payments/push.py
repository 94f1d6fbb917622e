"""Push issued invoices to Stripe: from an intent row, one worker at a time, exactly once however often it is tried.

Three things keep an invoice from being there twice. The intent's key is in the idempotency key of every
call, so a call that is repeated gets its first answer. Whatever was begun before is looked up before it
is created: the customer and the invoice by metadata (Stripe forgets idempotency keys after a day), the
lines by the draft's total, because they are added all at once. And our number is on the invoice, which
Stripe accepts only once.

Two workers never push one invoice at the same moment (S3-035): a worker holds a session advisory lock of
PostgreSQL, which needs no open transaction during the calls and goes with the worker when it is killed.
Behind a connection pooler that is a pooler of sessions, not of transactions.
"""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.db import connection, transaction
from moneyed import Money

from billing_site.kernel.digest import digest_of
from billing_site.kernel.errors import Conflict, NotFound
from billing_site.kernel.jobs import queue, queue_each
from billing_site.kernel.period import Period, as_utc
from invoicing.core.invoice_life import stage_words
from invoicing.customers.models import Customer, SettlementChannel
from invoicing.invoices.consumers import account_of, with_consumers
from invoicing.invoices.models import STATED, Invoice, InvoiceKind, InvoiceLine, InvoiceStatus
from invoicing.invoices.taxes import tax_sums
from invoicing.payments import gateway
from invoicing.payments.disputes import is_frozen
from invoicing.payments.locks import only_worker
from invoicing.payments.models import PushIntent, PushStatus, StripeCustomer
from invoicing.payments.operations import record_failure
from invoicing.payments.patience import QUEUE_PATIENCE, SWEEP_MAX, next_attempt_after
from invoicing.payments.remote import CardDeclined, GatewayRefused, GatewayUnavailable, NewLine, RemoteInvoice

logger = logging.getLogger(__name__)

JOB = "invoicing.tasks.push_invoice"
WITHDRAWAL_JOB = "invoicing.tasks.withdraw_invoice"
# The metadata by which an invoice at Stripe is known to be ours, and which one.
# Of a line at Stripe.
DESCRIPTION_MAX = 500
INTENT_METADATA = "push_intent"
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
        intents.append(PushIntent(invoice=invoice, next_attempt_at=invoice.issued_at + QUEUE_PATIENCE))
    planned = PushIntent.objects.bulk_create(intents)
    queue_each(JOB, [intent.pk for intent in planned])


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
        attempt = intent.attempt_count + 1
        _record(intent, attempt_count=attempt, next_attempt_at=next_attempt_after(attempt_count=attempt, at=at))
        try:
            _push(intent, at=at)
        except GatewayUnavailable as error:
            later = next_attempt_after(attempt_count=attempt, at=at, asked_seconds=error.retry_after_seconds)
            logger.warning("push of %s has to wait until %s: %s", intent.invoice.number, later, error)
            _record(intent, last_error=error.message, next_attempt_at=later)
        except GatewayRefused as error:
            logger.error("push of %s was refused: %s", intent.invoice.number, error)
            _record(intent, status=PushStatus.REFUSED, last_error=_in_words(error))
    return intent


@transaction.atomic
def retry_push(*, intent_id: int, at: datetime, actor: str, reason: str) -> PushIntent:
    """Queue a refused push again with fresh idempotency keys; raises NotFound, and Conflict for one that is not refused."""
    assert actor and reason, "who sends it again, and why, is told beside it"
    intent = PushIntent.objects.select_for_update().filter(pk=intent_id).first()
    if intent is None:
        raise NotFound("there is no such push", field="push")
    if intent.status != PushStatus.REFUSED:
        raise Conflict(
            f"the push of {intent.invoice} is {intent.status}: only a refused one is sent again", field="status"
        )
    intent.status = PushStatus.PENDING
    # The keys of the round before would get the same refusal again; the draft may have been deleted since.
    intent.retry_count += 1
    intent.stripe_invoice_id = None
    intent.next_attempt_at = at + QUEUE_PATIENCE
    intent.last_error = f"Sent again by {actor}: {reason}. Before that: {intent.last_error}"
    intent.save(update_fields=["status", "retry_count", "stripe_invoice_id", "next_attempt_at", "last_error"])
    queue(JOB, intent.pk)
    return intent


@transaction.atomic
def sweep_pushes(*, at: datetime) -> int:
    """Queue the pushes whose next attempt is due: after a failure, a killed worker, a lost job; returns how many."""
    due = list(
        PushIntent.objects.select_for_update(skip_locked=True)
        .filter(status=PushStatus.PENDING, next_attempt_at__lte=at)
        .order_by("next_attempt_at", "id")
        .values_list("id", flat=True)[:SWEEP_MAX]
    )
    queue_each(JOB, due)
    PushIntent.objects.filter(pk__in=due).update(next_attempt_at=at + QUEUE_PATIENCE)
    return len(due)


def plan_withdrawal(*, invoice_id: int) -> None:
    """Queue that Stripe hears what became of an invoice that was paid another way, is void (open there, it could be paid again: S1-036) or written off."""
    assert connection.in_atomic_block, "the job commits with what happened to the invoice, or not at all"
    for intent in PushIntent.objects.filter(invoice_id=invoice_id, stripe_invoice_id__isnull=False):
        queue(WITHDRAWAL_JOB, intent.pk)


def withdraw_invoice(*, intent_id: int) -> RemoteInvoice:
    """Void an invoice at Stripe that is paid or void here, and mark one uncollectible that is written off; a draft, or what is closed there, is left as it is.

    Stripe would collect the whole total: what is written off and paid in part otherwise is void there.

    Raises GatewayUnavailable, also while a worker is pushing it: the job has to come again.
    """
    with only_worker(f"push of intent {intent_id}") as alone:
        if not alone:
            raise GatewayUnavailable("The invoice is being pushed at this moment.")
        intent = PushIntent.objects.select_related("invoice").get(pk=intent_id)
        assert intent.stripe_invoice_id, "there is nothing at Stripe to withdraw"
        present = gateway.retrieve_invoice(intent.stripe_invoice_id)
        # What is expected again since the job was queued stays as it is there.
        if present.status not in ("open", "uncollectible") or intent.invoice.status == InvoiceStatus.ISSUED:
            return present
        if intent.invoice.status == InvoiceStatus.WRITTEN_OFF and intent.invoice.amount_unpaid == intent.invoice.total:
            if present.status == "uncollectible":
                return present
            return gateway.mark_uncollectible(invoice=present.id, idempotency_key=_key(intent, "uncollectible"))
        return gateway.void_invoice(invoice=present.id, idempotency_key=_key(intent, "void"))


def _push(intent: PushIntent, *, at: datetime) -> None:
    customer = told_customer(intent, at=at)
    remote = _begun_invoice(intent, customer, at=at)
    if remote.status == "draft":
        refuse_unless_owed(intent.invoice_id)
        if remote.total == Money(0, remote.currency):
            lines = _new_lines(intent.invoice)
            gateway.add_invoice_lines(invoice=remote.id, lines=lines, idempotency_key=_key(intent, "lines"))
        # The gateway compares totals and currency first, and finalises nothing that differs (see peers.md 25).
        remote = gateway.finalize_invoice(
            invoice=remote.id, expected_total=intent.invoice.total, idempotency_key=_key(intent, "finalize")
        )
    if remote.status not in ("open", "paid"):
        raise GatewayRefused(f"The invoice is {remote.status} at Stripe ({remote.id}).")
    if remote.total != intent.invoice.total:
        message = f"Stripe's invoice says {remote.total}, ours {intent.invoice.total}; nothing was charged."
        raise GatewayRefused(message, param="total", code="total_differs")
    if remote.status == "open" and customer.payment_method:
        if is_frozen(customer_id=intent.invoice.customer_id):
            # It is there to be paid by whoever wants to; the next attempt charges it, unless it was paid by then.
            raise GatewayUnavailable(FROZEN, retry_after_seconds=FROZEN_SECONDS)
        _collect(intent, remote, at=at)
    _record(intent, status=PushStatus.PUSHED, pushed_at=at, last_error="")


def refuse_unless_owed(invoice_id: int) -> None:
    """Refuse where the total is not, or no longer, what the customer owes: it would be charged all the same."""
    invoice = Invoice.objects.get(pk=invoice_id)
    if invoice.status != InvoiceStatus.ISSUED:
        raise GatewayRefused(f"The invoice is {stage_words(invoice.status)} here: there is nothing to collect.")
    if invoice.amount_paid.amount > 0:
        raise GatewayRefused(f"{invoice.amount_paid} was paid already: Stripe would collect the whole total again.")
    if invoice.amount_credited.amount > 0:
        raise GatewayRefused(f"{invoice.amount_credited} was credited: Stripe would collect the whole total.")


def told_digest(*, customer: Customer) -> str:
    """Return a digest of what Stripe is told about a customer: another one is told again."""
    told = {"name": customer.name, "email": customer.email, "payment_method": customer.payment_method}
    return digest_of({**told, "key": customer.key, "since": customer.created_at.astimezone(UTC).isoformat()})


def told_customer(intent: PushIntent, *, at: datetime) -> StripeCustomer:
    """Return Stripe's customer, told what has changed here since the last time.

    Where the bank refuses the payment method the refusal is recorded and the customer goes without one.
    """
    customer = intent.invoice.customer
    known = StripeCustomer.objects.filter(customer=customer).first()
    digest = told_digest(customer=customer)
    if known and known.told_digest == digest:
        return known
    # Not the intent's key: two invoices of a new customer may be pushed at the same time.
    key = f"customer:{digest}:{intent.retry_count}"
    stripe_id = known.stripe_id if known else ""
    payment_method = customer.payment_method
    try:
        stripe_id = _ensure_customer(customer, payment_method, known_as=stripe_id, key=key)
    except CardDeclined as declined:
        stripe_id = _ensure_customer(customer, "", known_as=stripe_id, key=key)
        payment_method = ""
        record_failure(
            invoice_id=intent.invoice_id,
            reference=f"{intent.key}:payment_method",
            code=declined.decline_code or declined.code,
            message=declined.message,
            occurred_at=at,
        )
    return StripeCustomer.objects.update_or_create(
        customer=customer,
        defaults={"stripe_id": stripe_id, "told_digest": digest, "payment_method": payment_method},
    )[0]


def _ensure_customer(customer: Customer, payment_method: str, *, known_as: str, key: str) -> str:
    return gateway.ensure_customer(
        reference=customer.key,
        name=customer.name,
        email=customer.email,
        payment_method=payment_method,
        known_as=known_as,
        idempotency_key=key,
    )


def _begun_invoice(intent: PushIntent, customer: StripeCustomer, *, at: datetime) -> RemoteInvoice:
    """Return the invoice at Stripe as an earlier attempt left it, or a new draft."""
    if intent.stripe_invoice_id:
        return gateway.retrieve_invoice(intent.stripe_invoice_id)
    begun: list[RemoteInvoice] = []
    if intent.attempt_count > 1:
        begun = gateway.find_invoices_by_metadata(
            customer=customer.stripe_id, key=INTENT_METADATA, value=str(intent.key)
        )
    remote = begun[0] if begun else _new_invoice(intent, customer, at=at)
    _record(intent, stripe_invoice_id=remote.id)
    return remote


def _new_invoice(intent: PushIntent, customer: StripeCustomer, *, at: datetime) -> RemoteInvoice:
    invoice = intent.invoice
    assert invoice.number, "an issued invoice has a number"
    refuse_unless_owed(invoice.pk)
    return gateway.create_invoice(
        customer=customer.stripe_id,
        currency=invoice.currency,
        number=invoice.number,
        metadata={INTENT_METADATA: str(intent.key), "customer": invoice.customer.key},
        due_at=None if customer.payment_method else _due_at(invoice, at=at),
        idempotency_key=_key(intent, "invoice"),
    )


def _due_at(invoice: Invoice, *, at: datetime) -> datetime:
    """Return the end of the due date where the customer is; Stripe takes no past one, so not before tomorrow's end.

    It is the same for attempts of one day: an idempotency key admits no other parameters.
    """
    assert invoice.due_date, "an issued invoice has a due date"
    zone = ZoneInfo(invoice.timezone)
    last_day = max(invoice.due_date, at.astimezone(zone).date() + timedelta(days=1))
    return datetime.combine(last_day + timedelta(days=1), time(), zone)


def _new_lines(invoice: Invoice) -> list[NewLine]:
    """Return the invoice's lines in their order, then the tax of each rate that comes on top; those over nothing stay here."""
    lines = [
        NewLine(
            amount=line.amount,
            description=_described(line),
            period=None if line.kind in STATED else Period(as_utc(line.service_start), as_utc(line.service_end)),
        )
        for line in with_consumers(invoice.lines.order_by("position"))
        if line.amount.amount
    ]
    # A one-off invoice bills no period.
    is_of_period = invoice.kind == InvoiceKind.PERIOD
    period = Period(as_utc(invoice.period_start), as_utc(invoice.period_end)) if is_of_period else None
    return lines + [
        NewLine(amount=row.amount, description=row.text, period=period)
        for row in tax_sums(invoice=invoice)
        if row.amount.amount and not row.inclusive
    ]


def _described(line: InvoiceLine) -> str:
    """Return what a line is called at Stripe, which knows no sections: one of an account begins with its name."""
    account = account_of(line=line)
    if not account:
        return line.description
    return f"{(line.invoice.accounts or {}).get(account, account)}: {line.description}"[:DESCRIPTION_MAX]


def _collect(intent: PushIntent, remote: RemoteInvoice, *, at: datetime) -> None:
    """Charge the customer's payment method; a refusal is recorded under the attempt that the webhook will name too."""
    refuse_unless_owed(intent.invoice_id)
    try:
        gateway.pay_invoice(invoice=remote.id, idempotency_key=_key(intent, "pay"))
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
    return f"{intent.key}:{intent.retry_count}:{step}"


def _in_words(error: GatewayRefused) -> str:
    return " ".join(filter(None, (error.message, HINTS.get(error.code, ""))))


def _record(intent: PushIntent, **changes: Any) -> None:
    """Commit what is known by now; inside of somebody else's transaction it would not be on record when we are killed."""
    with transaction.atomic(durable=True):
        changed = PushIntent.objects.filter(pk=intent.pk, status=PushStatus.PENDING).update(**changes)
    assert changed == 1, "only the worker with the lock changes a pending push"
    for name, changed_to in changes.items():
        setattr(intent, name, changed_to)
