"""What may be asked about money coming in: how pushes and notices stand, and who paid what."""

from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from djstripe.models import PaymentMethod

from invoicing.credit_notes.models import CreditNote
from invoicing.customers.models import Customer, SettlementChannel
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.payments.models import Payment, PaymentFailure, PushIntent, PushStatus, StripeNotice
from invoicing.payments.refund import Refund, RefundStatus
from invoicing.payments.reversal import PaymentReversal
from invoicing.payments.withdrawal import VOIDED, WAS_VOID, WithdrawalStatus

# Of a push: what it made at Stripe is void there, because it was settled here another way.
WITHDRAWN = Q(withdrawal__status=WithdrawalStatus.DONE, withdrawal__outcome__in=(VOIDED, WAS_VOID))


@dataclass(frozen=True)
class KnownCard:
    """What is kept of a card."""

    brand: str
    last_digits: str
    valid_until: str


@dataclass(frozen=True)
class PaymentHealth:
    """How many pushes and notices are where; `delayed` ones have failed at least once and will be tried again."""

    pushes_pending: int
    pushes_delayed: int
    pushes_refused: int
    pushes_done: int
    notices_waiting: int
    notices_delayed: int


def payment_health() -> PaymentHealth:
    """Return the counts that tell whether the way to Stripe and back is clear (S3-029); two queries."""
    pushes = PushIntent.objects.aggregate(
        pending=Count("id", filter=Q(status=PushStatus.PENDING)),
        delayed=Count("id", filter=Q(status=PushStatus.PENDING, attempt_count__gt=0)),
        refused=Count("id", filter=Q(status=PushStatus.REFUSED)),
        done=Count("id", filter=Q(status=PushStatus.PUSHED)),
    )
    notices = unprocessed_notices().aggregate(waiting=Count("id"), delayed=Count("id", filter=Q(attempt_count__gt=0)))
    return PaymentHealth(
        pushes_pending=pushes["pending"],
        pushes_delayed=pushes["delayed"],
        pushes_refused=pushes["refused"],
        pushes_done=pushes["done"],
        notices_waiting=notices["waiting"],
        notices_delayed=notices["delayed"],
    )


def refused_pushes() -> QuerySet[PushIntent]:
    """Return the pushes that wait for people, oldest first; each says why in `last_error`."""
    return (
        PushIntent.objects.filter(status=PushStatus.REFUSED)
        .select_related("invoice__customer")
        .order_by("created_at", "id")
    )


def delayed_pushes() -> QuerySet[PushIntent]:
    """Return the pushes that were tried and have to be tried again, next attempt first."""
    return (
        PushIntent.objects.filter(status=PushStatus.PENDING, attempt_count__gt=0)
        .select_related("invoice__customer")
        .order_by("next_attempt_at", "id")
    )


def unprocessed_notices() -> QuerySet[StripeNotice]:
    """Return the notices that nothing has been done about yet, oldest first."""
    return StripeNotice.objects.filter(processed_at__isnull=True).order_by("received_at", "id")


def delayed_notices() -> QuerySet[StripeNotice]:
    """Return the notices that could not be followed when they were tried; `last_error` says why."""
    return unprocessed_notices().filter(attempt_count__gt=0).exclude(last_error="")


def payments_of(*, customer: Customer) -> QuerySet[Payment]:
    """Return what a customer has paid, latest first."""
    return Payment.objects.filter(customer=customer).select_related("invoice").order_by("-received_at", "-id")


def failures_of(*, customer: Customer) -> QuerySet[PaymentFailure]:
    """Return the refused attempts to collect from a customer, latest first."""
    return (
        PaymentFailure.objects.filter(invoice__customer=customer)
        .select_related("invoice")
        .order_by("-occurred_at", "-id")
    )


def refunds_to_transfer() -> QuerySet[Refund]:
    """Return the refunds that wait for a person, oldest first: by hand from the start, or refused by Stripe."""
    unpaid = Refund.objects.exclude(status__in=(RefundStatus.PAID, RefundStatus.FAILED))
    by_people = unpaid.exclude(status=RefundStatus.PENDING, channel=SettlementChannel.STRIPE)
    return by_people.select_related("note__customer").order_by("planned_at", "id")


def with_paid_back(*, notes: "QuerySet[CreditNote]") -> "QuerySet[Any]":
    """Return credit notes with `is_paid_back`: nothing of them waits to be paid back any more."""
    unpaid = Refund.objects.filter(note=OuterRef("pk")).exclude(status=RefundStatus.PAID)
    return notes.annotate(is_paid_back=~Exists(unpaid))


def card_words(*, payment_method: str) -> str:
    """Say which card stands behind a payment method, as far as Stripe's news of it has been kept; "" where it has not."""
    card = card_known(payment_method=payment_method)
    return f"{card.brand} ending in {card.last_digits}, valid until {card.valid_until}" if card else ""


def card_known(*, payment_method: str) -> KnownCard | None:
    """Return the card behind a payment method, as far as Stripe's news of it has been kept."""
    kept = PaymentMethod.objects.filter(id=payment_method).values_list("stripe_data", flat=True).first()
    card = (kept or {}).get("card") or {}
    if not card:
        return None
    valid_until = f"{card['exp_month']:02d}/{card['exp_year']}"
    return KnownCard(card["brand"].replace("_", " ").title(), card["last4"], valid_until)


def is_payable_online(*, invoice: Invoice) -> bool:
    """Say whether Stripe has a page on which the whole of an invoice can be paid; it asks for the total and nothing less."""
    return (
        invoice.status == InvoiceStatus.ISSUED
        and invoice.amount_unpaid == invoice.total
        and PushIntent.objects.filter(invoice=invoice, status=PushStatus.PUSHED).exists()
        and not is_withdrawn(invoice=invoice)
    )


def is_push_refused(*, invoice: Invoice) -> bool:
    """Say whether Stripe did not take an invoice, and people have to do something about it."""
    return PushIntent.objects.filter(invoice=invoice, status=PushStatus.REFUSED).exists()


def is_withdrawn(*, invoice: Invoice) -> bool:
    """Say whether Stripe collects an invoice no more: it was settled here another way, or is paid there by a direct debit that was returned.

    It stays so where what settled it is taken back.
    """
    returned = PaymentReversal.objects.filter(payment__invoice=invoice, payment__channel=SettlementChannel.STRIPE)
    return PushIntent.objects.filter(WITHDRAWN, invoice=invoice).exists() or returned.exists()
