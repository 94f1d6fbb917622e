"""What may be asked about subscriptions: which phase counts now, and who is on which plan version."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet, Sum
from django.db.models.functions import Coalesce
from moneyed import Money

from billing_site.kernel.money import EXACT, round_money
from invoicing.core.phases import PhaseKind
from invoicing.customers.models import Customer, SettlementChannel
from invoicing.subscriptions.agreements import IN_ADVANCE
from invoicing.subscriptions.models import Subscription, SubscriptionPhase


def phase_shown(*, subscription: Subscription, at: datetime) -> SubscriptionPhase:
    """Return the phase in force at a moment; of a planned subscription the first, of an ended one the last."""
    phases = sorted(subscription.phases.all(), key=lambda phase: phase.starts_at)
    assert phases, "a subscription has a phase"
    return next((phase for phase in reversed(phases) if phase.starts_at <= at), phases[0])


def held_in_advance(*, subscriptions: Iterable[Subscription]) -> dict[int, Money]:
    """Return what issued invoices have taken in advance of subscriptions and not settled, by primary key: those only of which they ever took any."""
    currencies = {one.pk: one.customer.currency for one in subscriptions}
    of_invoices = Q(invoice_lines__adjustment__in=IN_ADVANCE) & ~Q(invoice_lines__invoice__status__in=("draft", "void"))
    sums = Subscription.objects.filter(pk__in=currencies).annotate(
        held=Sum("invoice_lines__amount", filter=of_invoices)
    )
    held = dict(sums.order_by().values_list("pk", "held"))
    given_back = Subscription.objects.filter(pk__in=currencies, invoice_lines__credit_note_lines__released__gt=0)
    released = dict(
        given_back.order_by()
        .annotate(released=Sum("invoice_lines__credit_note_lines__released"))
        .values_list("pk", "released")
    )
    return {
        pk: round_money(EXACT.subtract(amount, released.get(pk, Decimal(0))), currencies[pk])
        for pk, amount in held.items()
        if amount is not None
    }


def phases_in_force(*, at: datetime) -> "QuerySet[SubscriptionPhase]":
    """Return the phases that hold a moment: one for each subscription that runs then."""
    return SubscriptionPhase.objects.filter(Q(ends_at__isnull=True) | Q(ends_at__gt=at), starts_at__lte=at)


def payers_in_force(*, at: datetime) -> "QuerySet[Any, Any]":
    """Return the numbers (`payer`) of who is billed for the subscriptions that run at a moment: whose tax data, for one, is needed."""
    payer = Coalesce("subscription__customer__billed_to", "subscription__customer")
    return phases_in_force(at=at).values(payer=payer)


def who_is_billed() -> "QuerySet[Customer]":
    """Return the customers who are billed for a subscription: their own, or one of an account that is billed to them."""
    subscribed = Subscription.objects.filter(customer=OuterRef("pk"))
    of_accounts = Subscription.objects.filter(customer__billed_to=OuterRef("pk"))
    return Customer.objects.filter(Exists(subscribed) | Exists(of_accounts), billed_to=None)


def incomplete(*, at: datetime) -> "QuerySet[Subscription]":
    """Return the running subscriptions whose trial is over and for which who pays has no means of payment though one is needed.

    They are charged like any other, so that nothing is free by accident; but nothing can be collected (S1-040..043).
    """
    charged = phases_in_force(at=at).filter(kind=PhaseKind.ACTIVE.value).values("subscription")
    tried = SubscriptionPhase.objects.filter(kind=PhaseKind.TRIAL.value, ends_at__lte=at).values("subscription")
    paying = Subscription.objects.annotate(
        channel=Coalesce("customer__billed_to__settlement_channel", "customer__settlement_channel"),
        method=Coalesce("customer__billed_to__payment_method", "customer__payment_method"),
    )
    return paying.filter(pk__in=charged, channel=SettlementChannel.STRIPE, method="").filter(pk__in=tried)


def state_of(*, subscription: Subscription, at: datetime) -> str:
    """Return the word for a subscription at a moment: planned, trial, running, incomplete, paused or ended."""
    if subscription.started_at > at:
        return "planned"
    if subscription.ended_at is not None and subscription.ended_at <= at:
        return "ended"
    kind = phase_shown(subscription=subscription, at=at).kind
    if kind != PhaseKind.ACTIVE.value:
        return kind
    tried = any(phase.kind == PhaseKind.TRIAL.value and phase.ends_at <= at for phase in subscription.phases.all())  # type: ignore[operator]
    payer = subscription.customer.payer
    cannot_pay = payer.settlement_channel == SettlementChannel.STRIPE and not payer.payment_method
    return "incomplete" if tried and cannot_pay else "running"
