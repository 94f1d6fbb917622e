"""Disputes: a cardholder's bank takes a charge back, or asks first; it is decided by evidence, by giving up, or on demand of a test."""

from billing_site.sandbox.stripe import balance_transactions, store
from billing_site.sandbox.stripe.call import Call
from billing_site.sandbox.stripe.currencies import dispute_fee_of
from billing_site.sandbox.stripe.errors import invalid
from billing_site.sandbox.stripe.store import Body

DAYS_FOR_EVIDENCE = 7
OPEN = ("needs_response", "under_review")
INQUIRIES = ("warning_needs_response", "warning_under_review")
# What Stripe's test mode reads in the evidence (docs.stripe.com/testing#disputes).
VERDICTS = {"winning_evidence": "won", "losing_evidence": "lost"}
# What a test may say that the bank decides, by what it decides about.
DECISIONS = {
    **dict.fromkeys(OPEN, ("won", "lost")),
    **dict.fromkeys(INQUIRIES, ("needs_response", "warning_closed")),
}
REASONS = (
    "credit_not_processed",
    "duplicate",
    "fraudulent",
    "general",
    "product_not_received",
    "product_unacceptable",
    "subscription_canceled",
    "unrecognized",
)
_NAMES = (
    "access_activity_log billing_address cancellation_policy cancellation_policy_disclosure cancellation_rebuttal "
    "customer_communication customer_email_address customer_name customer_purchase_ip customer_signature "
    "duplicate_charge_documentation duplicate_charge_explanation duplicate_charge_id product_description receipt "
    "refund_policy refund_policy_disclosure refund_refusal_explanation service_date service_documentation "
    "shipping_address shipping_carrier shipping_date shipping_documentation shipping_tracking_number "
    "uncategorized_file uncategorized_text"
)
EVIDENCE = tuple(_NAMES.split())


def retrieve(call: Call, dispute_id: str) -> Body:
    """GET /v1/disputes/{id}."""
    call.params.refuse_the_rest()
    return store.retrieve("dispute", dispute_id)


def list_page(call: Call) -> Body:
    """GET /v1/disputes, narrowed by `charge`, `payment_intent`, `created`."""
    members = {name: call.params.text(name) for name in ("charge", "payment_intent") if name in call.params}
    found = store.page("dispute", call.params, url="/v1/disputes", members=members)
    call.params.refuse_the_rest()
    return found


def update(call: Call, dispute_id: str) -> Body:
    """POST /v1/disputes/{id}: evidence; submitted, the words `winning_evidence` and `losing_evidence` decide at once, as in Stripe's test mode."""
    evidence = call.params.hash("evidence")
    submits = call.params.boolean("submit")
    call.params.refuse_the_rest()
    dispute = store.lock("dispute", dispute_id)
    if dispute["status"] not in (*OPEN, *INQUIRIES):
        raise invalid("This dispute is already closed")
    for name in EVIDENCE:
        if evidence and name in evidence:
            dispute["evidence"][name] = evidence.text(name)
    if evidence:
        evidence.refuse_the_rest()
    dispute["evidence_details"]["has_evidence"] = any(dispute["evidence"][name] for name in EVIDENCE)
    if submits is False:
        return _updated(call, dispute)
    dispute["evidence_details"]["submission_count"] += 1
    verdict = VERDICTS.get(dispute["evidence"]["uncategorized_text"] or "")
    if verdict and dispute["status"] in OPEN:
        return _decided(call, dispute, verdict)
    prefix = "warning_" if dispute["status"] in INQUIRIES else ""
    dispute["status"] = f"{prefix}under_review"
    return _updated(call, dispute)


def close(call: Call, dispute_id: str) -> Body:
    """POST /v1/disputes/{id}/close: the loss is accepted."""
    call.params.refuse_the_rest()
    dispute = store.lock("dispute", dispute_id)
    if dispute["status"] != "needs_response":
        raise invalid("This dispute is already closed" if dispute["status"] not in OPEN else "Evidence was submitted.")
    return _decided(call, dispute, "lost")


def open_on_demand(call: Call) -> Body:
    """POST /_sandbox/disputes of a `charge`: `amount` (the whole of it), `reason` (fraudulent), `inquiry` (false)."""
    charge = store.lock("charge", call.params.required("charge"), param="charge")
    amount = call.params.integer("amount", low=1) or charge["amount_captured"] - charge["amount_refunded"]
    reason = call.params.choice("reason", REASONS) or "fraudulent"
    is_inquiry = call.params.boolean("inquiry") or False
    call.params.refuse_the_rest()
    if not charge["paid"] or amount > charge["amount_captured"]:
        raise invalid("No more can be disputed than was charged.", param="amount")
    return open_of(call, charge, amount=amount, reason=reason, is_inquiry=is_inquiry)


def decide_on_demand(call: Call, dispute_id: str) -> Body:
    """POST /_sandbox/disputes/{id}/decide: `status` won or lost; of an inquiry needs_response (it becomes a chargeback) or warning_closed."""
    status = call.params.required("status")
    call.params.refuse_the_rest()
    dispute = store.lock("dispute", dispute_id)
    allowed = DECISIONS.get(dispute["status"], ())
    if status not in allowed:
        raise invalid(
            f"Invalid status: it is {dispute['status']}, and becomes {' or '.join(allowed) or 'nothing more'}",
            param="status",
        )
    return _decided(call, dispute, status)


def open_of(call: Call, charge: Body, *, amount: int, reason: str, is_inquiry: bool) -> Body:
    """Let the bank question a charge whose row is locked."""
    card = charge["payment_method_details"]["card"]
    created = store.timestamp()
    dispute = store.create(
        "dispute",
        {
            "amount": amount,
            "balance_transactions": [],
            "charge": charge["id"],
            "created": created,
            "currency": charge["currency"],
            "enhanced_eligibility_types": [],
            "evidence": {**dict.fromkeys(EVIDENCE), "enhanced_evidence": {}},
            "evidence_details": {
                "due_by": created + DAYS_FOR_EVIDENCE * 86_400,
                "enhanced_eligibility": {},
                "has_evidence": False,
                "past_due": False,
                "submission_count": 0,
            },
            "is_charge_refundable": is_inquiry,
            "livemode": False,
            "metadata": {},
            "payment_intent": charge["payment_intent"],
            "payment_method_details": {
                "card": {
                    "brand": card["brand"],
                    "case_type": "inquiry" if is_inquiry else "chargeback",
                    "network": card["network"],
                    "network_reason_code": "10.4",
                },
                "type": "card",
            },
            "reason": reason,
            "status": "warning_needs_response" if is_inquiry else "needs_response",
        },
    )
    charge["disputed"] = True
    store.save(charge)
    call.announce("charge.dispute.created", dispute)
    if not is_inquiry:
        _withdraw(call, dispute)
    return dispute


def is_held(charge_id: str) -> bool:
    """Say whether a bank has taken a charge back: it is not refunded any more."""
    return any(one["status"] in (*OPEN, "lost") for one in store.matching("dispute", charge=charge_id))


def _decided(call: Call, dispute: Body, status: str) -> Body:
    dispute["status"] = status
    if status == "needs_response":
        dispute["is_charge_refundable"] = False
        dispute["payment_method_details"]["card"]["case_type"] = "chargeback"
        _updated(call, dispute)
        return _withdraw(call, dispute)
    call.announce("charge.dispute.closed", store.save(dispute))
    if status == "won":
        _moved(call, dispute, amount=dispute["amount"], fee=0, event_type="charge.dispute.funds_reinstated")
    return dispute


def _withdraw(call: Call, dispute: Body) -> Body:
    fee = dispute_fee_of(dispute["currency"])
    return _moved(call, dispute, amount=-dispute["amount"], fee=fee, event_type="charge.dispute.funds_withdrawn")


def _moved(call: Call, dispute: Body, *, amount: int, fee: int, event_type: str) -> Body:
    moved = balance_transactions.create_for_dispute(dispute, amount=amount, fee=fee)
    dispute["balance_transactions"].append(moved)
    call.announce(event_type, store.save(dispute))
    return dispute


def _updated(call: Call, dispute: Body) -> Body:
    call.announce("charge.dispute.updated", store.save(dispute))
    return dispute
