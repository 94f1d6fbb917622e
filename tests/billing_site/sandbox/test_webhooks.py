"""News reach the product signed, in order, at least once, and survive whatever happens on the way."""

from datetime import timedelta

import pytest
import stripe

from billing_site.demo.settling import turn_stripes_clock
from billing_site.kernel.clock import now
from billing_site.sandbox.models import SandboxDelivery
from billing_site.sandbox.server import running


def types(events):
    return [event.type for event in events]


def test_a_payment_is_told_by_a_webhook_that_the_sdk_accepts(sandbox, listener):
    invoice = sandbox.open_invoice(sandbox.customer())

    sandbox.post(f"/v1/invoices/{invoice}/pay", key="pay")
    sandbox.wait_until_delivered()

    (event,) = listener.events()
    assert event.type == "invoice.paid"
    assert event.data.object["id"] == invoice
    assert event["request"]["idempotency_key"] == "pay"
    assert sandbox.get(f"/v1/events/{event.id}")["type"] == "invoice.paid"


def test_what_is_paid_by_the_clock_of_an_earlier_day_is_told_of_that_day(sandbox, listener):
    customer, day = sandbox.customer(), 86_400
    turn_stripes_clock(sandbox_url=sandbox.url, to=now() - timedelta(days=40))
    invoice = sandbox.open_invoice(customer)
    sandbox.post(f"/v1/invoices/{invoice}/pay")
    turn_stripes_clock(sandbox_url=sandbox.url, to=now())
    later = sandbox.open_invoice(customer)
    sandbox.post(f"/v1/invoices/{later}/pay")
    sandbox.wait_until_delivered()

    before, after = listener.events()
    assert (after.created - before.created) // day in (39, 40)
    paid = sandbox.get("/v1/balance_transactions")["data"]
    assert sorted((one["created"] - before.created) // day for one in paid)[:1] == [0]


def test_a_webhook_that_was_tampered_with_is_not_accepted(sandbox, listener, settings):
    invoice = sandbox.open_invoice(sandbox.customer())
    sandbox.post(f"/v1/invoices/{invoice}/pay")
    sandbox.wait_until_delivered()
    body, signature = listener.received[0]

    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(body + b" ", signature, settings.SANDBOX_WEBHOOK_SECRET)


def test_a_webhook_is_delivered_again_until_it_is_accepted(sandbox, listener):
    listener.answers[:] = [500, 503]
    invoice = sandbox.open_invoice(sandbox.customer())

    sandbox.post(f"/v1/invoices/{invoice}/pay")
    sandbox.wait_until_delivered()

    assert types(listener.events()) == ["invoice.paid"] * 3
    assert len({event.id for event in listener.events()}) == 1
    assert SandboxDelivery.objects.get().attempts == 3


def test_webhooks_come_in_the_order_in_which_things_happened(sandbox, listener):
    failing = sandbox.open_invoice(sandbox.customer("pm_card_chargeCustomerFail"))

    sandbox.call("POST", f"/v1/invoices/{failing}/pay")
    sandbox.post(f"/v1/invoices/{failing}/pay", {"payment_method": "pm_card_visa"})
    sandbox.wait_until_delivered()

    assert types(listener.events()) == ["invoice.payment_failed", "invoice.paid"]
    assert listener.events()[0].data.object["status"] == "open"


def test_webhooks_that_nobody_took_are_delivered_after_a_restart(sandbox, listener):
    listener.answers[:] = [500] * 4
    invoice = sandbox.open_invoice(sandbox.customer())
    sandbox.post(f"/v1/invoices/{invoice}/pay")

    with running(host="127.0.0.1", port=0):
        sandbox.wait_until_delivered()

    assert types(listener.events())[-1] == "invoice.paid"
    assert SandboxDelivery.objects.get().state == "delivered"


def test_faults_drop_and_duplicate_webhooks_on_demand(sandbox, listener):
    customer = sandbox.customer()
    sandbox.fault("drop_webhooks")
    sandbox.post(f"/v1/invoices/{sandbox.open_invoice(customer)}/pay")
    sandbox.wait_until_delivered()
    dropped = len(listener.received)

    sandbox.fault("duplicate_webhooks")
    sandbox.post(f"/v1/invoices/{sandbox.open_invoice(customer)}/pay")
    sandbox.wait_until_delivered()

    assert dropped == 0
    assert types(listener.events()) == ["invoice.paid", "invoice.paid"]


def test_a_delayed_webhook_lets_later_ones_pass(sandbox, listener):
    customer = sandbox.customer()
    first, second = sandbox.open_invoice(customer), sandbox.open_invoice(customer)
    sandbox.fault("delay_webhooks")

    sandbox.post(f"/v1/invoices/{first}/pay")
    sandbox.post(f"/v1/invoices/{second}/pay")
    sandbox.wait_until_delivered()

    assert [event.data.object["id"] for event in listener.events()] == [second, first]


def test_another_endpoint_chooses_its_events_and_has_its_own_secret(sandbox, listener):
    endpoint = {"url": listener.url, "enabled_events[]": "customer.created"}
    secret = sandbox.post("/v1/webhook_endpoints", endpoint)["secret"]

    sandbox.post("/v1/customers", {"name": "Ada"})
    sandbox.wait_until_delivered()

    ((body, signature),) = listener.received
    assert stripe.Webhook.construct_event(body, signature, secret).type == "customer.created"
    assert "secret" not in sandbox.get("/v1/webhook_endpoints")["data"][0]
