"""Follow Stripe: from its notices, and from a daily look, bring our invoices to the state that is true there.

A notice only says that something may have changed. What counts is the object's present state, fetched
when the notice is followed; so order, repetition and age of notices do not matter (S1-044..047).
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F
from moneyed import Money

from billing_site.kernel.errors import Conflict
from billing_site.kernel.jobs import oldest_waiting, queue, queue_each, queue_later
from billing_site.kernel.money import wire
from invoicing.core.invoice_life import COLLECTABLE
from invoicing.customers.models import SettlementChannel
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.meter_reports.repair import follow_error_report
from invoicing.payments import gateway
from invoicing.payments.breaker import outage_now
from invoicing.payments.charging import is_being_charged
from invoicing.payments.disputes import disputed_payment
from invoicing.payments.intake import FOUND
from invoicing.payments.intake import JOB as FOLLOW_JOB
from invoicing.payments.lookups import invoices_of_payment
from invoicing.payments.meters import retrieve_error_report
from invoicing.payments.models import Payment, PushIntent, PushStatus, StripeCustomer, StripeNotice
from invoicing.payments.operations import record_failure
from invoicing.payments.patience import is_given_up, is_quick, next_attempt_after, with_jitter
from invoicing.payments.payout import Payout
from invoicing.payments.push import INTENT_METADATA
from invoicing.payments.queries import is_withdrawn
from invoicing.payments.remote import (
    THIN_EVENT,
    CardDeclined,
    GatewayRefused,
    GatewayUnavailable,
    NotNow,
    RemoteInvoice,
)
from invoicing.payments.reversal import PaymentReversal
from invoicing.payments.under_way import note_under_way
from invoicing.workflows.follow_dispute import follow_dispute
from invoicing.workflows.follow_subscription import follow_subscription
from invoicing.workflows.leave_card import follow_card
from invoicing.workflows.mirror_payouts import follow_payout
from invoicing.workflows.settle_payment import settle_payment
from invoicing.write_offs.models import WriteOff

logger = logging.getLogger(__name__)

MIRROR_JOB = "invoicing.tasks.mirror_object"
LOOK_JOB = "invoicing.tasks.follow_invoice"
UNTOLD = "It failed again and again without a foreseen reason: the log of the worker says why."
# What else of a customer of ours is kept in dj-stripe's tables.
MIRRORED_KINDS = ("customer", "payment_intent", "payment_method", "charge")
METER_ERRORS = "v1.billing.meter.error_report_triggered"
DISPUTE_CLOSED = "charge.dispute.closed"
# The customer has to confirm a payment; one is begun that takes days. News of neither names the invoice.
CONFIRM_EVENT = "payment_intent.requires_action"
UNDER_WAY_EVENT = "payment_intent.processing"
# Stripe's word for an object that it does not have.
MISSING = "resource_missing"
STALE = "stale: the invoice is paid already"
CONFIRM_INVOICE_EVENT = "invoice.payment_action_required"
REFUSED_EVENTS = ("invoice.payment_failed", CONFIRM_INVOICE_EVENT)
ACTION_REQUIRED = ("authentication_required", "The customer has to confirm this payment with the bank.")
# A push this old whose invoice is still open is looked at, in case that a notice was lost (S1-049..051).
NOTICE_IS_LATE = timedelta(hours=1)
LOOKED_EVERY = timedelta(days=1)


def follow_notice(*, notice_id: int, at: datetime) -> StripeNotice:
    """Find out what a notice means now, act on it once, and write down the outcome in words.

    Payment, books, invoice and outcome are one transaction; no transaction is open while Stripe is
    asked. What cannot be done now stays unprocessed, with the reason and the time of the next attempt.
    """
    notice = StripeNotice.objects.get(pk=notice_id)
    if notice.processed_at is not None:
        return notice
    if outage_now() is not None:
        return notice
    if is_given_up(attempt_count=notice.attempt_count + 1):
        return _park(notice, at=at)
    notice.attempt_count += 1
    notice.next_attempt_at = next_attempt_after(attempt_count=notice.attempt_count, at=at)
    with transaction.atomic(durable=True):
        StripeNotice.objects.filter(pk=notice_id).update(
            attempt_count=F("attempt_count") + 1, next_attempt_at=notice.next_attempt_at
        )
    try:
        return _follow(notice, at=at)
    except NotNow as error:
        _put_off(notice, error.message, at=at, seconds=error.retry_after_seconds or 1)
    except (GatewayUnavailable, GatewayRefused, CardDeclined, Conflict) as error:
        logger.warning("notice %s has to wait: %s", notice.event_id, error)
        notice.last_error = error.message
        with transaction.atomic(durable=True):
            StripeNotice.objects.filter(pk=notice_id, processed_at__isnull=True).update(last_error=notice.last_error)
            if is_quick(at=at, next_at=notice.next_attempt_at):
                queue_later(FOLLOW_JOB, notice_id, due_at=notice.next_attempt_at)
    return notice


def _put_off(notice: StripeNotice, why: str, *, at: datetime, seconds: int) -> None:
    """Let a notice come again when there is time for it; it has not failed."""
    notice.attempt_count -= 1
    notice.next_attempt_at, notice.last_error = at + with_jitter(timedelta(seconds=seconds)), why
    with transaction.atomic(durable=True):
        StripeNotice.objects.filter(pk=notice.pk, processed_at__isnull=True).update(
            attempt_count=F("attempt_count") - 1, next_attempt_at=notice.next_attempt_at, last_error=why
        )
        if is_quick(at=at, next_at=notice.next_attempt_at):
            queue_later(FOLLOW_JOB, notice.pk, due_at=notice.next_attempt_at)


def _park(notice: StripeNotice, *, at: datetime) -> StripeNotice:
    """Try a notice no more that failed again and again: people look at it, mend the cause and replay it, or dismiss it."""
    logger.error("notice %s is parked: %s", notice.event_id, notice.last_error or UNTOLD)
    notice.parked_at, notice.last_error = at, notice.last_error or UNTOLD
    StripeNotice.objects.filter(pk=notice.pk, processed_at__isnull=True).update(
        parked_at=at, last_error=notice.last_error
    )
    return notice


def follow_invoice(*, intent_id: int, at: datetime) -> str:
    """Bring one pushed invoice to its present state at Stripe without a notice; returns the outcome in words."""
    intent = PushIntent.objects.select_related("invoice").get(pk=intent_id)
    if intent.stripe_invoice_id is None or intent.invoice.status not in COLLECTABLE:
        return "nothing to do"
    present = gateway.retrieve_invoice(intent.stripe_invoice_id)
    with transaction.atomic(durable=True):
        return _apply(present, invoice_id=intent.invoice_id, cause="", happened_at=at)


@transaction.atomic
def sweep_open_invoices(*, at: datetime) -> int:
    """Queue a look at every pushed invoice that is still unpaid here; returns how many (S1-039, S3-034).

    None in an outage, nor while the looks before still wait for a worker.
    """
    if outage_now() is not None or oldest_waiting(at=at) <= at - LOOKED_EVERY:
        return 0
    waiting = PushIntent.objects.filter(
        status=PushStatus.PUSHED, pushed_at__lte=at - NOTICE_IS_LATE, invoice__status__in=COLLECTABLE
    )
    intents = list(waiting.order_by("id").values_list("id", flat=True))
    queue_each(LOOK_JOB, intents)
    return len(intents)


def _follow(notice: StripeNotice, *, at: datetime) -> StripeNotice:
    if notice.body["object"] == THIN_EVENT:
        return _follow_thin(notice, at=at)
    subject = notice.body["data"]["object"]
    kind = subject.get("object", "")
    happened_at = datetime.fromtimestamp(notice.body["created"], tz=UTC)
    if kind == "dispute":
        # Its end is when Stripe says so; of a dispute that other news finds closed, now.
        heard_at = happened_at if notice.event_type == DISPUTE_CLOSED else at
        return _close(notice, at=at, outcome=_dispute_outcome(subject, heard_at=heard_at))
    if kind == "payout":
        return _close(notice, at=at, outcome=_payout_outcome(notice, at=at))
    if kind == "checkout.session":
        return _close(notice, at=at, outcome=follow_card(session=notice.object_id))
    if notice.event_type in (CONFIRM_EVENT, UNDER_WAY_EVENT):
        return _follow_payment(notice, subject, happened_at=happened_at, at=at)
    if kind == "subscription":
        followed = follow_subscription(stripe_id=notice.object_id, customer=str(subject.get("customer")), at=at)
        return _close(notice, at=at, outcome=followed)
    if kind != "invoice":
        return _close(notice, at=at, outcome=_other_outcome(notice, kind, subject))
    intent = _intent_of(subject)
    if intent is None:
        return _close(notice, at=at, outcome="ignored: not an invoice of ours")
    present = gateway.retrieve_invoice(notice.object_id)
    with transaction.atomic(durable=True):
        if not _lock_unprocessed(notice):
            return notice
        outcome = _apply(
            present, invoice_id=intent.invoice_id, cause=notice.event_type, happened_at=happened_at, actor="stripe"
        )
        queue(MIRROR_JOB, "invoice", present.id, present.customer)
        return _close(notice, at=at, outcome=outcome)


def _follow_payment(
    notice: StripeNotice, subject: Mapping[str, Any], *, happened_at: datetime, at: datetime
) -> StripeNotice:
    """Follow that a customer has to confirm a payment, or that one is under way: if it is for an invoice of ours, the customer is led to the page for it (S0-048), or left alone."""
    outcome = _other_outcome(notice, "payment_intent", subject)
    if outcome != "mirrored":
        return _close(notice, at=at, outcome=outcome)
    paid = invoices_of_payment(payment_intent=notice.object_id)
    intent = PushIntent.objects.filter(stripe_invoice_id__in=paid).first()
    if intent is None:
        return _close(notice, at=at, outcome="mirrored: it pays no invoice of ours")
    present = gateway.retrieve_invoice(str(intent.stripe_invoice_id))
    with transaction.atomic(durable=True):
        if not _lock_unprocessed(notice):
            return notice
        outcome = _apply(
            present,
            invoice_id=intent.invoice_id,
            cause=CONFIRM_INVOICE_EVENT if notice.event_type == CONFIRM_EVENT else "",
            happened_at=happened_at,
            actor="stripe",
        )
        return _close(notice, at=at, outcome=outcome)


def _dispute_outcome(subject: Mapping[str, Any], *, heard_at: datetime) -> str:
    """Follow a dispute; one that Stripe does not have is kept and no more, unless its news names a payment of ours."""
    try:
        return follow_dispute(stripe_id=subject["id"], at=heard_at)
    except GatewayRefused as refusal:
        named = {name: str(subject.get(name) or "") for name in ("charge", "payment_intent")}
        if refusal.code != MISSING or disputed_payment(**named) is not None:
            raise
        return "ignored: Stripe has no such dispute, and what it is about has paid nothing here"


def _payout_outcome(notice: StripeNotice, *, at: datetime) -> str:
    """Follow a payout; one that Stripe neither has nor has listed, and that is not here, is kept and no more."""
    try:
        return follow_payout(stripe_id=notice.object_id, at=at)
    except GatewayRefused as refusal:
        is_known = notice.event_id.startswith(FOUND) or Payout.objects.filter(stripe_id=notice.object_id).exists()
        if refusal.code != MISSING or is_known:
            raise
        return "ignored: Stripe has no such payout"


def _follow_thin(notice: StripeNotice, *, at: datetime) -> StripeNotice:
    """Follow a notice that names its subject only; what is not about meters passes through (S4-037)."""
    if notice.event_type != METER_ERRORS:
        return _close(notice, at=at, outcome=f"ignored: nothing here depends on {notice.event_type}")
    report = retrieve_error_report(event=notice.event_id)
    with transaction.atomic(durable=True):
        if not _lock_unprocessed(notice):
            return notice
        return _close(notice, at=at, outcome=follow_error_report(report=report, notice=notice.event_id, at=at))


def _apply(
    present: RemoteInvoice, *, invoice_id: int, cause: str, happened_at: datetime, actor: str = "daily look"
) -> str:
    """Do what the present state asks for; raises Conflict where Stripe and we cannot both be right."""
    is_decided = note_under_way(present=present, invoice_id=invoice_id, at=happened_at)
    if present.status == "paid":
        return _settle(present, invoice_id=invoice_id, cause=cause, received_at=happened_at, actor=actor)
    invoice = Invoice.objects.get(pk=invoice_id)
    if invoice.status == InvoiceStatus.PAID:
        return STALE
    if present.status in ("void", "uncollectible") and invoice.status == InvoiceStatus.VOID:
        return f"nothing to do: it is {present.status} at Stripe since it was declared void here"
    if present.status in ("void", "uncollectible") and WriteOff.objects.filter(invoice=invoice_id).exists():
        return f"nothing to do: it is {present.status} at Stripe since it was written off here"
    if present.status == "void" and is_withdrawn(invoice=invoice):
        return "nothing to do: withdrawn here, it is void at Stripe; what is open of it is paid another way"
    if present.status in ("void", "uncollectible"):
        raise Conflict(f"the invoice is {present.status} at Stripe, but not here", field="status")
    if present.is_under_way:
        return "a payment is under way at Stripe: what became of it is told later"
    # Of a debit that comes back after days the news may be lost.
    if cause in REFUSED_EVENTS or (is_decided and present.failure_code):
        action = ACTION_REQUIRED if not present.failure_code else (present.failure_code, present.failure_message)
        code, message = action
        _, new = record_failure(
            invoice_id=invoice_id,
            reference=present.payment_reference or f"{present.id}:{happened_at.isoformat()}",
            code=code,
            message=message,
            occurred_at=happened_at,
            by_customer=not present.is_charged and not is_being_charged(invoice_id=invoice_id),
        )
        return f"payment refused ({code}): {message}" if new else f"payment refused ({code}), as recorded already"
    return f"nothing to do: the invoice is {present.status} at Stripe"


def _settle(present: RemoteInvoice, *, invoice_id: int, cause: str, received_at: datetime, actor: str) -> str:
    invoice = Invoice.objects.select_for_update().get(pk=invoice_id)
    if invoice.status == InvoiceStatus.PAID:
        return _paid_before(present, invoice)
    if present.amount_paid == Money(0, present.currency):
        raise Conflict(
            "Stripe calls the invoice paid but received nothing: record how it was paid by hand", field="amount"
        )
    named = {
        "payment__channel": SettlementChannel.STRIPE,
        "payment__reference": present.payment_reference or present.id,
    }
    if PaymentReversal.objects.filter(**named).exists():
        return "nothing to do: its bank has returned the direct debit that paid it, and it is owed again"
    settle_payment(
        invoice_id=invoice_id,
        channel=SettlementChannel.STRIPE,
        reference=present.payment_reference or present.id,
        amount=present.amount_paid,
        received_at=received_at,
        reason=f"told by Stripe ({cause}, {present.id})" if cause else f"found paid at Stripe ({present.id})",
        actor=actor,
    )
    paid = wire(present.amount_paid)
    since = "stale, but since then " if cause in REFUSED_EVENTS else ""
    return f"{since}paid {paid['currency']} {paid['amount']}"


def _is_paid_through_stripe(invoice: Invoice) -> bool:
    return Payment.objects.filter(invoice=invoice, channel=SettlementChannel.STRIPE).exists()


def _paid_before(present: RemoteInvoice, invoice: Invoice) -> str:
    """Say that an invoice is paid already, by what Stripe received; raises Conflict where Stripe has received money beside what paid it."""
    if present.amount_paid != Money(0, present.currency) and not _is_paid_through_stripe(invoice):
        paid = wire(present.amount_paid)
        raise Conflict(
            f"Stripe has received {paid['currency']} {paid['amount']} for invoice {invoice}, which was paid otherwise:"
            " pay it back there, then dismiss this",
            field="amount",
            code="paid_twice",
        )
    return STALE


def _other_outcome(notice: StripeNotice, kind: str, subject: Mapping[str, Any]) -> str:
    """Keep what belongs to a customer of ours; the rest has no consequence here."""
    owner = notice.object_id if kind == "customer" else subject.get("customer")
    if kind not in MIRRORED_KINDS or not isinstance(owner, str):
        return f"ignored: nothing here depends on {notice.event_type}"
    if not StripeCustomer.objects.filter(stripe_id=owner).exists():
        return "ignored: not a customer of ours"
    if subject.get("deleted"):
        return "ignored: it was deleted at Stripe"
    queue(MIRROR_JOB, kind, notice.object_id, owner)
    return "mirrored"


def _intent_of(subject: Mapping[str, Any]) -> PushIntent | None:
    """Return the push of an invoice at Stripe: by its id, or by what we wrote on it if the id is not recorded yet."""
    intents = PushIntent.objects.select_related("invoice")
    # News of an invoice that is only to come has no id.
    known = intents.filter(stripe_invoice_id=subject["id"]).first() if subject.get("id") else None
    if known is not None:
        return known
    try:
        key = UUID((subject.get("metadata") or {}).get(INTENT_METADATA, ""))
    except ValueError:
        return None
    return intents.filter(key=key, stripe_invoice_id__isnull=True).first()


def _lock_unprocessed(notice: StripeNotice) -> bool:
    """Lock a notice for closing; False where another worker has closed it meanwhile."""
    return StripeNotice.objects.select_for_update().filter(pk=notice.pk, processed_at__isnull=True).exists()


def _close(notice: StripeNotice, *, at: datetime, outcome: str) -> StripeNotice:
    logger.info("notice %s (%s): %s", notice.event_id, notice.event_type, outcome)
    notice.processed_at, notice.outcome, notice.last_error = at, outcome[:300], ""
    StripeNotice.objects.filter(pk=notice.pk, processed_at__isnull=True).update(
        processed_at=at, outcome=notice.outcome, last_error=""
    )
    return notice
