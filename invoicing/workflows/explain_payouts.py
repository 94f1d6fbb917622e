"""Explain what moved Stripe's balance by what we booked of it; what is left is a finding, and somebody says what it is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Prefetch, Q
from moneyed import Money

from billing_site.kernel.errors import Conflict, InvalidInput, NotFound
from billing_site.kernel.money import round_money, total
from billing_site.kernel.reasons import checked_reason
from invoicing.core.posting import ELSEWHERE, PAYMENT_FEES, postings_for_explanation
from invoicing.customers.models import SettlementChannel
from invoicing.invoices.printed_text import money_text
from invoicing.ledger.models import JournalEntry
from invoicing.ledger.operations import post_entry, stripe_holder
from invoicing.payments.dispute import DisputeMovement, MovementKind
from invoicing.payments.models import Payment
from invoicing.payments.payout import GONE_BACK, Payout, StripeTransaction, TransactionExplanation
from invoicing.payments.refund import Refund, RefundStatus

CHARGES = ("charge", "payment")
REFUNDS = ("refund", "payment_refund")
# Stripe's own invoices: they are nothing but fees.
FEES = ("stripe_fee", "stripe_fx_fee", "tax_fee")
PAYOUTS = ("payout",)
PAYOUTS_BACK = ("payout_failure", "payout_cancel")
# What each movement of a dispute did to Stripe's balance; a loss moves nothing more.
OF_DISPUTES = {
    MovementKind.WITHDRAWN.value: -1,
    MovementKind.RETURNED.value: 1,
    MovementKind.FEE.value: -1,
    MovementKind.FEE_RETURNED.value: 1,
}
CHUNK = 500


@dataclass(frozen=True)
class Explained:
    """A transaction beside our books: what they moved of it, by which document, and what no entry of ours says."""

    transaction: StripeTransaction
    booked: Money
    by: tuple[str, ...]
    invoice_id: int | None

    @property
    def difference(self) -> Money:
        """What Stripe moved beyond our books; nothing where it is explained."""
        return self.transaction.net - self.booked


def fee_to_book(*, one: StripeTransaction) -> Money:
    """Return the fee that a transaction is, or brings, and that is booked from it; that of a dispute is booked with the dispute."""
    if one.kind in FEES:
        return one.net * -1
    return one.fee if one.kind in (*CHARGES, *REFUNDS) else one.fee * 0


def explained(*, transactions: Iterable[StripeTransaction]) -> list[Explained]:
    """Return transactions beside our books, in their order; the number of queries does not grow with them."""
    rows = list(transactions)
    sources = {one.source for one in rows if one.source}
    ids = [one.stripe_id for one in rows]
    by_card = Payment.objects.filter(channel=SettlementChannel.STRIPE, reference__in=sources).select_related("invoice")
    payments = {one.reference: one for one in by_card}
    paid = Refund.objects.filter(channel=SettlementChannel.STRIPE, status=RefundStatus.PAID, reference__in=sources)
    refunds = {one.reference: one for one in paid.select_related("note")}
    references = [*ids, *(f"{one}/fee" for one in ids)]
    of_disputes = DisputeMovement.objects.filter(reference__in=references).select_related("dispute__payment")
    movements: dict[str, list[DisputeMovement]] = {}
    for movement in of_disputes.order_by("id"):
        movements.setdefault(movement.reference.removesuffix("/fee"), []).append(movement)
    payouts = {one.stripe_id: one for one in Payout.objects.filter(stripe_id__in=sources)}
    said = TransactionExplanation.objects.filter(transaction__in=[one.pk for one in rows])
    explanations: dict[int, list[TransactionExplanation]] = {}
    for explanation in said.order_by("number"):
        explanations.setdefault(explanation.transaction_id, []).append(explanation)
    return [_beside_books(one, payments, refunds, movements, payouts, explanations.get(one.pk, [])) for one in rows]


def _beside_books(
    one: StripeTransaction,
    payments: dict[str, Payment],
    refunds: dict[str, Refund],
    movements: dict[str, list[DisputeMovement]],
    payouts: dict[str, Payout],
    explanations: Sequence[TransactionExplanation],
) -> Explained:
    parts: list[tuple[Money, str]] = []
    invoice_id = None
    payment, refund, payout = payments.get(one.source), refunds.get(one.source), payouts.get(one.source)
    if one.kind in CHARGES and payment is not None:
        parts.append((payment.amount, f"payment of invoice {payment.invoice.number}"))
        invoice_id = payment.invoice_id
    if one.kind in REFUNDS and refund is not None:
        parts.append((refund.amount * -1, f"refund of credit note {refund.note.number}"))
        invoice_id = refund.note.invoice_id
    for movement in movements.get(one.stripe_id, ()):
        sign = OF_DISPUTES[movement.kind]
        parts.append((movement.amount * sign, f"dispute {movement.dispute}: {movement.get_kind_display().lower()}"))
        invoice_id = movement.dispute.payment.invoice_id
    if one.kind in PAYOUTS and payout is not None:
        parts.append((payout.amount * -1, f"payout {payout}"))
    if one.kind in PAYOUTS_BACK and payout is not None and payout.status in GONE_BACK:
        parts.append((payout.amount, f"payout {payout}, which went back"))
    if (fee := fee_to_book(one=one)).amount:
        parts.append((fee * -1, "Stripe's fee"))
    parts += [(said.amount, f"{said.actor}: {said.reason}") for said in explanations]
    # What we booked in another currency says nothing of this one.
    mine = [(amount, by) for amount, by in parts if amount.currency.code == one.currency]
    booked = total((round_money(amount.amount, one.currency) for amount, _ in mine), one.currency)
    return Explained(one, booked, tuple(by for _, by in parts), invoice_id)


def note_explained(*, transactions: Iterable[StripeTransaction], at: datetime) -> int:
    """Write down since when transactions are explained, of those that are; returns how many are new.

    What somebody explained and a document of ours says by now, too, waits again.
    """
    found = explained(transactions=transactions)
    holds = [one.transaction.pk for one in found if not one.difference.amount]
    holds_no_more = [one.transaction.pk for one in found if one.difference.amount]
    StripeTransaction.objects.filter(pk__in=holds_no_more, explained_at__isnull=False).update(explained_at=None)
    return StripeTransaction.objects.filter(pk__in=holds, explained_at__isnull=True).update(explained_at=at)


def look_again(*, at: datetime) -> int:
    """Look once more at what nothing, or a person, explained: a payment may have been recorded since; returns how many are explained now."""
    said = TransactionExplanation.objects.values("transaction")
    waiting = StripeTransaction.objects.filter(Q(explained_at__isnull=True) | Q(pk__in=said)).order_by("id")
    last, count = 0, 0
    while chunk := list(waiting.filter(pk__gt=last)[:CHUNK]):
        count += note_explained(transactions=chunk, at=at)
        last = chunk[-1].pk
    return count


@transaction.atomic
def explain_transaction(
    *, transaction_id: int, account: str, difference: Money, at: datetime, actor: str, reason: str
) -> TransactionExplanation:
    """Say what a transaction is, as far as nothing of ours says it: a fee, or booked elsewhere. `difference` is what was shown.

    Raises InvalidInput at `account` or `reason`, NotFound, Conflict where something else is unexplained by now, or nothing.
    """
    said = checked_reason(reason=reason)
    if account not in (PAYMENT_FEES, ELSEWHERE):
        raise InvalidInput(f"must be {PAYMENT_FEES} (fees) or {ELSEWHERE} (booked elsewhere)", field="account")
    row = StripeTransaction.objects.select_for_update(no_key=True).filter(pk=transaction_id).first()
    if row is None:
        raise NotFound("there is no such transaction", field="transaction")
    [found] = explained(transactions=[row])
    if not found.difference.amount or found.difference != difference:
        message = (
            f"{money_text(money=found.difference)} of {row} are unexplained by now, not {money_text(money=difference)}"
        )
        raise Conflict(message, field="difference", code="outdated")
    number = row.explanations.count() + 1
    explanation = TransactionExplanation.objects.create(
        transaction=row,
        number=number,
        reference=f"{row.stripe_id}/{number}",
        account=account,
        currency=row.currency,
        amount=found.difference,
        explained_at=at,
        actor=actor,
        reason=said,
    )
    post_entry(
        kind=JournalEntry.Kind.EXPLANATION,
        reference=explanation.reference,
        postings=postings_for_explanation(amount=explanation.amount, account=account),
        description=f"{row.kind.replace('_', ' ')} {row.stripe_id} at Stripe: {said}"[:300],
        occurred_at=row.created_at,
        entity=stripe_holder(),
    )
    note_explained(transactions=[row], at=at)
    return explanation


def with_transactions(*, payout: Payout, limit: int | None = None) -> list[Explained]:
    """Return what a payout was made of beside our books, the payout itself last; at most the first `limit` of it."""
    rows = payout.transactions.prefetch_related(Prefetch("explanations")).order_by("created_at", "id")
    found = explained(transactions=rows[:limit])
    return sorted(found, key=lambda one: one.transaction.source == payout.stripe_id)
