"""The gateway turns our words into Stripe's and back, against the sandbox over real HTTP."""

import json
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial

import pytest
import stripe
from moneyed import Money

from billing_site.kernel.clock import now
from billing_site.kernel.errors import Malformed
from billing_site.kernel.period import Period
from invoicing.payments import gateway
from invoicing.payments.minor_units import from_stripe_minor_units, stripe_minor_units
from invoicing.payments.remote import CardDeclined, GatewayRefused, GatewayUnavailable, NewLine, SignatureInvalid
from tests.billing_site.sandbox.running import listening, running_sandbox

AUGUST = Period(datetime(2026, 8, 1, tzinfo=UTC), datetime(2026, 9, 1, tzinfo=UTC))


@pytest.fixture
def sandbox(transactional_db, settings, monkeypatch):
    with listening(settings), running_sandbox(settings, monkeypatch) as client:
        yield client


def customer_with(card, *, reference="cust_ada"):
    return gateway.ensure_customer(
        reference=reference, name="Ada", email="ada@example.com", payment_method=card, idempotency_key=f"c-{reference}"
    )


def draft(customer, *, amount="12.30", currency="EUR", key="intent"):
    invoice = gateway.create_invoice(
        customer=customer,
        currency=currency,
        number=f"INV-{key}",
        metadata={"reference": key},
        due_at=None,
        idempotency_key=f"{key}:create",
    )
    line = NewLine(amount=Money(amount, currency), description="API calls", period=AUGUST)
    return gateway.add_invoice_lines(invoice=invoice.id, lines=[line], idempotency_key=f"{key}:lines")


def opened(customer, *, amount="12.30", currency="EUR", key="intent"):
    return gateway.finalize_invoice(
        present=draft(customer, amount=amount, currency=currency, key=key),
        expected_total=Money(amount, currency),
        idempotency_key=f"{key}:finalize",
    )


@pytest.mark.parametrize(
    ("amount", "currency"), [("12.30", "EUR"), ("500", "JPY"), ("5.000", "KWD"), ("12.340", "KWD"), ("500", "ISK")]
)
@pytest.mark.requirement("S1-092")
def test_an_invoice_is_pushed_and_paid(sandbox, amount, currency):
    invoice = opened(customer_with("pm_card_visa"), amount=amount, currency=currency)

    paid = gateway.pay_invoice(invoice=invoice.id, idempotency_key="pay")

    assert (invoice.status, paid.status) == ("open", "paid")
    assert paid.total == paid.amount_paid == Money(amount, currency)
    assert paid.payment_reference.startswith("ch_")
    assert (paid.number, paid.metadata) == ("INV-intent", {"reference": "intent"})


@pytest.mark.requirement("S0-115")
@pytest.mark.requirement("S0-018")
@pytest.mark.requirement("S3-059")
def test_the_whole_push_twice_makes_one_invoice(sandbox):
    first = gateway.pay_invoice(invoice=opened(customer_with("pm_card_visa")).id, idempotency_key="pay")

    second = gateway.pay_invoice(invoice=opened(customer_with("pm_card_visa")).id, idempotency_key="pay")

    assert first == second
    state = sandbox.state()["objects"]
    assert (state["invoice"], state["charge"], state["customer"], state["payment_method"]) == (1, 1, 1, 1)


def test_a_customer_is_found_again_after_the_idempotency_key_has_expired(sandbox):
    first = customer_with("pm_card_visa")

    second = gateway.ensure_customer(
        reference="cust_ada", name="Ada L.", email="ada@example.com", payment_method=None, idempotency_key="another"
    )
    other = customer_with(None, reference="cust_grace")

    assert first == second != other
    assert sandbox.get(f"/v1/customers/{first}")["name"] == "Ada L."


@pytest.mark.requirement("S1-093")
def test_a_card_that_is_declined_at_once_is_told(sandbox):
    with pytest.raises(CardDeclined, match="declined") as caught:
        customer_with("pm_card_chargeDeclined")

    assert (caught.value.code, caught.value.decline_code) == ("card_declined", "generic_decline")


def test_a_card_that_fails_later_leaves_the_invoice_open_with_the_reason(sandbox):
    invoice = opened(customer_with("pm_card_chargeCustomerFail"))

    with pytest.raises(CardDeclined):
        gateway.pay_invoice(invoice=invoice.id, idempotency_key="pay")

    present = gateway.retrieve_invoice(invoice.id)
    assert (present.status, present.failure_message) == ("open", "Your card was declined.")


def test_a_customer_without_a_card_is_refused_for_good(sandbox):
    invoice = opened(customer_with(None))

    with pytest.raises(GatewayRefused, match="payment method"):
        gateway.pay_invoice(invoice=invoice.id, idempotency_key="pay")


def test_a_lost_answer_is_found_by_the_sdk_s_own_retry(sandbox):
    customer = customer_with("pm_card_visa")
    sandbox.fault("timeout_after_effect")

    invoice = draft(customer)

    assert [found["id"] for found in sandbox.get("/v1/invoices")["data"]] == [invoice.id]


def test_an_answer_that_stays_lost_is_found_by_the_next_attempt(sandbox):
    customer = customer_with("pm_card_visa")
    sandbox.fault("timeout_after_effect", gateway.NETWORK_RETRIES + 1)
    with pytest.raises(GatewayUnavailable):
        draft(customer)

    invoice = draft(customer)

    assert [found["id"] for found in sandbox.get("/v1/invoices")["data"]] == [invoice.id]
    since = now() - timedelta(hours=1)
    find = partial(gateway.find_invoices_by_metadata, customer=customer, key="reference")
    (recovered,) = find(value="intent", made_since=since)
    assert recovered.id == invoice.id
    assert find(value="other", made_since=since) == []
    assert find(value="intent", made_since=now() + timedelta(hours=1)) == []


def test_an_invoice_whose_lines_differ_from_ours_is_not_finalised(sandbox):
    invoice = draft(customer_with("pm_card_visa"))

    with pytest.raises(GatewayRefused) as caught:
        gateway.finalize_invoice(present=invoice, expected_total=Money("12.31", "EUR"), idempotency_key="finalize")

    assert caught.value.code == "total_differs"
    assert gateway.retrieve_invoice(invoice.id).status == "draft"


def test_an_amount_that_stripe_cannot_charge_never_leaves_the_house(sandbox):
    with pytest.raises(GatewayRefused, match=r"steps of 0\.010") as caught:
        draft(customer_with(None), amount="12.345", currency="KWD")

    assert (caught.value.param, caught.value.code) == ("amount", "amount_not_representable")
    assert "invoiceitem" not in sandbox.state()["objects"]


@pytest.mark.parametrize(("fault", "seconds"), [("http_500", None), ("rate_limit", 1)])
def test_a_passing_failure_asks_to_try_again_later(sandbox, fault, seconds):
    sandbox.fault(fault, gateway.NETWORK_RETRIES + 1)

    with pytest.raises(GatewayUnavailable) as caught:
        gateway.retrieve_invoice("in_1")

    assert caught.value.retry_after_seconds == seconds


def test_a_sandbox_that_is_not_there_asks_to_try_again_later(settings, transactional_db):
    settings.STRIPE_API_HOST = "http://127.0.0.1:9"

    with pytest.raises(GatewayUnavailable):
        gateway.retrieve_invoice("in_1")


def test_a_customer_without_a_card_gets_an_invoice_with_a_due_date(sandbox):
    due_at = datetime(2036, 9, 1, tzinfo=UTC)

    invoice = gateway.create_invoice(
        customer=customer_with(None), currency="EUR", number="INV-1", metadata={}, due_at=due_at, idempotency_key="one"
    )

    present = sandbox.get(f"/v1/invoices/{invoice.id}")
    assert (present["collection_method"], present["due_date"]) == ("send_invoice", int(due_at.timestamp()))


def test_an_event_can_be_fetched_again(sandbox):
    invoice = gateway.pay_invoice(invoice=opened(customer_with("pm_card_visa")).id, idempotency_key="pay")
    (known,) = sandbox.get("/v1/events", type="invoice.paid")["data"]

    event = gateway.retrieve_event(known["id"])

    assert (event.type, event.object_id) == ("invoice.paid", invoice.id)


def test_an_invoice_that_does_not_exist_is_refused(sandbox):
    with pytest.raises(GatewayRefused) as caught:
        gateway.retrieve_invoice("in_1")

    assert (caught.value.param, caught.value.code) == ("id", "resource_missing")


def test_a_live_key_never_reaches_a_sandbox(settings):
    settings.STRIPE_SECRET_KEY = "sk_live_" + "0" * 24

    with pytest.raises(AssertionError, match="live key"):
        gateway.retrieve_invoice("in_1")


def signed(payload, secret, *, at_seconds=None):
    at_seconds = int(time.time()) if at_seconds is None else at_seconds
    return stripe.WebhookSignature.generate_signature_header(payload, secret, at_seconds)


def event_body(**changes):
    body = {"id": "evt_1", "object": "event", "type": "invoice.paid", "created": 1790000000}
    return json.dumps({**body, "data": {"object": {"id": "in_1", "object": "invoice"}}, **changes})


def test_a_signed_webhook_is_understood(settings):
    payload = event_body()

    event = gateway.verified_event(payload=payload.encode(), signature=signed(payload, settings.STRIPE_WEBHOOK_SECRET))

    assert (event.id, event.type, event.object_id) == ("evt_1", "invoice.paid", "in_1")
    assert event.created_at == datetime(2026, 9, 21, 14, 13, 20, tzinfo=UTC)


@pytest.mark.parametrize("signature", ["", "nonsense", "t=1,v1=00", "t=x,v1=00"])
def test_a_webhook_with_a_wrong_signature_is_refused(signature):
    with pytest.raises(SignatureInvalid):
        gateway.verified_event(payload=event_body().encode(), signature=signature)


def test_a_webhook_that_was_signed_long_ago_is_refused(settings):
    payload = event_body()
    old = signed(payload, settings.STRIPE_WEBHOOK_SECRET, at_seconds=int(time.time()) - 3600)

    with pytest.raises(SignatureInvalid):
        gateway.verified_event(payload=payload.encode(), signature=old)


@pytest.mark.parametrize("payload", ["", "[]", "{}", "null", '"x"', event_body(data=None), event_body(created="x")])
def test_a_signed_webhook_that_is_no_event_is_malformed(settings, payload):
    with pytest.raises(Malformed):
        gateway.verified_event(payload=payload.encode(), signature=signed(payload, settings.STRIPE_WEBHOOK_SECRET))


@pytest.mark.parametrize(
    ("amount", "currency", "units"),
    [
        ("12.30", "EUR", 1230),
        ("0.01", "USD", 1),
        ("0", "EUR", 0),
        ("-1.05", "EUR", -105),
        ("500", "JPY", 500),
        ("5", "ISK", 500),
        ("5", "UGX", 500),
        ("12.340", "KWD", 12340),
        ("0.010", "BHD", 10),
        ("999999999.99", "EUR", 99999999999),
    ],
)
def test_amounts_are_written_as_stripe_writes_them(amount, currency, units):
    money = Money(Decimal(amount), currency)

    assert stripe_minor_units(money) == units
    assert from_stripe_minor_units(units, currency) == money


@pytest.mark.parametrize(
    ("amount", "currency"), [("0.001", "EUR"), ("0.5", "JPY"), ("5.50", "ISK"), ("0.5", "UGX"), ("12.345", "KWD")]
)
def test_amounts_that_stripe_cannot_write_are_refused(amount, currency):
    with pytest.raises(ValueError, match=f"Stripe charges {currency} in steps of"):
        stripe_minor_units(Money(Decimal(amount), currency))


@pytest.mark.parametrize("currency", ["CLF", "UYW"])
def test_units_of_account_are_charged_by_no_card(currency):
    with pytest.raises(ValueError, match=f"Stripe charges nothing in {currency}"):
        stripe_minor_units(Money(Decimal("1"), currency))
