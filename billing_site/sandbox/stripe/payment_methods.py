"""Payment methods: cards, by number or by Stripe's test tokens."""

import hashlib
from typing import Any

from billing_site.kernel.clock import now
from billing_site.sandbox.stripe import store
from billing_site.sandbox.stripe.call import Call
from billing_site.sandbox.stripe.cards import BY_NUMBER, BY_TOKEN, TestCard
from billing_site.sandbox.stripe.errors import Declined, invalid, missing_parameter
from billing_site.sandbox.stripe.store import Body

# What the bank would answer is no member of Stripe's object; it is kept beside it and never presented.
CARD_NUMBER = "_number"


def create(call: Call) -> Body:
    """POST /v1/payment_methods with `type=card` and a test card's number or token."""
    kind = call.params.required("type")
    if kind != "card":
        raise invalid("The sandbox knows cards only.", param="type")
    given = call.params.hash("card")
    if given is None:
        raise missing_parameter("card")
    number, token = given.text("number"), given.text("token")
    month = given.integer("exp_month", low=1, high=12) or 12
    year = given.integer("exp_year", low=2000, high=2100) or now().year + 4
    given.text("cvc")
    given.refuse_the_rest()
    card = BY_NUMBER.get((number or "").replace(" ", "")) or BY_TOKEN.get(token or "")
    if card is None:
        raise Declined("Your card number is incorrect.", code="incorrect_number", param="card[number]")
    billing = call.params.hash("billing_details")
    details = {name: (billing.text(name) if billing else None) or None for name in ("email", "name", "phone")}
    if billing:
        billing.refuse_the_rest()
    metadata = call.params.metadata({})
    call.params.refuse_the_rest()
    return store.create("payment_method", _template(card, month=month, year=year, metadata=metadata, details=details))


def attach(call: Call, payment_method_id: str) -> Body:
    """POST /v1/payment_methods/{id}/attach; a test token in the place of the id makes a new payment method."""
    customer = call.params.required("customer")
    call.params.refuse_the_rest()
    store.retrieve("customer", customer, param="customer")
    return attach_to(call, payment_method_id, customer=customer, param="id")


def retrieve(call: Call, payment_method_id: str) -> Body:
    """GET /v1/payment_methods/{id}."""
    call.params.refuse_the_rest()
    return store.retrieve("payment_method", payment_method_id)


def list_page(call: Call) -> Body:
    """GET /v1/payment_methods."""
    customer = call.params.required("customer")
    call.params.text("type")
    return _of_customer(call, customer, url="/v1/payment_methods")


def list_of_customer(call: Call, customer_id: str) -> Body:
    """GET /v1/customers/{id}/payment_methods."""
    store.retrieve("customer", customer_id)
    call.params.text("type")
    return _of_customer(call, customer_id, url=f"/v1/customers/{customer_id}/payment_methods")


def attach_to(call: Call, reference: str, *, customer: str, param: str) -> Body:
    """Give a payment method (or a new one from a test token) to a customer; declined where the bank refuses."""
    body = usable(reference, param=param)
    if body["customer"] not in (None, customer):
        raise invalid("The payment method you provided has already been attached to a customer.", param=param)
    card = card_of(body)
    if not card.attaches:
        raise Declined(card.message, code=card.code, decline_code=card.decline_code or None, param="")
    body["customer"] = customer
    call.announce("payment_method.attached", store.save(body))
    return body


def usable(reference: str, *, param: str) -> Body:
    """Return the payment method that an id or a test token stands for, locked."""
    card = BY_TOKEN.get(reference)
    if card is None:
        return store.lock("payment_method", reference, param=param)
    details = {"email": None, "name": None, "phone": None}
    template = _template(card, month=12, year=now().year + 4, metadata={}, details=details)
    return store.create("payment_method", template)


def owner(payment_method_id: str) -> str | None:
    """Return the customer to whom a payment method is attached."""
    body = store.find("payment_method", payment_method_id)
    return body["customer"] if body else None


def card_of(body: Body) -> TestCard:
    """Return the test card behind a payment method."""
    return BY_NUMBER[body[CARD_NUMBER]]


def card_checks() -> dict[str, Any]:
    """Return the checks that every test card passes."""
    return {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"}


def _of_customer(call: Call, customer: str, *, url: str) -> Body:
    found = store.page("payment_method", call.params, url=url, members={"customer": customer})
    call.params.refuse_the_rest()
    return found


def _template(card: TestCard, *, month: int, year: int, metadata: dict[str, str], details: dict[str, Any]) -> Body:
    no_address = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))
    return {
        "allow_redisplay": "unspecified",
        "billing_details": {"address": no_address, "tax_id": None, **details},
        "card": {
            "brand": card.brand,
            "checks": card_checks(),
            "country": "US",
            "display_brand": {"amex": "american_express"}.get(card.brand, card.brand),
            "exp_month": month,
            "exp_year": year,
            "fingerprint": hashlib.sha256(card.number.encode()).hexdigest()[:16],
            "funding": "debit" if card.token.endswith("debit") else "credit",
            "generated_from": None,
            "last4": card.number[-4:],
            "networks": {"available": [card.brand], "preferred": None},
            "regulated_status": "unregulated",
            "three_d_secure_usage": {"supported": True},
            "wallet": None,
        },
        "created": store.timestamp(),
        "customer": None,
        "customer_account": None,
        "livemode": False,
        "metadata": metadata,
        "type": "card",
        CARD_NUMBER: card.number,
    }
