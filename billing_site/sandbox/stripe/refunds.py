"""Refunds: a charge is paid back, whole or in parts, never beyond its amount; here the bank always takes it at once."""

from billing_site.sandbox.stripe import balance_transactions, disputes, store
from billing_site.sandbox.stripe.call import Call
from billing_site.sandbox.stripe.errors import invalid
from billing_site.sandbox.stripe.store import Body

REASONS = ("duplicate", "fraudulent", "requested_by_customer")


def create(call: Call) -> Body:
    """POST /v1/refunds: of a charge, or of the payment intent that made it."""
    params = call.params
    charge_id, intent_id = params.text("charge"), params.text("payment_intent")
    if not charge_id and intent_id:
        charge_id = store.retrieve("payment_intent", intent_id, param="payment_intent")["latest_charge"]
    if not charge_id:
        raise invalid("One of the following params should be provided: payment_intent or charge.")
    charge = store.lock("charge", charge_id, param="charge")
    if disputes.is_held(charge_id):
        raise invalid(f"Charge {charge_id} has been charged back; cannot issue a refund.", code="charge_disputed")
    left = charge["amount_captured"] - charge["amount_refunded"]
    if not left:
        raise invalid(f"Charge {charge_id} has already been refunded.", code="charge_already_refunded")
    amount = params.integer("amount", low=1) or left
    reason = params.choice("reason", REASONS)
    metadata = params.metadata({})
    params.refuse_the_rest()
    if amount > left:
        message = f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})"
        raise invalid(message, param="amount")
    refund = store.create(
        "refund",
        {
            "amount": amount,
            "balance_transaction": None,
            "charge": charge_id,
            "created": store.timestamp(),
            "currency": charge["currency"],
            "destination_details": {
                "card": {
                    "reference_status": "pending",
                    "reference_type": "acquirer_reference_number",
                    "type": "refund",
                },
                "type": "card",
            },
            "metadata": metadata,
            "payment_intent": charge["payment_intent"],
            "reason": reason,
            "receipt_number": None,
            "source_transfer_reversal": None,
            "status": "succeeded",
            "transfer_reversal": None,
        },
    )
    refund["balance_transaction"] = balance_transactions.create_for_refund(refund)["id"]
    store.save(refund)
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount_captured"]
    call.announce("charge.refunded", store.save(charge))
    call.announce("refund.created", refund)
    return refund


def retrieve(call: Call, refund_id: str) -> Body:
    """GET /v1/refunds/{id}."""
    call.params.refuse_the_rest()
    return store.retrieve("refund", refund_id)


def list_page(call: Call) -> Body:
    """GET /v1/refunds, narrowed by `charge`, `payment_intent`."""
    members = {name: call.params.text(name) for name in ("charge", "payment_intent") if name in call.params}
    found = store.page("refund", call.params, url="/v1/refunds", members=members)
    call.params.refuse_the_rest()
    return found
