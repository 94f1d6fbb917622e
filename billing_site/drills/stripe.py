"""A failure drill: invoices of made-up customers go through a Stripe that fails as ordered; afterwards it is checked that each is there once.

Only against our own sandbox: the key, the address and the sandbox itself are asked, each time before anything is done.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from urllib.parse import urlsplit

import requests
from django.conf import settings
from django.db import transaction
from django.db.models import Count
from moneyed import Money

from billing_site.kernel.errors import Conflict
from billing_site.sandbox import faults
from billing_site.sandbox.models import SandboxObject
from invoicing.customers.models import Customer
from invoicing.customers.operations import create_customer
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.invoices.one_off import NewItem
from invoicing.ledger.queries import unbalanced_entries
from invoicing.payments.models import Payment, PushIntent, PushStatus, StripeNotice
from invoicing.tax.models import SellerTax
from invoicing.tax.operations import set_customer_tax
from invoicing.tax.queries import settings_on
from invoicing.workflows.follow_stripe import follow_invoice
from invoicing.workflows.invoice_once import invoice_once

ACTOR = "drill"
REASON = "failure drill against the sandbox"
KEY_PREFIX = "drill_"
CUSTOMERS_MAX = 20
CURRENCY = "EUR"
CARD = "pm_card_visa"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
TIMEOUT_SECONDS = 20
# What can be ordered, in percent of what it could strike.
FAULTS = (
    "rate_limit",
    "http_500",
    "timeout_after_effect",
    "drop_webhooks",
    "duplicate_webhooks",
    "reorder_webhooks",
    "delay_webhooks",
)


@dataclass(frozen=True)
class Check:
    """One thing that must hold after a drill, with what was found."""

    name: str
    holds: bool
    evidence: str


def require_sandbox() -> None:
    """Raise Conflict unless all that is called Stripe here is our sandbox."""
    if settings.STRIPE_LIVE_MODE or not settings.STRIPE_IS_SANDBOX:
        raise Conflict("STRIPE_SECRET_KEY is a key of Stripe's: drills are for the sandbox only", field="key")
    host = urlsplit(settings.STRIPE_API_HOST).hostname
    if host not in LOOPBACK:
        raise Conflict(f"Stripe is called at {host}: drills are for the sandbox on this machine only", field="host")


def order_faults(*, percents: Mapping[str, int], clock_skew_seconds: int = 0) -> None:
    """Let the sandbox fail so from now on; all that is not named is called off. Raises Conflict where no sandbox answers."""
    require_sandbox()
    for kind in FAULTS:
        _control("faults", {"kind": kind, "times": 0, "percent": percents.get(kind, 0)})
    _control("levels", {"kind": "clock_skew_seconds", "level": clock_skew_seconds})


def standing_faults() -> dict[str, int]:
    """Return what the sandbox fails at now, in percent, whoever ordered it."""
    return {kind: percent for kind, percent in faults.rates().items() if kind in FAULTS}


def begin(*, name: str, count: int, percents: Mapping[str, int], at: datetime) -> None:
    """Order the faults and issue the invoices; where they cannot be issued nothing is left of it, neither faults nor customers. Raises BillingError."""
    order_faults(percents=percents)
    try:
        with transaction.atomic():
            make_invoices(name=name, count=count, at=at)
    except BaseException:
        order_faults(percents={})
        raise


def make_invoices(*, name: str, count: int, at: datetime) -> list[Invoice]:
    """Issue one-off invoices to customers of the drill, who pay by a card of the sandbox; the same name again makes no more."""
    require_sandbox()
    assert count > 0, "a drill without invoices shows nothing"
    customers = [_customer(name, number, at=at) for number in range(min(count, CUSTOMERS_MAX))]
    return [
        invoice_once(
            customer=customers[number % len(customers)],
            key=f"{KEY_PREFIX}{name}_{number}",
            items=[
                NewItem(description="Failure drill", quantity=Decimal(1), unit_amount=Money(10 + number % 90, CURRENCY))
            ],
            at=at,
            actor=ACTOR,
            reason=REASON,
        )
        for number in range(count)
    ]


def invoices_of(*, name: str) -> list[Invoice]:
    """Return the invoices of a drill."""
    return list(Invoice.objects.filter(key__startswith=f"{KEY_PREFIX}{name}_").order_by("id"))


def is_over(*, name: str) -> bool:
    """Say whether everything of a drill is pushed and paid, and no notice waits."""
    unpaid = Invoice.objects.filter(key__startswith=f"{KEY_PREFIX}{name}_").exclude(status=InvoiceStatus.PAID)
    return not unpaid.exists() and not StripeNotice.objects.filter(processed_at=None, parked_at=None).exists()


def look_for_lost_news(*, name: str, at: datetime) -> int:
    """Compare what is pushed and unpaid with the sandbox, as the daily look does; returns how many were looked at."""
    waiting = PushIntent.objects.filter(
        invoice__key__startswith=f"{KEY_PREFIX}{name}_",
        status=PushStatus.PUSHED,
        invoice__status=InvoiceStatus.ISSUED,
    )
    intents = list(waiting.values_list("id", flat=True))
    for intent_id in intents:
        follow_invoice(intent_id=intent_id, at=at)
    return len(intents)


def check(*, name: str) -> list[Check]:
    """Compare the invoices of a drill with the sandbox, the payments and the books."""
    require_sandbox()
    invoices = invoices_of(name=name)
    wanted = {str(invoice.number): int(invoice.total.amount * 100) for invoice in invoices}
    there = SandboxObject.objects.filter(kind="invoice", body__number__in=list(wanted))
    told = [(body["number"], body["status"], body["amount_paid"]) for body in there.values_list("body", flat=True)]
    intents = PushIntent.objects.filter(invoice__in=invoices)
    keys = [str(key) for key in intents.values_list("key", flat=True)]
    ours = SandboxObject.objects.filter(kind="invoice", body__metadata__push_intent__in=keys).count()
    charged = SandboxObject.objects.filter(
        kind="charge",
        body__status="succeeded",
        body__customer__in=[body["customer"] for body in there.values_list("body", flat=True)],
    )
    sums = sum(charged.values_list("body__amount", flat=True))
    payments = Payment.objects.filter(invoice__in=invoices)
    twice = payments.values("invoice").annotate(times=Count("id")).exclude(times=1).count()
    paid = sum((payment.amount for payment in payments), Money(0, CURRENCY))
    pending = intents.exclude(status=PushStatus.PUSHED).count()
    unpaid = sum(invoice.status != InvoiceStatus.PAID for invoice in invoices)
    notices = StripeNotice.objects.filter(processed_at=None)
    unbalanced = unbalanced_entries()
    return [
        Check(
            "Each invoice is in the sandbox once",
            sorted(number for number, _, _ in told) == sorted(wanted) and ours == len(wanted),
            f"{len(wanted)} here, {len(told)} there under our numbers, {ours} there under our keys",
        ),
        Check(
            "Each is paid there, over what we invoiced",
            {number: amount for number, status, amount in told if status == "paid"} == wanted,
            f"{sum(status == 'paid' for _, status, _ in told)} paid there",
        ),
        Check(
            "No card is charged twice",
            sums == sum(wanted.values()),
            f"charged {sums / 100:.2f}, invoiced {sum(wanted.values()) / 100:.2f} {CURRENCY}",
        ),
        Check(
            "Each payment is booked once",
            payments.count() == len(wanted) and not twice and int(paid.amount * 100) == sum(wanted.values()),
            f"{payments.count()} payments over {paid.amount:.2f} {CURRENCY}, {twice} of them more than once",
        ),
        Check(
            "Nothing is left over",
            not pending and not unpaid and not notices.exists(),
            f"{pending} pushes, {unpaid} unpaid invoices, {notices.count()} notices",
        ),
        Check("The books balance", unbalanced == [], f"{len(unbalanced)} entries do not"),
    ]


def _customer(name: str, number: int, *, at: datetime) -> Customer:
    key = f"{KEY_PREFIX}{name}_{number}"
    known = Customer.objects.filter(key=key).first()
    if known is not None:
        return known
    customer = create_customer(
        key=key,
        name=f"Drill {name}, customer {number + 1}",
        email=f"{key}@drill.invalid",
        currency=CURRENCY,
        payment_method=CARD,
        actor=ACTOR,
        reason=REASON,
    )
    # Who sells with tax has to know where the customer is: next door.
    own = SellerTax.objects.filter(legal_entity__key=customer.seller_key).order_by("valid_from", "id")
    seller = settings_on(settings=list(own), day=at.date())
    if seller is not None:
        set_customer_tax(customer=customer, country=seller.country, actor=ACTOR, reason=REASON)
    return customer


def _control(what: str, order: Mapping[str, object]) -> None:
    """Tell the sandbox; Stripe itself knows no such address, and refuses the sandbox's key."""
    try:
        answer = requests.post(
            f"{settings.STRIPE_API_HOST}/_sandbox/{what}",
            data=order,
            headers={"Authorization": f"Bearer {settings.SANDBOX_SECRET_KEY}"},
            timeout=TIMEOUT_SECONDS,
        )
    except requests.RequestException as error:
        raise Conflict(f"no sandbox answers at {settings.STRIPE_API_HOST}: is `manage.py serve` running?") from error
    if answer.status_code != 200:
        raise Conflict(f"what answers at {settings.STRIPE_API_HOST} is no sandbox (HTTP {answer.status_code})")
