"""Payouts: what is available on the balance goes to the bank once a day, by the sandbox's clock, or on demand of a test; a bank may send it back."""

from django.db import connection

from billing_site.sandbox.models import SandboxObject
from billing_site.sandbox.stripe import balance_transactions, store
from billing_site.sandbox.stripe.call import Call
from billing_site.sandbox.stripe.errors import invalid
from billing_site.sandbox.stripe.store import Body

DAYS_UNTIL_SENT, DAYS_UNTIL_ARRIVED = 1, 2
STATUSES = ("pending", "in_transit", "paid", "failed", "canceled")
# What a test may say that becomes of a payout; what was paid may still fail.
DECISIONS = {
    "pending": ("in_transit", "paid", "failed", "canceled"),
    "in_transit": ("paid", "failed"),
    "paid": ("failed",),
}
DESCRIPTOR = "SANDBOX PAYOUT"


def retrieve(call: Call, payout_id: str) -> Body:
    """GET /v1/payouts/{id}."""
    call.params.refuse_the_rest()
    keep_schedule(call)
    return store.retrieve("payout", payout_id)


def list_page(call: Call) -> Body:
    """GET /v1/payouts, narrowed by `status`, `created`."""
    keep_schedule(call)
    status = call.params.choice("status", STATUSES)
    found = store.page("payout", call.params, url="/v1/payouts", members={"status": status} if status else {})
    call.params.refuse_the_rest()
    return found


def list_transactions(call: Call) -> Body:
    """GET /v1/balance_transactions: the schedule first, so that what was due is on it."""
    keep_schedule(call)
    return balance_transactions.list_page(call)


def pay_out_on_demand(call: Call) -> Body:
    """POST /_sandbox/payouts of a `currency`: all of its balance, available or not."""
    currency = call.params.required("currency")
    call.params.refuse_the_rest()
    _alone()
    made = _pay_out(call, currency, [one for one in _unpaid() if one["currency"] == currency])
    if made is None:
        raise invalid("You have insufficient funds in your balance for this payout.", code="balance_insufficient")
    return made


def decide_on_demand(call: Call, payout_id: str) -> Body:
    """POST /_sandbox/payouts/{id}/decide: `status` in_transit, paid, failed or canceled."""
    status = call.params.required("status")
    call.params.refuse_the_rest()
    payout = store.lock("payout", payout_id)
    allowed = DECISIONS.get(payout["status"], ())
    if status not in allowed:
        message = f"Invalid status: it is {payout['status']}, and becomes {' or '.join(allowed) or 'nothing more'}"
        raise invalid(message, param="status")
    return _become(call, payout, status)


def keep_schedule(call: Call) -> None:
    """Pay out what has become available by midnight (UTC), each currency once a day, and let what is on its way arrive."""
    _alone()
    at = store.timestamp()
    for payout in store.matching("payout", automatic=True):
        if payout["status"] == "pending" and at >= payout["created"] + DAYS_UNTIL_SENT * 86_400:
            _become(call, payout, "in_transit")
        if payout["status"] == "in_transit" and at >= payout["arrival_date"]:
            _become(call, payout, "paid")
    available = [one for one in _unpaid() if one["available_on"] <= _midnight(at)]
    for currency in sorted({one["currency"] for one in available}):
        _pay_out(call, currency, [one for one in available if one["currency"] == currency])


def _unpaid() -> list[Body]:
    rows = SandboxObject.objects.filter(kind="balance_transaction", body__contains={"status": "pending"})
    return list(rows.order_by("position").values_list("body", flat=True))


def _pay_out(call: Call, currency: str, transactions: list[Body]) -> Body | None:
    """Send these to the bank; nothing where they come to nothing, or less: later income makes up for it."""
    amount = sum(one["net"] for one in transactions)
    if amount <= 0:
        return None
    created = store.timestamp()
    payout = store.create(
        "payout",
        {
            "amount": amount,
            "application_fee": None,
            "application_fee_amount": None,
            "arrival_date": _midnight(created) + DAYS_UNTIL_ARRIVED * 86_400,
            "automatic": True,
            "balance_transaction": None,
            "created": created,
            "currency": currency,
            "description": "STRIPE PAYOUT",
            "destination": "ba_1Sandbox00000000000000",
            "failure_balance_transaction": None,
            "failure_code": None,
            "failure_message": None,
            "livemode": False,
            "metadata": {},
            "method": "standard",
            "original_payout": None,
            "payout_method": None,
            "reconciliation_status": "completed",
            "reversed_by": None,
            "source_type": "card",
            "statement_descriptor": DESCRIPTOR,
            "status": "pending",
            "trace_id": {"status": "pending", "value": None},
            "type": "bank_account",
        },
    )
    own = balance_transactions.create_for_payout(payout, amount=-amount, kind="payout")
    payout["balance_transaction"] = own["id"]
    store.save(payout)
    for one in transactions:
        store.save({**one, "status": "available", "_payout": payout["id"]})
    store.save({**own, "status": "available", "_payout": payout["id"]})
    call.announce("payout.created", payout)
    call.announce("payout.reconciliation_completed", payout)
    return payout


def _become(call: Call, payout: Body, status: str) -> Body:
    payout["status"] = status
    if status in ("in_transit", "paid"):
        payout["trace_id"] = {"status": "supported", "value": f"TRACE{payout['id'][-12:].upper()}"}
    if status in ("failed", "canceled"):
        kind = "payout_failure" if status == "failed" else "payout_cancel"
        back = balance_transactions.create_for_payout(payout, amount=payout["amount"], kind=kind)
        payout["failure_balance_transaction"] = back["id"]
    if status == "failed":
        payout["failure_code"] = "account_closed"
        payout["failure_message"] = "The bank account has been closed."
    call.announce("payout.updated" if status == "in_transit" else f"payout.{status}", store.save(payout))
    return payout


def _midnight(at: int) -> int:
    return at - at % 86_400


def _alone() -> None:
    """One request at a time pays out, until its transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('sandbox payouts', 0))")
