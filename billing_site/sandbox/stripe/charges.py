"""Charges: one for each attempt, succeeded or failed."""

from billing_site.sandbox.stripe import store
from billing_site.sandbox.stripe.call import Call
from billing_site.sandbox.stripe.cards import TestCard
from billing_site.sandbox.stripe.payment_methods import card_checks
from billing_site.sandbox.stripe.store import Body


def retrieve(call: Call, charge_id: str) -> Body:
    """GET /v1/charges/{id}."""
    call.params.refuse_the_rest()
    return store.retrieve("charge", charge_id)


def list_page(call: Call) -> Body:
    """GET /v1/charges, narrowed by `customer`, `payment_intent`."""
    members = {name: call.params.text(name) for name in ("customer", "payment_intent") if name in call.params}
    found = store.page("charge", call.params, url="/v1/charges", members=members)
    call.params.refuse_the_rest()
    return found


def create_for(intent: Body, payment_method: Body, card: TestCard, *, base_url: str) -> Body:
    """Record one attempt to charge a card for an intent."""
    charge_id = store.new_id("charge")
    paid = not card.code
    nothing = (
        "application application_fee application_fee_amount balance_transaction failure_balance_transaction "
        "on_behalf_of receipt_email receipt_number review shipping source source_transfer statement_descriptor "
        "statement_descriptor_suffix transfer_data transfer_group"
    )
    return store.create(
        "charge",
        {
            "id": charge_id,
            **dict.fromkeys(nothing.split()),
            "amount": intent["amount"],
            "amount_captured": intent["amount"] if paid else 0,
            "amount_refunded": 0,
            "billing_details": payment_method["billing_details"],
            "calculated_statement_descriptor": "SANDBOX",
            "captured": paid,
            "created": store.timestamp(),
            "currency": intent["currency"],
            "customer": intent["customer"],
            "description": intent["description"],
            "disputed": False,
            "failure_code": card.code or None,
            "failure_message": card.message or None,
            "fraud_details": {},
            "livemode": False,
            "metadata": {},
            "outcome": _outcome(card),
            "paid": paid,
            "payment_intent": intent["id"],
            "payment_method": payment_method["id"],
            "payment_method_details": _details(payment_method, amount=intent["amount"]),
            "receipt_url": f"{base_url}/receipts/{charge_id}" if paid else None,
            "refunded": False,
            "status": "succeeded" if paid else "failed",
        },
    )


def _outcome(card: TestCard) -> Body:
    paid = not card.code
    return {
        "advice_code": None if paid else "try_again_later",
        "network_advice_code": None,
        "network_decline_code": None if paid else "05",
        "network_status": "approved_by_network" if paid else "declined_by_network",
        "reason": None if paid else card.decline_code or card.code,
        "risk_level": "normal",
        "risk_score": 1,
        "seller_message": "Payment complete." if paid else "The bank did not return any further details.",
        "type": "authorized" if paid else "issuer_declined",
    }


def _details(payment_method: Body, *, amount: int) -> Body:
    card = payment_method["card"]
    return {
        "card": {
            "amount_authorized": amount,
            "authorization_code": None,
            "brand": card["brand"],
            "checks": card_checks(),
            "country": card["country"],
            "exp_month": card["exp_month"],
            "exp_year": card["exp_year"],
            "extended_authorization": {"status": "disabled"},
            "fingerprint": card["fingerprint"],
            "funding": card["funding"],
            "incremental_authorization": {"status": "unavailable"},
            "installments": None,
            "last4": card["last4"],
            "mandate": None,
            "multicapture": {"status": "unavailable"},
            "network": card["brand"],
            "network_token": {"used": False},
            "network_transaction_id": None,
            "overcapture": {"maximum_amount_capturable": amount, "status": "unavailable"},
            "regulated_status": "unregulated",
            "three_d_secure": None,
            "transaction_link_id": None,
            "wallet": None,
        },
        "type": "card",
    }
