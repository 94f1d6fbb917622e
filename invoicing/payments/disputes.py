"""What may happen to disputes, and what may be asked: mirrored as Stripe holds them, decided about by people, frozen customers named."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.db.models import Q, QuerySet, Sum
from django.db.models.expressions import RawSQL
from moneyed import Money

from billing_site.kernel.errors import Conflict, NotFound
from billing_site.kernel.jobs import queue
from billing_site.kernel.money import round_money, total
from billing_site.kernel.reasons import checked_reason
from invoicing.core.dispute_life import (
    CLAIMS,
    CLOSED,
    FREEZES,
    HELD_BACK,
    OPEN,
    STATUS_MOVES,
    DisputeStatus,
    dispute_words,
)
from invoicing.customers.models import SettlementChannel
from invoicing.invoices.models import Invoice
from invoicing.invoices.printed_text import money_text
from invoicing.payments.dispute import (
    HOLDS,
    RELEASES,
    DecisionKind,
    Dispute,
    DisputeDecision,
    DisputeMovement,
    MovementKind,
    held_sql,
)
from invoicing.payments.models import Payment, PushIntent, PushStatus
from invoicing.payments.remote import RemoteDispute

CLOSE_JOB = "invoicing.tasks.close_dispute"


@dataclass(frozen=True)
class Mirrored:
    """A dispute as it is now, the movements that are new, and what it was before (None: it is new)."""

    dispute: Dispute
    movements: tuple[DisputeMovement, ...]
    before: str | None


def disputed_payment(*, charge: str, payment_intent: str) -> Payment | None:
    """Return the payment that came by a charge at Stripe, or by the payment intent that made it; None where there is none here."""
    references = [reference for reference in (charge, payment_intent) if reference]
    by_card = Payment.objects.filter(channel=SettlementChannel.STRIPE, reference__in=references)
    return by_card.select_related("invoice").order_by("id").first()


def record_dispute(*, present: RemoteDispute, payment: Payment, heard_at: datetime) -> Mirrored:
    """Bring a dispute to its present state at Stripe, in the transaction that posts its movements; twice changes nothing.

    Raises Conflict where Stripe and we cannot both be right: another payment or amount, more than was paid, a move that the table does not
    know, money that was never withdrawn.
    """
    assert connection.in_atomic_block, "a dispute commits with its journal entries, or not at all"
    if present.status not in set(DisputeStatus):
        raise Conflict(f"Stripe calls it {present.status}, which is not known here", field="status")
    # As payments, refunds and credit notes of the invoice do: one after the other.
    Invoice.objects.select_for_update(no_key=True).get(pk=payment.invoice_id)
    known = Dispute.objects.select_for_update(no_key=True).filter(stripe_id=present.id).first()
    if known is None:
        _refuse_more_than_paid(present, payment)
        dispute = Dispute.objects.create(
            payment=payment,
            stripe_id=present.id,
            charge=present.charge,
            currency=present.amount.currency.code,
            amount=present.amount,
            opened_at=present.created_at,
            **_told(present, heard_at=heard_at),
        )
        return Mirrored(dispute, _moved(dispute, present), None)
    _refuse_another(known, present)
    before = known.status
    if before != present.status and (DisputeStatus(before), DisputeStatus(present.status)) not in STATUS_MOVES:
        message = f"it is {dispute_words(before)} here and {dispute_words(present.status)} at Stripe"
        raise Conflict(message, field="status")
    if known.is_open:
        told = _told(present, heard_at=heard_at)
        for name, value in told.items():
            setattr(known, name, value)
        known.save(update_fields=[*told])
    return Mirrored(known, _moved(known, present), before)


def _told(present: RemoteDispute, *, heard_at: datetime) -> dict[str, Any]:
    """Return what Stripe may say otherwise while a dispute is open."""
    newest = max((one.created_at for one in present.transactions), default=present.created_at)
    return {
        "status": present.status,
        "reason": present.reason[:100],
        "network_reason_code": present.network_reason_code[:50],
        "evidence_due_at": present.evidence_due_at,
        "has_evidence": present.has_evidence,
        "closed_at": max(heard_at, present.created_at, newest) if present.status in CLOSED else None,
    }


def _refuse_more_than_paid(present: RemoteDispute, payment: Payment) -> None:
    if present.amount.currency.code != payment.currency:
        message = f"it is in {present.amount.currency}, its payment in {payment.currency}"
        raise Conflict(message, field="currency")
    claimed = payment.disputes.filter(status__in=CLAIMS).aggregate(amount=Sum("amount"))["amount"] or Decimal(0)
    others = round_money(claimed, payment.currency)
    beside = others if present.status in CLAIMS else others * 0
    if present.amount + beside > payment.amount:
        more = f", {_text(others)} of them by other disputes" if beside.amount else ""
        message = f"{_text(present.amount + beside)} would be disputed of a payment of {_text(payment.amount)}{more}"
        raise Conflict(message, field="amount")


def _refuse_another(known: Dispute, present: RemoteDispute) -> None:
    said = (present.charge, present.amount, present.created_at)
    if said != (known.charge, known.amount, known.opened_at):
        message = f"it is of {known.charge} over {_text(known.amount)} here, of {present.charge} over {_text(present.amount)} at Stripe"
        raise Conflict(message, field="dispute")


def _text(amount: Money) -> str:
    return money_text(money=amount)


def _moved(dispute: Dispute, present: RemoteDispute) -> tuple[DisputeMovement, ...]:
    """Write down what Stripe's balance transactions have moved, each once, and the loss of what is held when it is lost."""
    known = set(dispute.movements.values_list("reference", flat=True))
    rows: list[DisputeMovement] = []
    for one in sorted(present.transactions, key=lambda one: (one.created_at, one.amount.amount)):
        kind = MovementKind.WITHDRAWN if one.amount.amount < 0 else MovementKind.RETURNED
        if one.amount.amount and one.id not in known:
            amount = _in_currency_of(dispute, one.amount)
            _refuse_what_is_not_held(dispute, rows, kind=kind, amount=amount)
            rows.append(_movement(dispute, kind, one.id, amount, one.created_at))
        reference = f"{one.id}/fee"
        if one.fee.amount and reference not in known:
            fee = MovementKind.FEE if one.fee.amount > 0 else MovementKind.FEE_RETURNED
            rows.append(_movement(dispute, fee, reference, abs(one.fee), one.created_at))
    held = held_of(dispute=dispute, beside=rows)
    if dispute.status == DisputeStatus.LOST and held.amount:
        assert dispute.closed_at is not None, "what is lost is closed"
        number = 1 + sum(reference.startswith(f"{dispute.stripe_id}/lost/") for reference in known)
        lost_at = max([dispute.closed_at, *(one.occurred_at for one in rows)])
        rows.append(_movement(dispute, MovementKind.LOST, f"{dispute.stripe_id}/lost/{number}", held, lost_at))
    for row in rows:
        row.save(force_insert=True)
    return tuple(rows)


def _in_currency_of(dispute: Dispute, amount: Money) -> Money:
    """Return what a balance transaction moved, in the dispute's currency.

    Where Stripe settles in another currency it is the whole disputed amount: the payment stands in the books in that currency, too.
    """
    return abs(amount) if amount.currency.code == dispute.currency else dispute.amount


def _refuse_what_is_not_held(
    dispute: Dispute, rows: Sequence[DisputeMovement], *, kind: MovementKind, amount: Money
) -> None:
    held = held_of(dispute=dispute, beside=rows)
    if kind == MovementKind.RETURNED and amount > held:
        raise Conflict(f"{_text(amount)} came back, and {_text(held)} are held: look at it at Stripe", field="amount")
    if kind == MovementKind.WITHDRAWN and amount + held > dispute.amount:
        raise Conflict(
            f"{_text(amount + held)} were withdrawn, and {_text(dispute.amount)} are disputed", field="amount"
        )


def _movement(dispute: Dispute, kind: str, reference: str, amount: Money, occurred_at: datetime) -> DisputeMovement:
    return DisputeMovement(
        dispute=dispute,
        kind=kind,
        reference=reference,
        currency=amount.currency.code,
        amount=amount,
        occurred_at=occurred_at,
    )


def held_of(*, dispute: Dispute, beside: Sequence[DisputeMovement] = ()) -> Money:
    """Return what was withdrawn for a dispute and is neither given back nor lost, with movements that are not saved yet."""
    moved = [*dispute.movements.all(), *beside]
    amounts = [one.amount for one in moved if one.kind in HOLDS] + [
        -one.amount for one in moved if one.kind in RELEASES
    ]
    return total((round_money(one.amount, dispute.currency) for one in amounts), dispute.currency)


@transaction.atomic
def decide_about_dispute(*, dispute_id: int, kind: str, at: datetime, actor: str, reason: str) -> DisputeDecision:
    """Accept the loss of an open chargeback, which Stripe hears by a job, or let its customer be served and charged again.

    The same a second time is the decision that there is. Raises InvalidInput at `reason`, NotFound, and Conflict for an inquiry, a dispute
    that is closed, or, to accept the loss, one for which evidence was sent.
    """
    said = checked_reason(reason=reason)
    dispute = Dispute.objects.select_for_update(no_key=True).filter(pk=dispute_id).first()
    if dispute is None:
        raise NotFound("there is no such dispute", field="dispute")
    existing = dispute.decisions.filter(kind=kind).first()
    if existing is not None:
        return existing
    allowed = (DisputeStatus.NEEDS_RESPONSE,) if kind == DecisionKind.ACCEPT else FREEZES
    if dispute.status not in allowed:
        message = f"dispute {dispute} is {dispute_words(dispute.status)}: nothing is decided about it here"
        raise Conflict(message, field="status")
    decision = DisputeDecision.objects.create(dispute=dispute, kind=kind, decided_at=at, actor=actor, reason=said)
    if kind == DecisionKind.ACCEPT:
        queue(CLOSE_JOB, dispute.pk)
    else:
        wake_pushes(customer_id=dispute.payment.customer_id, at=at)
    return decision


def wake_pushes(*, customer_id: int, at: datetime) -> None:
    """Let the sweep take the pushes of a customer again that could not charge it while a payment was disputed."""
    waiting = PushIntent.objects.filter(invoice__customer=customer_id, status=PushStatus.PENDING)
    waiting.filter(next_attempt_at__gt=at).update(next_attempt_at=at)


def freezing_disputes() -> "QuerySet[Dispute]":
    """Return the open chargebacks whose customer is neither charged nor served (S0-047): nobody has said otherwise."""
    lifted = DisputeDecision.objects.filter(kind=DecisionKind.UNFREEZE).values("dispute")
    return Dispute.objects.filter(status__in=FREEZES).exclude(pk__in=lifted)


def is_frozen(*, customer_id: int) -> bool:
    """Say whether a customer is charged by nobody for now, because a payment is disputed."""
    return freezing_disputes().filter(payment__customer=customer_id).exists()


def open_disputes() -> "QuerySet[Dispute]":
    """Return the disputes that are not decided, the next day of evidence first."""
    return Dispute.objects.filter(status__in=OPEN).order_by("evidence_due_at", "opened_at", "id")


def disputes_of(*, invoice: Invoice) -> list[Dispute]:
    """Return the disputes about payments of an invoice with what they moved and what was decided, oldest first."""
    rows = Dispute.objects.filter(payment__invoice=invoice).select_related("payment")
    return list(rows.prefetch_related("movements", "decisions").order_by("opened_at", "id"))


def held_back_of(*, invoice: Invoice) -> Money:
    """Return what of the payments of an invoice its bank has taken back, or keeps; a payment that was taken back counts no more anyway."""
    held = Dispute.objects.filter(payment__invoice=invoice, payment__reversal=None, status__in=HELD_BACK)
    amount = held.aggregate(amount=Sum("amount"))["amount"]
    return round_money(amount or Decimal(0), invoice.currency)


def disputes_to_look_at() -> "QuerySet[Dispute]":
    """Return the disputes whose end, or whose money, is still to come: open, or closed without a loss while money is held."""
    return Dispute.objects.filter(Q(status__in=OPEN) | Q(pk__in=_held_after_all())).order_by("id")


def _held_after_all() -> list[int]:
    closed = Dispute.objects.exclude(status__in=(*OPEN, DisputeStatus.LOST))
    # Asked at once, not as a part of another query, in which the table would have another name.
    held = RawSQL(held_sql("invoicing_dispute.id"), [])  # noqa: S611 - no parameter
    return list(closed.alias(held=held).exclude(held=0).values_list("pk", flat=True))
