"""Setup intents: a card that is to be kept, without a payment."""

from billing_site.sandbox.stripe import store
from billing_site.sandbox.stripe.call import Call
from billing_site.sandbox.stripe.store import Body


def retrieve(call: Call, intent_id: str) -> Body:
    """GET /v1/setup_intents/{id}."""
    call.params.refuse_the_rest()
    return store.retrieve("setup_intent", intent_id)


def list_page(call: Call) -> Body:
    """GET /v1/setup_intents, narrowed by `customer`."""
    customer = call.params.text("customer")
    members = {"customer": customer} if customer else {}
    found = store.page("setup_intent", call.params, url="/v1/setup_intents", members=members)
    call.params.refuse_the_rest()
    return found


def create_for(customer: str) -> Body:
    """Make the setup intent of a checkout session."""
    nothing = (
        "application attach_to_self automatic_payment_methods cancellation_reason customer_account description "
        "excluded_payment_method_types flow_directions last_setup_error latest_attempt mandate next_action on_behalf_of "
        "payment_method payment_method_configuration_details single_use_mandate"
    )
    intent_id = store.new_id("setup_intent")
    return store.create(
        "setup_intent",
        {
            "id": intent_id,
            **dict.fromkeys(nothing.split()),
            "client_secret": f"{intent_id}_secret_{store.new_id('event').removeprefix('evt_')}",
            "created": store.timestamp(),
            "customer": customer,
            "livemode": False,
            "metadata": {},
            "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
            "payment_method_types": ["card"],
            "status": "requires_payment_method",
            "usage": "off_session",
        },
    )


def succeed(call: Call, intent_id: str, *, payment_method: str) -> Body:
    """Record that a card is kept."""
    intent = store.lock("setup_intent", intent_id)
    intent.update({"status": "succeeded", "payment_method": payment_method})
    call.announce("setup_intent.succeeded", store.save(intent))
    return intent
