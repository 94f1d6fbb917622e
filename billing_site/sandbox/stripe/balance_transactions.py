"""Balance transactions: what a charge leaves on the account after Stripe's fee."""

from billing_site.sandbox.stripe import store
from billing_site.sandbox.stripe.call import Call
from billing_site.sandbox.stripe.currencies import fee_of
from billing_site.sandbox.stripe.store import Body

DAYS_UNTIL_AVAILABLE = 2


def retrieve(call: Call, transaction_id: str) -> Body:
    """GET /v1/balance_transactions/{id}."""
    call.params.refuse_the_rest()
    return store.retrieve("balance_transaction", transaction_id)


def list_page(call: Call) -> Body:
    """GET /v1/balance_transactions, narrowed by `source`, `type`."""
    members = {name: call.params.text(name) for name in ("source", "type") if name in call.params}
    found = store.page("balance_transaction", call.params, url="/v1/balance_transactions", members=members)
    call.params.refuse_the_rest()
    return found


def create_for(charge: Body) -> Body:
    """Record the income from a charge that succeeded."""
    created = store.timestamp()
    fee = fee_of(charge["amount"], charge["currency"])
    return store.create(
        "balance_transaction",
        {
            "amount": charge["amount"],
            "available_on": created + DAYS_UNTIL_AVAILABLE * 86_400,
            "balance_type": "payments",
            "created": created,
            "currency": charge["currency"],
            "description": charge["description"],
            "exchange_rate": None,
            "fee": fee,
            "fee_details": [
                {
                    "amount": fee,
                    "application": None,
                    "currency": charge["currency"],
                    "description": "Stripe processing fees",
                    "type": "stripe_fee",
                }
            ],
            "net": charge["amount"] - fee,
            "reporting_category": "charge",
            "source": charge["id"],
            "status": "pending",
            "type": "charge",
        },
    )
