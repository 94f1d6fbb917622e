"""What single customers agreed to beside their plan: coupons, a price of their own, commitments, add-ons, credit, budgets."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal

from moneyed import Money

from billing_site.demo.company import CUSTOMERS
from billing_site.kernel.clock import now
from invoicing.catalog.queries import published_version
from invoicing.core.definition import price_from_definition
from invoicing.credits.operations import GrantTerms, grant_credit
from invoicing.customers.queries import customer_by_key
from invoicing.invoices.models import Invoice, InvoiceKind, InvoiceStatus
from invoicing.progressive.operations import set_threshold
from invoicing.subscriptions.commit import TrancheWanted, commit_spend
from invoicing.subscriptions.models import Subscription
from invoicing.subscriptions.override import OwnPrice, override_price
from invoicing.subscriptions.redeem import redeem_coupon
from invoicing.subscriptions.start import start_subscription
from invoicing.workflows.bill_progressively import bill_progressively
from invoicing.workflows.watch_spend import set_watched_budget
from metering.rollup import roll_up

ACTOR = "demo"
# Coupons of the catalog, by who redeemed them with the first subscription.
COUPONS = {"cust_atelier_brune": "LAUNCH20", "cust_quill": "LAUNCH20"}
# One large customer pays less for a query than the list says.
OWN_PRICES = {
    "cust_orbital": ("queries", {"model": "per_unit", "unit_amount": "0.0004", "free_units": "1000000"}),
}
# Plans that are sold only together with another, by who has them beside it.
ADD_ONS = {
    "cust_northwind": "search-support",
    "cust_isar_werke": "search-support",
    "cust_agora": "agent-checkout",
    "cust_lisboa_labs": "agent-checkout",
}


@dataclass(frozen=True)
class Promise:
    """Spend that a customer committed to, quarter by quarter."""

    payment: str
    quarters: tuple[str, ...]
    rollover_max: str = ""
    overage_rate: str = "1"


# One pays each quarter before it, more from the second on, and less than the list beyond it; one makes up for what is missing at its end.
PROMISES = {
    "cust_deepfield": Promise("in_advance", ("1100", "1300", "1300", "1300"), rollover_max="200", overage_rate="0.9"),
    "cust_copperleaf": Promise("in_arrears", ("1500", "1500", "1500", "1500")),
}


@dataclass(frozen=True)
class Gift:
    """Credit that a customer has from its start on, given or paid for before it is used."""

    key: str
    name: str
    kind: str
    amount: str
    days: int | None = None


# The start-up's credit runs out with something left; the other paid for two hundred and was given ten with it.
CREDIT = {
    "cust_parlance": (Gift("startups", "Start-up programme", "promotional", "150", days=75),),
    "cust_nimbus_iberica": (
        Gift("topup", "Top-up", "prepaid", "200"),
        Gift("bonus", "Bonus with the first top-up", "promotional", "10", days=365),
    ),
}
# Budgets as parts of the last invoice, and what happens when they are reached.
BUDGETS = {
    "cust_vantage_ai": ("0.8", "notify"),
    "cust_northwind": ("1.1", "notify"),
    "cust_tinker_school": ("0.5", "stop"),
}


# Who pays while the month runs, from so large a part of the invoice before on.
PROGRESSIVE = {"cust_vantage_ai": "0.2"}


def agree_terms(*, number: int, subscription: Subscription) -> None:
    """Agree with the customer at that position of CUSTOMERS what it has beside its plan; a second time changes nothing."""
    key, at = CUSTOMERS[number].key, subscription.started_at
    if key in COUPONS:
        redeem_coupon(
            code=COUPONS[key],
            customer=subscription.customer,
            subscription=None,
            at=at,
            actor=ACTOR,
            reason="signed up during the launch",
        )
    if key in OWN_PRICES:
        price_key, definition = OWN_PRICES[key]
        own = OwnPrice(price_key, price_from_definition(definition))
        override_price(subscription=subscription, own=own, at=at, actor=ACTOR, reason="agreed for three years")
    if key in ADD_ONS:
        start_subscription(
            key=f"{subscription.key}_add_on",
            customer=subscription.customer,
            plan_version=published_version(plan_key=ADD_ONS[key]),
            started_at=at,
            parent=subscription,
            actor=ACTOR,
            reason="ordered with the plan",
        )
    if key in PROMISES and not subscription.tranches.exists():
        _commit(PROMISES[key], subscription=subscription)
    for gift in CREDIT.get(key, ()):
        _grant(gift, subscription=subscription)


def set_budgets(*, billed_until: datetime) -> None:
    """Give some customers a budget of about what their last closed month cost."""
    for key, (part, at_limit) in BUDGETS.items():
        customer = customer_by_key(key=key)
        issued = Invoice.objects.filter(customer=customer, period_end__lte=billed_until)
        last = issued.exclude(status=InvoiceStatus.DRAFT).order_by("-period_end")[0]
        amount = (last.total.amount * Decimal(part)).quantize(Decimal(1), ROUND_DOWN)
        set_watched_budget(
            key=f"budget_{customer.key}",
            customer=customer,
            name="Monthly budget",
            amount=Money(max(amount, Decimal(1)), customer.currency),
            projected_thresholds=(100,),
            at_limit=at_limit,
            at=now(),
            actor=ACTOR,
            reason="asked for on the phone",
        )


def bill_while_the_month_runs(*, at: datetime) -> None:
    """Invoice at once, at a moment of the last month that is billed, what some customers used until then; a second time changes nothing."""
    roll_up()
    for key, part in PROGRESSIVE.items():
        customer = customer_by_key(key=key)
        issued = customer.invoices.filter(kind=InvoiceKind.PERIOD, period_end__lte=at)
        last = issued.exclude(status=InvoiceStatus.DRAFT).order_by("-period_end")[0]
        amount = (last.total.amount * Decimal(part)).quantize(Decimal(1), ROUND_DOWN)
        threshold = set_threshold(
            customer=customer,
            key=f"threshold_{customer.key}",
            amount=Money(max(amount, Decimal(1)), customer.currency),
            step=None,
            at=last.period_end,
            actor=ACTOR,
            reason="no more than that is on credit",
        )
        bill_progressively(threshold_id=threshold.pk, at=at)


def _commit(promise: Promise, *, subscription: Subscription) -> None:
    commit_spend(
        subscription=subscription,
        starts_at=subscription.started_at,
        payment=promise.payment,
        tranches=[TrancheWanted(periods=3, amount=Decimal(amount)) for amount in promise.quarters],
        rolls_over=bool(promise.rollover_max),
        rollover_max=Decimal(promise.rollover_max) if promise.rollover_max else None,
        overage_rate=Decimal(promise.overage_rate),
        at=subscription.started_at,
        actor=ACTOR,
        reason="agreed for the first year",
    )


def _grant(gift: Gift, *, subscription: Subscription) -> None:
    customer, at = subscription.customer, subscription.started_at
    terms = GrantTerms(
        key=f"{customer.key}_{gift.key}",
        kind=gift.kind,
        name=gift.name,
        amount=Money(gift.amount, customer.currency),
        effective_at=at,
        expires_at=None if gift.days is None else at + timedelta(days=gift.days),
    )
    grant_credit(customer=customer, terms=terms, at=at, actor=ACTOR, reason="agreed at the start")
