"""One search over customers, invoices, usage events, Stripe ids and amounts."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from django.db.models import Q
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from djstripe import models as stripe_mirror

from billing_site.display.figures import money, quantity
from billing_site.display.pills import pill
from invoicing.credit_notes.models import CreditNote
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice
from invoicing.payments.models import Payment, PushIntent, StripeNotice
from invoicing.stripe_subscriptions.models import StripeSubscription
from invoicing.subscriptions.models import Subscription
from metering.models import UsageEvent
from metering.queries import events_with_key

HITS_MAX = 12
# How the ids of Stripe's objects begin that are kept in its mirror (S0-029..033).
MIRRORED = {
    "ch": stripe_mirror.Charge,
    "cus": stripe_mirror.Customer,
    "dp": stripe_mirror.Dispute,
    "du": stripe_mirror.Dispute,
    "in": stripe_mirror.Invoice,
    "pi": stripe_mirror.PaymentIntent,
    "pm": stripe_mirror.PaymentMethod,
    "price": stripe_mirror.Price,
    "py": stripe_mirror.Charge,
    "sub": stripe_mirror.Subscription,
    "txn": stripe_mirror.BalanceTransaction,
}
AMOUNT_MAX = Decimal(10) ** 16


@dataclass(frozen=True)
class Hit:
    """One thing that was found."""

    title: str
    detail: SafeString | str
    url: str


@dataclass(frozen=True)
class HitGroup:
    """What was found of one kind; `exact` where the term is the very key of its only hit."""

    name: str
    hits: list[Hit]
    exact: bool = False


def search_everything(*, term: str, allowed: Callable[[str], bool]) -> list[HitGroup]:
    """Return what the term finds, by kind, at most HITS_MAX each; events by whole key only, so that it stays fast."""
    searches: tuple[tuple[str, str, Callable[[str], HitGroup]], ...] = (
        ("Customers", "invoicing.view_customer", _customers),
        ("Invoices", "invoicing.view_invoice", _invoices),
        ("Credit notes", "invoicing.view_creditnote", _credit_notes),
        ("Subscriptions", "invoicing.view_subscription", _subscriptions),
        ("Payments", "invoicing.view_payment", _payments),
        ("Stripe", "invoicing.view_stripenotice", _stripe),
        ("Usage events", "metering.view_usageevent", _events),
    )
    groups = [search(term) for _, permission, search in searches if allowed(permission)]
    return [group for group in groups if group.hits]


def _page(model: str, pk: object, *, app: str = "invoicing") -> str:
    return reverse(f"admin:{app}_{model}_change", args=[pk])


def _is_exact(term: str, keys: Iterable[str | None]) -> bool:
    return [key.lower() if key else "" for key in keys] == [term.lower()]


def _customers(term: str) -> HitGroup:
    found = Customer.objects.filter(
        Q(key__icontains=term) | Q(name__icontains=term) | Q(email__icontains=term) | Q(stripe_customer__stripe_id=term)
    ).order_by("name", "id")[:HITS_MAX]
    hits = [
        Hit(customer.name, f"{customer.key}, {customer.currency}", _page("customer", customer.pk)) for customer in found
    ]
    return HitGroup("Customers", hits, exact=_is_exact(term, [customer.key for customer in found]))


def _invoices(term: str) -> HitGroup:
    wanted = Q(number__icontains=term) | Q(push__stripe_invoice_id=term)
    amount = amount_in(term)
    if amount is not None:
        wanted |= Q(total=amount)
    found = Invoice.objects.filter(wanted).order_by("-period_end", "-id")[:HITS_MAX]
    hits = [
        Hit(
            invoice.number or f"draft {invoice.pk}",
            format_html("{} {} {}", pill(invoice.status), money(invoice.total), invoice.customer_name),
            _page("invoice", invoice.pk),
        )
        for invoice in found
    ]
    return HitGroup("Invoices", hits, exact=_is_exact(term, [invoice.number for invoice in found]))


def _credit_notes(term: str) -> HitGroup:
    found = CreditNote.objects.filter(number__icontains=term).select_related("invoice", "customer").order_by("-id")
    hits = [
        Hit(
            note.number,
            format_html("{} of {}, {}", money(note.total), note.invoice, note.customer.name),
            _page("creditnote", note.pk),
        )
        for note in found[:HITS_MAX]
    ]
    return HitGroup("Credit notes", hits, exact=_is_exact(term, [hit.title for hit in hits]))


def _subscriptions(term: str) -> HitGroup:
    found = Subscription.objects.filter(key__icontains=term).select_related("customer").order_by("key")[:HITS_MAX]
    hits = [Hit(one.key, one.customer.name, _page("subscription", one.pk)) for one in found]
    return HitGroup("Subscriptions", hits)


def _payments(term: str) -> HitGroup:
    wanted = Q(reference__iexact=term)
    amount = amount_in(term)
    if amount is not None:
        wanted |= Q(amount=amount)
    found = Payment.objects.filter(wanted).select_related("invoice").order_by("-received_at", "-id")[:HITS_MAX]
    hits = [
        Hit(
            payment.reference,
            format_html("{} for {}", money(payment.amount), payment.invoice),
            _page("payment", payment.pk),
        )
        for payment in found
    ]
    return HitGroup("Payments", hits)


def _stripe(term: str) -> HitGroup:
    notices = StripeNotice.objects.filter(Q(event_id=term) | Q(object_id=term)).order_by("-received_at")[:HITS_MAX]
    hits = [Hit(one.event_id, f"{one.event_type}: {one.outcome}", _page("stripenotice", one.pk)) for one in notices]
    pushes = PushIntent.objects.filter(stripe_invoice_id=term).select_related("invoice")[:HITS_MAX]
    hits += [Hit(str(one.stripe_invoice_id), f"push of {one.invoice}", _page("pushintent", one.pk)) for one in pushes]
    linked = StripeSubscription.objects.filter(stripe_id=term).select_related("subscription").order_by("-id")
    hits += [
        Hit(one.stripe_id, f"stands for {one.subscription}", _page("stripesubscription", one.pk))
        for one in linked[:HITS_MAX]
    ]
    return HitGroup("Stripe", hits + list(_mirrored(term)))


def _mirrored(term: str) -> Iterator[Hit]:
    """Yield what the mirror has of a whole id; its kind is in its first letters."""
    model: Any = MIRRORED.get(term.partition("_")[0])
    found = model.objects.filter(id=term).first() if model is not None else None
    if found is not None:
        name = str(found._meta.model_name)
        yield Hit(
            f"{found._meta.verbose_name.capitalize()} {term}",
            "as Stripe told it last",
            _page(name, found.pk, app="djstripe"),
        )


def _events(term: str) -> HitGroup:
    """Find events by their whole idempotency key; there is no index for parts of keys."""
    found = events_with_key(events=UsageEvent.objects.all(), key=term).order_by("id")[:HITS_MAX]
    hits = [
        Hit(
            event.event_id,
            f"{event.event_type} of {event.customer_id}: {quantity(event.quantity)}",
            _page("usageevent", event.pk, app="metering"),
        )
        for event in found
    ]
    return HitGroup("Usage events", hits)


def amount_in(term: str) -> Decimal | None:
    """Read an amount as people write it (1,234.50 or EUR 1234.5); None where the term is none."""
    text = term.upper().replace(",", "").replace(" ", "").lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ€$£¥")
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and abs(amount) < AMOUNT_MAX else None
