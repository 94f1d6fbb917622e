"""Every object that the sandbox returns fits the installed SDK, and has the members of Stripe's published examples."""

import inspect
import json

import pytest
import requests
import stripe
from django.conf import settings
from django.core.management import call_command
from django.test import override_settings
from stripe._object_classes import get_object_class

from tests.billing_site.sandbox.running import listening, running_sandbox
from tests.contract.stripe_types import misfits

LISTS = {
    "balance_transaction": "/v1/balance_transactions",
    "charge": "/v1/charges",
    "checkout.session": "/v1/checkout/sessions",
    "customer": "/v1/customers",
    "dispute": "/v1/disputes",
    "event": "/v1/events",
    "invoice": "/v1/invoices",
    "invoice_payment": "/v1/invoice_payments",
    "invoiceitem": "/v1/invoiceitems",
    "payment_intent": "/v1/payment_intents",
    "payout": "/v1/payouts",
    "refund": "/v1/refunds",
    "setup_intent": "/v1/setup_intents",
    "webhook_endpoint": "/v1/webhook_endpoints",
}
# Of these there is no published example.
UNPUBLISHED = {"checkout.session", "invoice_payment", "refund", "setup_intent"}
# What Stripe returns on request only; the published examples show some of it.
ON_REQUEST = {"charge": {"refunds"}}


@pytest.fixture(scope="module")
def told(django_db_setup, django_db_blocker):
    """Make everything once, for all that is asked of it: the objects of each kind, and some of them expanded."""
    with django_db_blocker.unblock():
        try:
            with (
                override_settings(),
                pytest.MonkeyPatch.context() as patch,
                listening(settings),
                running_sandbox(settings, patch) as sandbox,
            ):
                found = everything(sandbox)
                return found, expanded_objects(sandbox, found)
        finally:
            call_command("flush", verbosity=0, interactive=False)


@pytest.fixture
def objects(told):
    """Return everything that is there after each thing that can happen has happened."""
    return told[0]


def everything(sandbox):
    payer, debtor = sandbox.customer(), sandbox.customer("pm_card_chargeCustomerFail")
    sandbox.post("/v1/webhook_endpoints", {"url": "https://example.com/hook", "enabled_events[]": "charge.refunded"})
    sandbox.post("/v1/invoices", {"customer": payer, "collection_method": "send_invoice", "days_until_due": 14})
    sandbox.post(f"/v1/invoices/{sandbox.open_invoice(payer)}/pay")
    sandbox.post(f"/v1/invoices/{sandbox.open_invoice(payer)}/void")
    sandbox.post(f"/v1/invoices/{sandbox.open_invoice(payer, amount=0)}", {"metadata[a]": "b"})
    [charge, *_] = sandbox.get("/v1/charges", customer=payer)["data"]
    sandbox.post("/v1/refunds", {"charge": charge["id"], "amount": 1, "reason": "requested_by_customer"})
    for token in ("pm_card_createDispute", "pm_card_createDisputeInquiry"):
        sandbox.post(f"/v1/invoices/{sandbox.open_invoice(sandbox.customer(token))}/pay")
    chargeback = sandbox.get("/v1/disputes", limit=100)["data"][1]
    sandbox.post(
        f"/v1/disputes/{chargeback['id']}", {"evidence[uncategorized_text]": "winning_evidence", "submit": "true"}
    )
    for card in ("", "pm_card_visa"):
        session = {"mode": "setup", "customer": payer, "success_url": "https://example.com/"}
        page = sandbox.post("/v1/checkout/sessions", session)["url"]
        if card:
            requests.post(page, data={"card": card}, timeout=10, allow_redirects=False)
    for decided in ("failed", "paid"):
        payout = sandbox.post("/_sandbox/payouts", {"currency": "eur"})
        sandbox.post(f"/_sandbox/payouts/{payout['id']}/decide", {"status": decided})
    failed = sandbox.open_invoice(debtor)
    sandbox.call("POST", f"/v1/invoices/{failed}/pay")
    confirmed = sandbox.open_invoice(sandbox.customer("pm_card_threeDSecure2Required"))
    sandbox.call("POST", f"/v1/invoices/{confirmed}/pay")
    found = {"account": [sandbox.get("/v1/account")]}
    for kind, path in LISTS.items():
        page = sandbox.get(path, limit=100)
        assert page["data"] and not page["has_more"], kind
        found[kind] = page["data"]
    found["payment_method"] = sandbox.get("/v1/payment_methods", customer=payer)["data"]
    sold = {
        "currency": "usd",
        "line_items[0][amount]": "10000",
        "customer_details[address_source]": "billing",
        "customer_details[address][country]": "US",
    }
    whole = {"expand[]": "line_items.data.tax_breakdown"}
    for postal_code in ("10001", "97201"):
        asked = sold | {"customer_details[address][postal_code]": postal_code}
        sandbox.post("/v1/tax/calculations", asked)
        calculation = sandbox.post("/v1/tax/calculations", asked | whole)
        found.setdefault("tax.calculation", []).append(calculation)
        found.setdefault("tax.calculation_line_item", []).extend(calculation["line_items"]["data"])
    found["product"] = [sandbox.post("/v1/products", {"name": "Support"})]
    monthly = {"product": found["product"][0]["id"], "unit_amount": 900, "recurring[interval]": "month"}
    found["price"] = [sandbox.post("/v1/prices", monthly)]
    found["plan"] = [sandbox.get(f"/v1/plans/{found['price'][0]['id']}")]
    of_price = {"items[0][price]": found["price"][0]["id"]}
    for customer in (payer, debtor):
        subscribed = sandbox.post("/v1/subscriptions", {"customer": customer, **of_price})
    sandbox.post(f"/_sandbox/subscriptions/{subscribed['id']}/move", {"status": "incomplete_expired"})
    subscribed = sandbox.post("/v1/subscriptions", {"customer": debtor, "trial_end": 2000000000, **of_price})
    sandbox.call("DELETE", f"/v1/subscriptions/{subscribed['id']}")
    found["subscription"] = sandbox.get("/v1/subscriptions", status="all")["data"]
    found["subscription_item"] = [one["items"]["data"][0] for one in found["subscription"]]
    meter = {"display_name": "Calls", "event_name": "calls", "default_aggregation[formula]": "sum"}
    found["billing.meter"] = [sandbox.post("/v1/billing/meters", meter)]
    event = {"event_name": "calls", "identifier": "one", "payload[stripe_customer_id]": payer, "payload[value]": "2.5"}
    found["billing.meter_event"] = [sandbox.post("/v1/billing/meter_events", event)]
    day = found["billing.meter_event"][0]["created"] // 86400 * 86400
    of_day = {"customer": payer, "start_time": day, "end_time": day + 86400, "value_grouping_window": "day"}
    path = f"/v1/billing/meters/{found['billing.meter'][0]['id']}/event_summaries"
    found["billing.meter_event_summary"] = sandbox.get(path, **of_day)["data"]
    cancel = {"event_name": "calls", "type": "cancel", "cancel[identifier]": "one"}
    found["billing.meter_event_adjustment"] = [sandbox.post("/v1/billing/meter_event_adjustments", cancel)]
    found["line_item"] = [line for invoice in found["invoice"] for line in invoice["lines"]["data"]]
    return found


def expanded_objects(sandbox, objects):
    """Return the invoices and the charges with what they refer to in them."""
    invoices = [
        sandbox.get(
            f"/v1/invoices/{invoice['id']}", **{"expand[]": ["payments.data.payment.payment_intent", "customer"]}
        )
        for invoice in objects["invoice"]
    ]
    charges = [
        sandbox.get(f"/v1/charges/{charge['id']}", **{"expand[]": ["balance_transaction", "payment_intent.customer"]})
        for charge in objects["charge"]
    ]
    return invoices, charges


def test_every_object_fits_the_types_of_the_installed_sdk(objects):
    wrong = [
        line
        for kind, bodies in objects.items()
        for body in bodies
        for line in misfits(body, get_object_class("V1", kind))
    ]

    assert wrong == []
    assert all(body["object"] == kind for kind, bodies in objects.items() for body in bodies)


def test_every_event_tells_of_an_object_that_fits(objects):
    subjects = [event["data"]["object"] for event in objects["event"]]

    wrong = [line for subject in subjects for line in misfits(subject, get_object_class("V1", subject["object"]))]

    assert wrong == []


def test_expanded_objects_fit_too(told):
    invoices, charges = told[1]

    assert [line for invoice in invoices for line in misfits(invoice, stripe.Invoice)] == []
    assert [line for charge in charges for line in misfits(charge, stripe.Charge)] == []
    assert {type(invoice["customer"]) for invoice in invoices} == {dict}


@pytest.mark.contract
@pytest.mark.parametrize(
    "kind",
    [
        *sorted(set(LISTS) - UNPUBLISHED),
        "account",
        "line_item",
        "payment_method",
        "plan",
        "price",
        "product",
        "subscription",
    ],
)
def test_objects_have_the_members_of_stripe_s_published_examples(objects, shared, kind):
    examples = json.loads((shared / "contracts" / "stripe" / "fixtures.json").read_text())["resources"]
    known_to_sdk = set(inspect.get_annotations(get_object_class("V1", kind)))

    expected = (set(examples[kind]) & known_to_sdk) - ON_REQUEST.get(kind, set())

    assert [sorted(expected - set(body)) for body in objects[kind] if expected - set(body)] == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"total": "1"}, "Invoice.total: not a int"),
        ({"status": "opened"}, "Invoice.status: 'opened' is none of"),
        ({"paid": True}, "Invoice.paid: the SDK knows no such member"),
        ({"issuer": {"type": "nobody"}}, "Invoice.issuer.type: 'nobody' is none of"),
        ({"lines": []}, "Invoice.lines: not a list object"),
    ],
)
def test_the_comparison_itself_notices_mistakes(objects, change, complaint):
    wrong = misfits({**objects["invoice"][0], **change}, stripe.Invoice)

    assert len(wrong) == 1
    assert wrong[0].startswith(complaint)
