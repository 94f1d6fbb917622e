"""Subscriptions that Stripe keeps, as far as their states go: no invoice is made of them; time passes where a test says so."""

from billing_site.sandbox.stripe import payment_methods, prices, store
from billing_site.sandbox.stripe.call import Call
from billing_site.sandbox.stripe.errors import invalid, missing_parameter
from billing_site.sandbox.stripe.store import Body

MONTH = 30 * 86_400
ENDED = ("canceled", "incomplete_expired")
STATUSES = ("incomplete", "trialing", "active", "past_due", "unpaid", "paused", *ENDED)
# docs.stripe.com/billing/subscriptions/overview: which state follows which.
MOVES = {
    "incomplete": ("active", "incomplete_expired", "canceled"),
    "trialing": ("active", "past_due", "paused", "canceled"),
    "active": ("past_due", "canceled", "paused"),
    "past_due": ("active", "unpaid", "canceled"),
    "unpaid": ("active", "canceled"),
    "paused": ("active", "canceled"),
}


def create(call: Call) -> Body:
    """POST /v1/subscriptions of one price: in its trial, active where the card pays, otherwise incomplete."""
    customer = store.retrieve("customer", call.params.required("customer"), param="customer")
    items = call.params.hashes("items")
    trial_end = call.params.integer("trial_end", low=0)
    metadata = call.params.metadata({})
    call.params.refuse_the_rest()
    if len(items) != 1:
        raise missing_parameter("items") if not items else invalid("The sandbox takes one item.", param="items")
    price = store.retrieve("price", items[0].required("price"), param="items[0][price]")
    quantity = items[0].integer("quantity", low=0) or 1
    items[0].refuse_the_rest()
    status = "trialing" if trial_end else "active" if _pays(customer) else "incomplete"
    body = store.create("subscription", _blank(customer, price, status=status, trial_end=trial_end))
    body["metadata"] = metadata
    body["items"] = _items(body, price, quantity)
    call.announce("customer.subscription.created", store.save(body))
    return body


def retrieve(call: Call, subscription_id: str) -> Body:
    """GET /v1/subscriptions/{id}."""
    call.params.refuse_the_rest()
    return store.retrieve("subscription", subscription_id)


def list_page(call: Call) -> Body:
    """GET /v1/subscriptions, narrowed by `customer` and `status`; those that have ended only where asked for."""
    customer, status = call.params.text("customer"), call.params.choice("status", (*STATUSES, "all"))
    members = {"customer": customer} if customer else {}
    if status and status != "all":
        members["status"] = status
    found = store.page("subscription", call.params, url="/v1/subscriptions", members=members)
    call.params.refuse_the_rest()
    if status is None:
        found["data"] = [body for body in found["data"] if body["status"] not in ENDED]
    return found


def cancel(call: Call, subscription_id: str) -> Body:
    """DELETE /v1/subscriptions/{id}: at once."""
    call.params.refuse_the_rest()
    return _move(call, subscription_id, "canceled")


def move_on_demand(call: Call, subscription_id: str) -> Body:
    """POST /_sandbox/subscriptions/{id}/move to a `status` that may follow, as time and the bank would."""
    status = call.params.choice("status", STATUSES)
    call.params.refuse_the_rest()
    if status is None:
        raise missing_parameter("status")
    return _move(call, subscription_id, status)


def _move(call: Call, subscription_id: str, status: str) -> Body:
    body = store.lock("subscription", subscription_id)
    if status not in MOVES.get(body["status"], ()):
        raise invalid(f"A subscription that is {body['status']} does not become {status}.", param="status")
    body["status"] = status
    if status in ENDED:
        body["canceled_at"] = body["ended_at"] = store.timestamp()
    is_deleted = status == "canceled"
    call.announce(f"customer.subscription.{'deleted' if is_deleted else 'updated'}", store.save(body))
    return body


def _pays(customer: Body) -> bool:
    method = customer["invoice_settings"]["default_payment_method"]
    return method is not None and not payment_methods.card_of(store.retrieve("payment_method", method)).code


def _items(subscription: Body, price: Body, quantity: int) -> Body:
    item = {
        "billed_until": None,
        "billing_thresholds": None,
        "created": subscription["created"],
        "current_period_end": subscription["created"] + MONTH,
        "current_period_start": subscription["created"],
        "discounts": [],
        "id": store.new_id("subscription_item"),
        "metadata": {},
        "object": "subscription_item",
        "plan": prices.plan_of(price),
        "price": price,
        "quantity": quantity,
        "subscription": subscription["id"],
        "tax_rates": [],
    }
    url = f"/v1/subscription_items?subscription={subscription['id']}"
    return {"object": "list", "data": [item], "has_more": False, "url": url}


def _blank(customer: Body, price: Body, *, status: str, trial_end: int | None) -> Body:
    at = store.timestamp()
    nothing = (
        "application application_fee_percent billing_cycle_anchor_config billing_thresholds cancel_at canceled_at "
        "customer_account days_until_due default_payment_method default_source description ended_at latest_invoice "
        "managed_payments next_pending_invoice_item_invoice on_behalf_of pause_collection payment_settings "
        "pending_invoice_item_interval pending_setup_intent pending_update schedule test_clock transfer_data trial_settings"
    )
    return {
        **dict.fromkeys(nothing.split()),
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
        "billing_cycle_anchor": at,
        "billing_mode": {"type": "classic"},
        "billing_schedules": [],
        "cancel_at_period_end": False,
        "cancellation_details": {"comment": None, "feedback": None, "reason": None},
        "collection_method": "charge_automatically",
        "created": at,
        "currency": price["currency"],
        "customer": customer["id"],
        "default_tax_rates": [],
        "discounts": [],
        "invoice_settings": {
            "account_tax_ids": None,
            "custom_fields": None,
            "description": None,
            "footer": None,
            "issuer": {"type": "self"},
        },
        "items": {"object": "list", "data": [], "has_more": False, "url": "/v1/subscription_items"},
        "livemode": False,
        "metadata": {},
        "start_date": at,
        "status": status,
        "trial_end": trial_end,
        "trial_start": at if trial_end else None,
    }
