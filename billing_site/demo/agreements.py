"""What single customers agreed to beside their plan: a coupon, a price of their own, budgets."""

from datetime import datetime
from decimal import ROUND_DOWN, Decimal

from moneyed import Money

from billing_site.demo.company import CUSTOMERS
from billing_site.kernel.clock import now
from invoicing.core.definition import price_from_definition
from invoicing.customers.queries import customer_by_key
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.subscriptions.models import Subscription
from invoicing.subscriptions.override import OwnPrice, override_price
from invoicing.subscriptions.redeem import redeem_coupon
from invoicing.workflows.watch_spend import set_watched_budget

ACTOR = "demo"
# Coupons of the catalog, by who redeemed them with the first subscription.
COUPONS = {"cust_atelier_brune": "LAUNCH20", "cust_quill": "LAUNCH20"}
# One large customer pays less for a query than the list says.
OWN_PRICES = {
    "cust_orbital": ("queries", {"model": "per_unit", "unit_amount": "0.0004", "free_units": "1000000"}),
}
# Budgets as parts of the last invoice, and what happens when they are reached.
BUDGETS = {
    "cust_vantage_ai": ("0.8", "notify"),
    "cust_northwind": ("1.1", "notify"),
    "cust_tinker_school": ("0.5", "stop"),
}


def agree_terms(*, number: int, subscription: Subscription) -> None:
    """Redeem the coupon and agree the price of the customer at that position of CUSTOMERS; a second time changes nothing."""
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
