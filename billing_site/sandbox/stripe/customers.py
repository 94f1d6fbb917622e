"""Customers: who pays."""

import secrets
from typing import Any

from billing_site.sandbox.stripe import payment_methods, store
from billing_site.sandbox.stripe.call import Call
from billing_site.sandbox.stripe.errors import invalid
from billing_site.sandbox.stripe.forms import Params
from billing_site.sandbox.stripe.store import Body

ADDRESS = ("city", "country", "line1", "line2", "postal_code", "state")
TEXTS = ("name", "email", "description", "phone")


def create(call: Call) -> Body:
    """POST /v1/customers."""
    body = _changed(_blank(), call.params)
    payment_method = call.params.text("payment_method")
    call.params.refuse_the_rest()
    body = store.create("customer", body)
    if payment_method:
        payment_methods.attach_to(call, payment_method, customer=body["id"], param="payment_method")
    call.announce("customer.created", body)
    return body


def retrieve(call: Call, customer_id: str) -> Body:
    """GET /v1/customers/{id}."""
    call.params.refuse_the_rest()
    return store.retrieve("customer", customer_id)


def update(call: Call, customer_id: str) -> Body:
    """POST /v1/customers/{id}."""
    body = _changed(store.lock("customer", customer_id), call.params)
    call.params.refuse_the_rest()
    default = body["invoice_settings"]["default_payment_method"]
    if default is not None and payment_methods.owner(default) != customer_id:
        message = "The customer does not have a payment method with the ID " + f"{default}. It must be attached first."
        raise invalid(message, param="invoice_settings[default_payment_method]", code="resource_missing")
    call.announce("customer.updated", store.save(body))
    return body


def list_page(call: Call) -> Body:
    """GET /v1/customers, narrowed by `email`."""
    email = call.params.text("email")
    found = store.page("customer", call.params, url="/v1/customers", members={"email": email} if email else {})
    call.params.refuse_the_rest()
    return found


def _blank() -> Body:
    return {
        "address": None,
        "balance": 0,
        "created": store.timestamp(),
        "currency": None,
        "customer_account": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": None,
        "invoice_prefix": secrets.token_hex(4).upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": False,
        "metadata": {},
        "name": None,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }


def _changed(body: Body, params: Params) -> Body:
    for name in TEXTS:
        if name in params:
            body[name] = params.text(name) or None
    body["metadata"] = params.metadata(body["metadata"])
    tax_exempt = params.choice("tax_exempt", ("none", "exempt", "reverse", ""))
    if tax_exempt is not None:
        body["tax_exempt"] = tax_exempt or "none"
    if "address" in params:
        body["address"] = _address(params.hash("address"))
    body["preferred_locales"] = params.texts("preferred_locales") or body["preferred_locales"]
    settings = params.hash("invoice_settings")
    if settings is not None:
        if "default_payment_method" in settings:
            body["invoice_settings"]["default_payment_method"] = settings.text("default_payment_method") or None
        settings.refuse_the_rest()
    return body


def _address(given: Params | None) -> dict[str, Any] | None:
    if given is None:
        return None
    address = {name: given.text(name) or None for name in ADDRESS}
    given.refuse_the_rest()
    return address
