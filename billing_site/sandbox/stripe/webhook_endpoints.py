"""Webhook endpoints: further addresses beside the one in the settings."""

from urllib.parse import urlsplit

from billing_site.sandbox.stripe import store
from billing_site.sandbox.stripe.call import Call
from billing_site.sandbox.stripe.errors import invalid, missing_parameter
from billing_site.sandbox.stripe.store import Body

# The secret is told once, at creation; here it is kept beside the object and never presented again.
SECRET = "_secret"  # noqa: S105 - the name of a member, no secret


def create(call: Call) -> Body:
    """POST /v1/webhook_endpoints; the answer is the only one with the secret."""
    url = call.params.required("url")
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise invalid("Invalid URL: it must start with http:// or https://", param="url", code="url_invalid")
    enabled_events = call.params.texts("enabled_events")
    if not enabled_events:
        raise missing_parameter("enabled_events")
    secret = "whsec_" + store.new_id("webhook_endpoint").removeprefix("we_")
    body = {
        "api_version": call.params.text("api_version"),
        "application": None,
        "created": store.timestamp(),
        "description": call.params.text("description") or None,
        "enabled_events": enabled_events,
        "livemode": False,
        "metadata": call.params.metadata({}),
        "status": "enabled",
        "url": url,
        SECRET: secret,
    }
    call.params.refuse_the_rest()
    return {**store.create("webhook_endpoint", body), "secret": secret}


def retrieve(call: Call, endpoint_id: str) -> Body:
    """GET /v1/webhook_endpoints/{id}."""
    call.params.refuse_the_rest()
    return store.retrieve("webhook_endpoint", endpoint_id)


def list_page(call: Call) -> Body:
    """GET /v1/webhook_endpoints."""
    found = store.page("webhook_endpoint", call.params, url="/v1/webhook_endpoints", members={})
    call.params.refuse_the_rest()
    return found


def enabled() -> list[Body]:
    """Return the endpoints that want events."""
    return store.matching("webhook_endpoint", status="enabled")


def secret_of(endpoint_id: str) -> str:
    """Return the secret that signs what goes to an endpoint."""
    return store.retrieve("webhook_endpoint", endpoint_id)[SECRET]
