"""Payment intents: one for each invoice over more than zero."""

from typing import Any

from billing_site.sandbox.stripe import store
from billing_site.sandbox.stripe.call import Call
from billing_site.sandbox.stripe.store import Body


def retrieve(call: Call, intent_id: str) -> Body:
    """GET /v1/payment_intents/{id}."""
    call.params.refuse_the_rest()
    return store.retrieve("payment_intent", intent_id)


def list_page(call: Call) -> Body:
    """GET /v1/payment_intents, narrowed by `customer`."""
    customer = call.params.text("customer")
    members = {"customer": customer} if customer else {}
    found = store.page("payment_intent", call.params, url="/v1/payment_intents", members=members)
    call.params.refuse_the_rest()
    return found


def create_for(invoice: Body) -> Body:
    """Make the payment intent of an invoice that is being finalised."""
    intent_id = store.new_id("payment_intent")
    nothing = (
        "application application_fee_amount automatic_payment_methods canceled_at cancellation_reason customer_account "
        "excluded_payment_method_types last_payment_error latest_charge next_action on_behalf_of payment_method "
        "payment_method_configuration_details processing receipt_email review setup_future_usage shipping source "
        "statement_descriptor statement_descriptor_suffix transfer_data transfer_group"
    )
    return store.create(
        "payment_intent",
        {
            "id": intent_id,
            **dict.fromkeys(nothing.split()),
            "amount": invoice["amount_due"],
            "amount_capturable": 0,
            "amount_details": {"tip": {}},
            "amount_received": 0,
            "capture_method": "automatic",
            "client_secret": f"{intent_id}_secret_{store.new_id('event').removeprefix('evt_')}",
            "confirmation_method": "automatic",
            "created": store.timestamp(),
            "currency": invoice["currency"],
            "customer": invoice["customer"],
            "description": f"Payment for Invoice {invoice['number']}",
            "livemode": False,
            "managed_payments": {"enabled": False},
            "metadata": {},
            "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
            "payment_method_types": ["card"],
            "status": "requires_payment_method",
        },
    )


def succeed(intent: Body, *, payment_method: str, charge: str) -> Body:
    """Record that a charge paid the whole intent."""
    intent.update({"status": "succeeded", "amount_received": intent["amount"], "last_payment_error": None})
    intent.update({"payment_method": payment_method, "latest_charge": charge, "next_action": None})
    return store.save(intent)


def fail(intent: Body, *, charge: str, error: dict[str, Any]) -> Body:
    """Record a declined charge: the intent waits for another payment method."""
    intent.update({"status": "requires_payment_method", "payment_method": None, "latest_charge": charge})
    intent["last_payment_error"] = error
    return store.save(intent)


def require_action(intent: Body, *, payment_method: str, base_url: str) -> Body:
    """Record that the customer has to confirm the payment with the bank."""
    intent.update({"status": "requires_action", "payment_method": payment_method, "last_payment_error": None})
    url = f"{base_url}/3ds/{intent['id']}"
    intent["next_action"] = {"type": "redirect_to_url", "redirect_to_url": {"return_url": None, "url": url}}
    return store.save(intent)


def cancel(intent_id: str) -> Body:
    """Give up an intent because its invoice was voided."""
    intent = store.lock("payment_intent", intent_id)
    intent.update({"status": "canceled", "canceled_at": store.timestamp(), "cancellation_reason": "void_invoice"})
    return store.save(intent)
