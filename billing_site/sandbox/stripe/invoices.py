"""Invoices: drafts with lines, issued by being finalised."""

from billing_site.sandbox.stripe import invoice_lines, invoice_payments, payment_intents, store
from billing_site.sandbox.stripe.account import COUNTRY, DEFAULT_CURRENCY, NAME
from billing_site.sandbox.stripe.call import Call
from billing_site.sandbox.stripe.errors import invalid
from billing_site.sandbox.stripe.forms import Params
from billing_site.sandbox.stripe.store import Body

STATUSES = ("draft", "open", "paid", "uncollectible", "void")
METHODS = ("charge_automatically", "send_invoice")
SECONDS_A_DAY = 86_400


def create(call: Call) -> Body:
    """POST /v1/invoices: a draft, empty unless pending items are included."""
    params = call.params
    customer = store.retrieve("customer", params.required("customer"), param="customer")
    body = _blank(customer, currency=params.currency("currency") or customer["currency"] or DEFAULT_CURRENCY)
    body["collection_method"] = params.choice("collection_method", METHODS) or "charge_automatically"
    include = params.choice("pending_invoice_items_behavior", ("include", "exclude")) == "include"
    _change(body, params)
    params.refuse_the_rest()
    if body["collection_method"] == "send_invoice" and body["due_date"] is None:
        message = "If `collection_method`=`send_invoice` you must pass either `due_date` or `days_until_due`."
        raise invalid(message, param="due_date", code="parameter_missing")
    body = store.create("invoice", body)
    if include:
        pending = store.matching("invoiceitem", customer=customer["id"], invoice=None, currency=body["currency"])
        for item in pending:
            invoice_lines.put_on_invoice(item, body)
        invoice_lines.recount(body)
    call.announce("invoice.created", body)
    return body


def retrieve(call: Call, invoice_id: str) -> Body:
    """GET /v1/invoices/{id}."""
    call.params.refuse_the_rest()
    return store.retrieve("invoice", invoice_id)


def update(call: Call, invoice_id: str) -> Body:
    """POST /v1/invoices/{id}: a draft entirely, a finalised invoice in its metadata and auto_advance only."""
    body = store.lock("invoice", invoice_id)
    if body["status"] == "draft":
        _change(body, call.params)
    else:
        body["metadata"] = call.params.metadata(body["metadata"])
        advance = call.params.boolean("auto_advance")
        body["auto_advance"] = body["auto_advance"] if advance is None else advance
        if any(name in call.params for name in ("number", "description", "due_date", "days_until_due", "footer")):
            raise invalid("Finalized invoices can't be updated in this way.", code="invoice_not_editable")
    call.params.refuse_the_rest()
    call.announce("invoice.updated", store.save(body))
    return body


def list_page(call: Call) -> Body:
    """GET /v1/invoices, narrowed by `customer`, `status`, `collection_method`."""
    members = {
        "customer": call.params.text("customer"),
        "status": call.params.choice("status", STATUSES),
        "collection_method": call.params.choice("collection_method", METHODS),
    }
    given = {name: member for name, member in members.items() if member}
    found = store.page("invoice", call.params, url="/v1/invoices", members=given)
    call.params.refuse_the_rest()
    return found


def finalize(call: Call, invoice_id: str) -> Body:
    """POST /v1/invoices/{id}/finalize: number, open status, payment intent; an invoice over zero is paid at once."""
    body = store.lock("invoice", invoice_id)
    if body["status"] != "draft":
        message = "This invoice is already finalized, you can't re-finalize a non-draft invoice."
        raise invalid(message, code="invoice_not_editable")
    if body["total"] < 0:
        raise invalid("The sandbox does not imitate invoices below zero (they change the customer's balance).")
    advance = call.params.boolean("auto_advance")
    call.params.refuse_the_rest()
    moment = store.timestamp()
    body["auto_advance"] = body["auto_advance"] if advance is None else advance
    body["number"] = body["number"] or _next_number(body["customer"])
    body["status"] = "open"
    body["effective_at"] = moment
    body["status_transitions"]["finalized_at"] = moment
    body["hosted_invoice_url"] = f"{call.base_url}/i/{body['id']}"
    body["invoice_pdf"] = f"{call.base_url}/i/{body['id']}/pdf"
    if body["total"] > 0:
        intent = payment_intents.create_for(body)
        invoice_payments.create_for(body, intent)
        call.announce("payment_intent.created", intent)
    call.announce("invoice.finalized", store.save(body))
    if body["total"] == 0:
        mark_paid(call, body)
    return body


def send(call: Call, invoice_id: str) -> Body:
    """POST /v1/invoices/{id}/send: pretends to send the e-mail."""
    body = store.lock("invoice", invoice_id)
    call.params.refuse_the_rest()
    if body["status"] != "open":
        raise invalid("You can only manually send an invoice if its status is open.")
    call.announce("invoice.sent", body)
    return body


def void(call: Call, invoice_id: str) -> Body:
    """POST /v1/invoices/{id}/void."""
    body = store.lock("invoice", invoice_id)
    call.params.refuse_the_rest()
    if body["status"] not in ("open", "uncollectible"):
        raise invalid("You can only pass in open or uncollectible invoices to be voided.")
    body.update({"status": "void", "auto_advance": False})
    body["status_transitions"]["voided_at"] = store.timestamp()
    for payment in invoice_payments.of_invoice(body["id"]):
        invoice_payments.cancel(payment)
        intent = payment_intents.cancel(payment["payment"]["payment_intent"])
        call.announce("payment_intent.canceled", intent)
    call.announce("invoice.voided", store.save(body))
    return body


def mark_uncollectible(call: Call, invoice_id: str) -> Body:
    """POST /v1/invoices/{id}/mark_uncollectible: it can still be paid or voided."""
    body = store.lock("invoice", invoice_id)
    call.params.refuse_the_rest()
    if body["status"] != "open":
        raise invalid("You can only mark an open invoice as uncollectible.")
    body.update({"status": "uncollectible", "auto_advance": False})
    body["status_transitions"]["marked_uncollectible_at"] = store.timestamp()
    call.announce("invoice.marked_uncollectible", store.save(body))
    return body


def mark_paid(call: Call, body: Body) -> Body:
    """Turn an open invoice into a paid one and tell of it."""
    body.update({"status": "paid", "attempted": True, "next_payment_attempt": None, "auto_advance": False})
    body.update({"amount_paid": body["amount_due"], "amount_remaining": 0, "ending_balance": 0})
    body["status_transitions"]["paid_at"] = store.timestamp()
    store.save(body)
    for event_type in ("invoice.updated", "invoice.paid", "invoice.payment_succeeded"):
        call.announce(event_type, body)
    return body


def _next_number(customer_id: str) -> str:
    customer = store.lock("customer", customer_id)
    number = f"{customer['invoice_prefix']}-{customer['next_invoice_sequence']:04d}"
    customer["next_invoice_sequence"] += 1
    store.save(customer)
    return number


def _change(body: Body, params: Params) -> None:
    number = params.text("number")
    if number:
        if any(other["id"] != body.get("id") for other in store.matching("invoice", number=number)):
            raise invalid(f"The invoice number {number} is already in use.", param="number")
        body["number"] = number
    for name in ("description", "footer", "statement_descriptor"):
        if name in params:
            body[name] = params.text(name) or None
    body["metadata"] = params.metadata(body["metadata"])
    advance = params.boolean("auto_advance")
    body["auto_advance"] = body["auto_advance"] if advance is None else advance
    default = params.text("default_payment_method")
    if default:
        store.retrieve("payment_method", default, param="default_payment_method")
        body["default_payment_method"] = default
    _change_due_date(body, params)


def _change_due_date(body: Body, params: Params) -> None:
    due, days = params.integer("due_date", low=0), params.integer("days_until_due", low=0, high=3650)
    if due is None and days is None:
        return
    if body["collection_method"] != "send_invoice":
        param = "due_date" if due is not None else "days_until_due"
        message = f"`{param}` may only be set on invoices with `collection_method`=`send_invoice`."
        raise invalid(message, param=param)
    if due is None:
        due = body["created"] + (days or 0) * SECONDS_A_DAY
    elif due < body["created"]:
        raise invalid("The due date must be in the future.", param="due_date")
    body["due_date"] = due


def _blank(customer: Body, *, currency: str) -> Body:
    created = store.timestamp()
    nothing = (
        "account_tax_ids application automatically_finalizes_at custom_fields customer_account customer_shipping "
        "default_payment_method default_source description due_date effective_at ending_balance footer from_invoice "
        "hosted_invoice_url invoice_pdf last_finalization_error latest_revision next_payment_attempt number "
        "on_behalf_of parent receipt_number rendering shipping_cost shipping_details statement_descriptor test_clock "
        "webhooks_delivered_at"
    )
    zero = (
        "amount_due amount_overpaid amount_paid amount_remaining amount_shipping attempt_count "
        "post_payment_credit_notes_amount pre_payment_credit_notes_amount starting_balance subtotal "
        "subtotal_excluding_tax total total_excluding_tax"
    )
    empty = (
        "customer_tax_ids default_tax_rates discounts total_discount_amounts total_pretax_credit_amounts total_taxes"
    )
    return {
        **dict.fromkeys(nothing.split()),
        **dict.fromkeys(zero.split(), 0),
        **{name: [] for name in empty.split()},
        "account_country": COUNTRY,
        "account_name": NAME,
        "attempted": False,
        "auto_advance": False,
        "automatic_tax": {
            "disabled_reason": None,
            "enabled": False,
            "liability": None,
            "provider": None,
            "status": None,
        },
        "billing_reason": "manual",
        "collection_method": "charge_automatically",
        "created": created,
        "currency": currency,
        "customer": customer["id"],
        "customer_address": customer["address"],
        "customer_email": customer["email"],
        "customer_name": customer["name"],
        "customer_phone": customer["phone"],
        "customer_tax_exempt": customer["tax_exempt"],
        "issuer": {"type": "self"},
        "livemode": False,
        "metadata": {},
        "payment_settings": {"default_mandate": None, "payment_method_options": None, "payment_method_types": None},
        "period_end": created,
        "period_start": created,
        "status": "draft",
        "status_transitions": {
            "finalized_at": None,
            "marked_uncollectible_at": None,
            "paid_at": None,
            "voided_at": None,
        },
    }
