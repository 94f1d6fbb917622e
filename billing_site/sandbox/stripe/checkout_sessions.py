"""Checkout sessions: Stripe's own page on which a customer leaves a card; those that sell something are not imitated."""

from billing_site.sandbox.stripe import payment_methods, setup_intents, store
from billing_site.sandbox.stripe.call import Call
from billing_site.sandbox.stripe.errors import invalid
from billing_site.sandbox.stripe.store import Body

SECONDS_OPEN = 86_400
SESSION_ID = "{CHECKOUT_SESSION_ID}"


def create(call: Call) -> Body:
    """POST /v1/checkout/sessions with `mode=setup`, a customer, and where to go afterwards."""
    params = call.params
    if params.required("mode") != "setup":
        raise invalid("The sandbox knows checkout sessions of the mode setup only.", param="mode")
    customer = store.retrieve("customer", params.required("customer"), param="customer")
    session_id, created = store.new_id("checkout.session"), store.timestamp()
    body = {
        **_blank(),
        "id": session_id,
        "cancel_url": params.text("cancel_url") or None,
        "client_reference_id": params.text("client_reference_id") or None,
        "created": created,
        "customer": customer["id"],
        "customer_details": {
            "address": None,
            "business_name": None,
            "email": customer["email"],
            "individual_name": None,
            "name": None,
            "phone": None,
            "tax_exempt": None,
            "tax_ids": None,
        },
        "expires_at": created + SECONDS_OPEN,
        "metadata": params.metadata({}),
        "payment_method_types": params.texts("payment_method_types") or ["card"],
        "setup_intent": setup_intents.create_for(customer["id"])["id"],
        "success_url": params.required("success_url"),
        "url": f"{call.base_url}/c/{session_id}",
    }
    params.refuse_the_rest()
    if body["payment_method_types"] != ["card"]:
        raise invalid("The sandbox knows cards only.", param="payment_method_types")
    return store.create("checkout.session", body)


def retrieve(call: Call, session_id: str) -> Body:
    """GET /v1/checkout/sessions/{id}."""
    call.params.refuse_the_rest()
    return store.retrieve("checkout.session", session_id)


def list_page(call: Call) -> Body:
    """GET /v1/checkout/sessions, narrowed by `customer`."""
    customer = call.params.text("customer")
    members = {"customer": customer} if customer else {}
    found = store.page("checkout.session", call.params, url="/v1/checkout/sessions", members=members)
    call.params.refuse_the_rest()
    return found


def complete(call: Call, session_id: str, *, card: str) -> str:
    """Leave a card by its test token, as the customer does on the page; returns where the browser goes then.

    The payment method belongs to the customer afterwards; it is no default one for invoices: that is for whoever asked for it.
    """
    session = store.lock("checkout.session", session_id)
    if session["status"] == "open":
        method = payment_methods.attach_to(call, card, customer=session["customer"], param="payment_method")
        setup_intents.succeed(call, session["setup_intent"], payment_method=method["id"])
        session.update({"status": "complete", "url": None})
        call.announce("checkout.session.completed", store.save(session))
    return str(session["success_url"]).replace(SESSION_ID, session_id)


def _blank() -> Body:
    nothing = (
        "adaptive_pricing after_expiration allow_promotion_codes amount_subtotal amount_total billing_address_collection "
        "branding_settings client_secret collected_information consent consent_collection currency currency_conversion "
        "customer_account customer_creation customer_email discounts invoice invoice_creation locale "
        "origin_context payment_intent payment_link payment_method_configuration_details permissions "
        "recovered_from return_url saved_payment_method_options shipping_address_collection shipping_cost submit_type "
        "subscription total_details wallet_options"
    )
    return {
        **dict.fromkeys(nothing.split()),
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "custom_fields": [],
        "custom_text": {
            "after_submit": None,
            "shipping_address": None,
            "submit": None,
            "terms_of_service_acceptance": None,
        },
        "livemode": False,
        "mode": "setup",
        "payment_method_collection": "always",
        "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
        "payment_status": "no_payment_required",
        "phone_number_collection": {"enabled": False},
        "shipping_options": [],
        "status": "open",
        "ui_mode": "hosted_page",
    }
