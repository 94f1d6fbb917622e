"""dj-stripe's tables follow Stripe's present state, also when two workers mirror the same customer at once."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import stripe
from django.db import connection
from djstripe.models import Account, APIKey, BalanceTransaction, Charge, Customer, Invoice, PaymentIntent

from invoicing.payments.mirror import mirror
from invoicing.payments.remote import GatewayRefused, GatewayUnavailable
from tests.billing_site.sandbox.running import listening, running_sandbox


@pytest.fixture
def sandbox(transactional_db, settings, monkeypatch):
    with listening(settings), running_sandbox(settings, monkeypatch) as client:
        yield client


def paid_invoice(sandbox):
    invoice = sandbox.open_invoice(sandbox.customer())
    paid = sandbox.post(f"/v1/invoices/{invoice}/pay", {"expand[]": "payments.data.payment.payment_intent"})
    return invoice, paid["payments"]["data"][0]["payment"]["payment_intent"]


def test_an_invoice_is_mirrored_with_its_customer_and_follows_its_changes(sandbox):
    invoice = sandbox.open_invoice(sandbox.customer())
    mirror(object_kind="invoice", object_id=invoice)
    before = Invoice.objects.get(id=invoice).status
    sandbox.post(f"/v1/invoices/{invoice}/pay")

    mirror(object_kind="invoice", object_id=invoice)

    mirrored = Invoice.objects.get(id=invoice)
    assert (before, mirrored.status) == ("open", "paid")
    assert mirrored.customer.stripe_data["email"] == "ada@example.com"
    assert mirrored.stripe_data["lines"]["data"][0]["amount"] == 1230


def test_a_charge_is_mirrored_with_what_it_refers_to(sandbox):
    _, intent = paid_invoice(sandbox)

    mirror(object_kind="charge", object_id=intent["latest_charge"])

    charge = Charge.objects.get(id=intent["latest_charge"])
    assert charge.payment_intent_id == intent["id"]
    assert charge.balance_transaction.fee == 66
    assert charge.customer.default_payment_method_id == charge.payment_method_id


def test_two_workers_mirror_everything_of_a_customer_at_once(sandbox):
    invoice, intent = paid_invoice(sandbox)
    wanted = [
        ("invoice", invoice),
        ("payment_intent", intent["id"]),
        ("charge", intent["latest_charge"]),
        ("customer", intent["customer"]),
    ]

    def work(order):
        try:
            for object_kind, object_id in order:
                mirror(object_kind=object_kind, object_id=object_id)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, [wanted, wanted[::-1], wanted[2:] + wanted[:2], wanted]))

    for model in (Invoice, PaymentIntent, Charge, Customer, BalanceTransaction, Account, APIKey):
        assert model.objects.count() == 1, model


def test_what_does_not_exist_is_refused_and_leaves_no_row(sandbox):
    with pytest.raises(GatewayRefused):
        mirror(object_kind="invoice", object_id="in_1")

    assert not Invoice.objects.exists()


def test_an_outage_asks_to_try_again(sandbox):
    invoice, _ = paid_invoice(sandbox)
    sandbox.fault("http_500", stripe.max_network_retries + 1)

    with pytest.raises(GatewayUnavailable):
        mirror(object_kind="invoice", object_id=invoice)

    mirror(object_kind="invoice", object_id=invoice)
    assert Invoice.objects.get(id=invoice).status == "paid"
