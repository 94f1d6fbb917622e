"""Follow Stripe's disputes: fetch one as it is now, mirror it and book what it moved, in one transaction; look for those of which no news came."""

import logging
from datetime import datetime, timedelta

from django.db import transaction

from billing_site.kernel.errors import Conflict
from billing_site.kernel.jobs import oldest_waiting, queue
from invoicing.core.dispute_life import FREEZES, RETURNED_DEBITS, DisputeStatus, dispute_words
from invoicing.core.posting import (
    DISPUTE_LOSSES,
    PostingLine,
    postings_for_dispute_fee,
    postings_for_dispute_loss,
    postings_for_reinstatement,
    postings_for_returned_fee,
    postings_for_withdrawal,
)
from invoicing.customers.models import SettlementChannel
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.invoices.operations import locked_invoice
from invoicing.invoices.printed_text import money_text
from invoicing.ledger.models import JournalEntry
from invoicing.ledger.operations import NewEntry, post_entries
from invoicing.payments import gateway
from invoicing.payments.breaker import outage_now
from invoicing.payments.dispute import DecisionKind, Dispute, DisputeMovement, MovementKind
from invoicing.payments.disputes import (
    CLOSE_JOB,
    Mirrored,
    disputed_payment,
    disputes_to_look_at,
    record_dispute,
    wake_pushes,
)
from invoicing.payments.locks import only_worker
from invoicing.payments.models import Payment, StripeCustomer, StripeNotice
from invoicing.payments.operations import record_failure
from invoicing.payments.remote import GatewayRefused, GatewayUnavailable, RemoteDispute
from invoicing.payments.reversal import PaymentReversal, ReversalCause
from invoicing.workflows.alert_staff import ALERT_JOB
from invoicing.workflows.reverse_payment import take_back

logger = logging.getLogger(__name__)

LOOK_JOB = "invoicing.tasks.follow_dispute"
MIRROR_JOB = "invoicing.tasks.mirror_object"
# So far back the hourly look asks Stripe for disputes of which nothing was heard.
LOST_NEWS = timedelta(days=35)
LOOKED_EVERY = timedelta(hours=1)
# What each movement of money is in the books.
ENTRY_KINDS = {
    MovementKind.WITHDRAWN.value: JournalEntry.Kind.DISPUTE,
    MovementKind.RETURNED.value: JournalEntry.Kind.DISPUTE_RETURN,
    MovementKind.LOST.value: JournalEntry.Kind.DISPUTE_LOSS,
    MovementKind.FEE.value: JournalEntry.Kind.DISPUTE_FEE,
    MovementKind.FEE_RETURNED.value: JournalEntry.Kind.DISPUTE_FEE,
}
_POSTINGS = {
    MovementKind.WITHDRAWN.value: postings_for_withdrawal,
    MovementKind.RETURNED.value: postings_for_reinstatement,
    MovementKind.LOST.value: postings_for_dispute_loss,
    MovementKind.FEE.value: postings_for_dispute_fee,
    MovementKind.FEE_RETURNED.value: postings_for_returned_fee,
}


def follow_dispute(*, stripe_id: str, at: datetime) -> str:
    """Bring a dispute to its present state at Stripe; returns the outcome in words.

    One worker at a time fetches and mirrors it, so that what is fetched is never older than what is here. Raises GatewayUnavailable (also
    while another worker has it: come again) and GatewayRefused; Conflict where Stripe and we cannot both be right, or where its
    payment is not recorded here yet.
    """
    with only_worker(f"dispute {stripe_id}") as alone:
        if not alone:
            raise GatewayUnavailable("The dispute is being looked at at this moment.")
        present = gateway.retrieve_dispute(stripe_id)
        payment = disputed_payment(charge=present.charge, payment_intent=present.payment_intent)
        if payment is None and not StripeCustomer.objects.filter(stripe_id=present.customer).exists():
            return "ignored: not a charge of ours"
        if payment is None:
            raise Conflict(f"the payment by {present.charge} is not recorded here yet", field="payment")
        mirrored = settle_dispute(present=present, payment=payment, heard_at=at)
    return _outcome(mirrored)


@transaction.atomic
def settle_dispute(*, present: RemoteDispute, payment: Payment, heard_at: datetime) -> Mirrored:
    """Mirror a dispute as it was fetched and book what it moved; the same a second time changes nothing. Raises Conflict.

    Its customer is frozen for as long as it is an open chargeback: pushes that waited for that go on when it is closed.
    """
    if present.status == DisputeStatus.LOST and present.reason in RETURNED_DEBITS:
        # Whoever takes a payment back locks the customer first.
        locked_invoice(invoice_id=payment.invoice_id)
    mirrored = record_dispute(present=present, payment=payment, heard_at=heard_at)
    entries = [entry_of(movement=one, dispute=mirrored.dispute) for one in mirrored.movements]
    if entries:
        post_entries(entries=entries)
    if mirrored.dispute.is_returned_debit:
        _take_debit_back(mirrored.dispute)
    if mirrored.before != present.status:
        queue(MIRROR_JOB, "charge", present.charge)
        queue(MIRROR_JOB, "dispute", present.id)
    if _is_news(mirrored):
        queue(ALERT_JOB, mirrored.dispute.pk)
    if not mirrored.dispute.is_open and mirrored.before is not None:
        wake_pushes(customer_id=payment.customer_id, at=heard_at)
    return mirrored


def _take_debit_back(dispute: Dispute) -> None:
    """Let what a returned direct debit has paid be owed again, with the bank's reason, once; what was written off meanwhile stays a loss."""
    assert dispute.closed_at is not None, "what is lost is closed"
    payment = Payment.objects.get(pk=dispute.payment_id)
    is_due = Invoice.objects.filter(
        pk=payment.invoice_id, status__in=(InvoiceStatus.ISSUED, InvoiceStatus.PAID)
    ).exists()
    if not is_due or PaymentReversal.objects.filter(payment=payment).exists():
        return
    why = f"the bank returned the direct debit: {dispute.reason_words}"
    take_back(
        payment=payment,
        cause=ReversalCause.RETURNED,
        account=DISPUTE_LOSSES,
        at=dispute.closed_at,
        actor="stripe",
        reason=f"{why}, dispute {dispute.stripe_id}"[:300],
    )
    record_failure(
        invoice_id=payment.invoice_id,
        reference=dispute.stripe_id,
        code=dispute.reason,
        message=f"{why[0].upper()}{why[1:]}.",
        occurred_at=dispute.closed_at,
    )


def _is_news(mirrored: Mirrored) -> bool:
    """Say whether staff are told at once: it is new, or the inquiry that they know of has become a chargeback."""
    became = mirrored.dispute.status in FREEZES and mirrored.before not in FREEZES
    return mirrored.before is None or became


def entry_of(*, movement: DisputeMovement, dispute: Dispute) -> NewEntry:
    """Return the journal entry that a movement is."""
    invoice = dispute.payment.invoice
    said = f"{movement.get_kind_display()}: dispute {dispute.stripe_id} of invoice {invoice.number}, {invoice.customer_name}"
    return NewEntry(
        kind=ENTRY_KINDS[movement.kind].value,
        reference=movement.reference,
        postings=postings_of(movement=movement),
        description=said[:300],
        occurred_at=movement.occurred_at,
        entity=invoice.customer.seller_key,
    )


def postings_of(*, movement: DisputeMovement) -> tuple[PostingLine, ...]:
    """Return the postings of a movement."""
    return _POSTINGS[movement.kind](amount=movement.amount)


def close_dispute(*, dispute_id: int, at: datetime) -> str:
    """Tell Stripe that the loss of a dispute is accepted, and mirror that it is lost; returns the outcome in words.

    What Stripe refuses to close (evidence was sent meanwhile, or it is over) is mirrored as it is. Raises as `follow_dispute` does.
    """
    dispute = Dispute.objects.get(pk=dispute_id)
    assert dispute.decisions.filter(kind=DecisionKind.ACCEPT).exists(), "somebody has accepted the loss"
    refusal = ""
    if dispute.status == DisputeStatus.NEEDS_RESPONSE:
        try:
            gateway.close_dispute(dispute=dispute.stripe_id, idempotency_key=f"{dispute.stripe_id}:close")
        except GatewayRefused as refused:
            logger.warning("the loss of dispute %s was not taken: %s", dispute.stripe_id, refused)
            refusal = f"; Stripe did not close it: {refused.message}"
    return follow_dispute(stripe_id=dispute.stripe_id, at=at) + refusal


def look_at_disputes(*, at: datetime) -> int:
    """Queue a look at each dispute that is open here or whose money is still to come, and at those at Stripe that nobody told of; returns how many.

    A loss that was accepted and did not reach Stripe is told again. Where nobody has paid through Stripe it is asked for nothing; where it
    cannot answer, the next look asks again. None in an outage, nor while the looks before still wait for a worker.
    """
    if outage_now() is not None or oldest_waiting(at=at) <= at - LOOKED_EVERY:
        return 0
    unfinished = list(disputes_to_look_at().prefetch_related("decisions"))
    for one in unfinished:
        if any(decision.kind == DecisionKind.ACCEPT for decision in one.decisions.all()) and one.is_open:
            queue(CLOSE_JOB, one.pk)
        else:
            queue(LOOK_JOB, one.stripe_id)
    try:
        unheard = _unheard(at=at)
    except GatewayUnavailable as error:
        logger.warning("Stripe could not be asked for disputes that nobody told of: %s", error)
        unheard = []
    for stripe_id in unheard:
        queue(LOOK_JOB, stripe_id)
    return len(unfinished) + len(unheard)


def _unheard(*, at: datetime) -> list[str]:
    """Return the newer disputes at Stripe that are not here, and of which no notice was followed to its end."""
    if not Payment.objects.filter(channel=SettlementChannel.STRIPE).exists():
        return []
    there = gateway.disputes_since(opened_at=at - LOST_NEWS)
    here = Dispute.objects.filter(stripe_id__in=there).values_list("stripe_id", flat=True)
    followed = StripeNotice.objects.filter(object_id__in=there, processed_at__isnull=False)
    return sorted(set(there) - set(here) - set(followed.values_list("object_id", flat=True)))


def _outcome(mirrored: Mirrored) -> str:
    dispute = mirrored.dispute
    moved = ", ".join(f"{one.get_kind_display().lower()} {money_text(money=one.amount)}" for one in mirrored.movements)
    if mirrored.before is None:
        about = f"{money_text(money=dispute.amount)} of invoice {dispute.invoice.number}"
        told = f"dispute over {about} ({dispute.words})"
    elif mirrored.before != dispute.status:
        told = f"dispute ({dispute_words(mirrored.before)} before, {dispute.words} now)"
    elif not moved:
        return f"nothing to do: the dispute is as it was ({dispute.words})"
    else:
        told = f"dispute ({dispute.words} as before)"
    return f"{told}; {moved}" if moved else told
