"""Products and prices of subscriptions that Stripe keeps; a plan is what Stripe still calls a price in some places."""

from billing_site.sandbox.stripe import store
from billing_site.sandbox.stripe.account import DEFAULT_CURRENCY
from billing_site.sandbox.stripe.call import Call
from billing_site.sandbox.stripe.errors import missing_parameter
from billing_site.sandbox.stripe.store import Body

INTERVALS = ("day", "week", "month", "year")


def create_product(call: Call) -> Body:
    """POST /v1/products."""
    at = store.timestamp()
    body: Body = {
        **dict.fromkeys(
            [
                "default_price",
                "description",
                "package_dimensions",
                "shippable",
                "tax_code",
                "statement_descriptor",
                "unit_label",
                "url",
            ]
        ),
        "active": True,
        "created": at,
        "images": [],
        "livemode": False,
        "marketing_features": [],
        "metadata": {},
        "name": call.params.required("name"),
        "type": "service",
        "updated": at,
    }
    call.params.refuse_the_rest()
    return store.create("product", body)


def retrieve_product(call: Call, product_id: str) -> Body:
    """GET /v1/products/{id}."""
    call.params.refuse_the_rest()
    return store.retrieve("product", product_id)


def create(call: Call) -> Body:
    """POST /v1/prices: so much per unit and interval."""
    product = store.retrieve("product", call.params.required("product"), param="product")
    recurring, amount = call.params.hash("recurring"), call.params.integer("unit_amount", low=0)
    if recurring is None or amount is None:
        raise missing_parameter("recurring" if recurring is None else "unit_amount")
    body = {
        **dict.fromkeys(["custom_unit_amount", "lookup_key", "nickname", "tiers_mode", "transform_quantity"]),
        "active": True,
        "billing_scheme": "per_unit",
        "created": store.timestamp(),
        "currency": call.params.currency("currency") or DEFAULT_CURRENCY,
        "livemode": False,
        "metadata": {},
        "product": product["id"],
        "recurring": {
            "interval": recurring.choice("interval", INTERVALS) or "month",
            "interval_count": recurring.integer("interval_count", low=1) or 1,
            "meter": None,
            "trial_period_days": None,
            "usage_type": "licensed",
        },
        "tax_behavior": "unspecified",
        "type": "recurring",
        "unit_amount": amount,
        "unit_amount_decimal": str(amount),
    }
    recurring.refuse_the_rest()
    call.params.refuse_the_rest()
    return store.create("price", body)


def retrieve(call: Call, price_id: str) -> Body:
    """GET /v1/prices/{id}."""
    call.params.refuse_the_rest()
    return store.retrieve("price", price_id)


def retrieve_plan(call: Call, price_id: str) -> Body:
    """GET /v1/plans/{id}, of the same name as its price."""
    call.params.refuse_the_rest()
    return plan_of(store.retrieve("price", price_id))


def plan_of(price: Body) -> Body:
    """Return a price as Stripe's older word for it."""
    recurring = price["recurring"]
    return {
        "active": price["active"],
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": price["billing_scheme"],
        "created": price["created"],
        "currency": price["currency"],
        "id": price["id"],
        "interval": recurring["interval"],
        "interval_count": recurring["interval_count"],
        "livemode": False,
        "metadata": {},
        "meter": None,
        "nickname": None,
        "object": "plan",
        "product": price["product"],
        "tiers_mode": None,
        "transform_usage": None,
        "trial_period_days": None,
        "usage_type": "licensed",
    }
