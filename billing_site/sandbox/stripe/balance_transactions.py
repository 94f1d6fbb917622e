"""Balance transactions: what a charge leaves on the account after Stripe's fee, and what refunds and disputes take from it."""

from billing_site.sandbox.stripe import store
from billing_site.sandbox.stripe.call import Call
from billing_site.sandbox.stripe.currencies import fee_of
from billing_site.sandbox.stripe.store import Body

DAYS_UNTIL_AVAILABLE = 2
_CATEGORIES = {"payout_failure": "payout_reversal", "payout_cancel": "payout_reversal"}


def retrieve(call: Call, transaction_id: str) -> Body:
    """GET /v1/balance_transactions/{id}."""
    call.params.refuse_the_rest()
    return store.retrieve("balance_transaction", transaction_id)


def list_page(call: Call) -> Body:
    """GET /v1/balance_transactions, narrowed by `source`, `type`, `payout`, `created`."""
    members = {name: call.params.text(name) for name in ("source", "type") if name in call.params}
    if "payout" in call.params:
        members["_payout"] = call.params.text("payout")
    found = store.page("balance_transaction", call.params, url="/v1/balance_transactions", members=members)
    call.params.refuse_the_rest()
    return found


def create_for(charge: Body) -> Body:
    """Record the income from a charge that succeeded."""
    fee = fee_of(charge["amount"], charge["currency"])
    details = [_fee(fee, charge["currency"], "Stripe processing fees")]
    return _recorded(charge, amount=charge["amount"], kind="charge", fee=fee, fee_details=details)


def create_for_refund(refund: Body) -> Body:
    """Record what a refund takes from the account; the fee of the charge is not given back."""
    return _recorded(refund, amount=-refund["amount"], kind="refund", fee=0, fee_details=[])


def create_for_dispute(dispute: Body, *, amount: int, fee: int) -> Body:
    """Record what a dispute takes from the account (below zero) or gives back; the fee of the charge is not given back."""
    details = [_fee(fee, dispute["currency"], "Dispute fee")] if fee else []
    taken = amount < 0
    words = f"Chargeback {'withdrawal' if taken else 'reversal'} for {dispute['charge']}"
    source = {**dispute, "description": words}
    category = "dispute" if taken else "dispute_reversal"
    return _recorded(source, amount=amount, kind="adjustment", category=category, fee=fee, fee_details=details)


def create_for_payout(payout: Body, *, amount: int, kind: str) -> Body:
    """Record what a payout takes from the account (below zero), or brings back where it failed or was canceled."""
    return _recorded(payout, amount=amount, kind=kind, fee=0, fee_details=[], category=_CATEGORIES.get(kind, ""))


def _fee(amount: int, currency: str, description: str) -> Body:
    return {
        "amount": amount,
        "application": None,
        "currency": currency,
        "description": description,
        "type": "stripe_fee",
    }


def _recorded(source: Body, *, amount: int, kind: str, fee: int, fee_details: list[Body], category: str = "") -> Body:
    created = store.timestamp()
    return store.create(
        "balance_transaction",
        {
            "amount": amount,
            "available_on": created + DAYS_UNTIL_AVAILABLE * 86_400,
            "balance_type": "payments",
            "created": created,
            "currency": source["currency"],
            "description": source.get("description"),
            "exchange_rate": None,
            "fee": fee,
            "fee_details": fee_details,
            "net": amount - fee,
            "reporting_category": category or kind,
            "source": source["id"],
            "status": "pending",
            "type": kind,
        },
    )
