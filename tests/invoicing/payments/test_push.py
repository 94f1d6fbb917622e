"""An issued invoice reaches Stripe once, with our total, and says in words what stands in the way."""

from datetime import timedelta
from threading import Barrier, Thread

import pytest
from django.db import IntegrityError, connection, transaction
from moneyed import Money

from billing_site.kernel.clock import now
from billing_site.kernel.errors import Conflict
from billing_site.sandbox.models import SandboxObject
from invoicing.customers.operations import change_customer
from invoicing.payments import gateway
from invoicing.payments.models import PaymentFailure, PushIntent, StripeCustomer
from invoicing.payments.push import plan_pushes, push_invoice, retry_push, sweep_pushes
from invoicing.tax.operations import set_customer_tax
from invoicing.workflows.settle_payment import settle_payment
from tests.invoicing.payments.building import (
    a_card_customer,
    an_issued_invoice,
    queued_jobs,
    remote_invoices,
    run_queued_jobs,
)
from tests.invoicing.test_taxes import figures, germany


def pushed(invoice, *, at=None):
    return push_invoice(intent_id=invoice.push.pk, at=at or now())


@pytest.mark.requirement("S3-033")
def test_issuing_plans_one_push_and_queues_one_job(transactional_db):
    invoice = an_issued_invoice()

    with pytest.raises(IntegrityError, match="invoice_id"), transaction.atomic():
        plan_pushes(invoices=[invoice])

    kept = PushIntent.objects.get(invoice=invoice)
    assert queued_jobs() == [("invoicing.tasks.push_invoice", (kept.pk,))]


def test_an_invoice_over_nothing_is_not_pushed(transactional_db):
    invoice = an_issued_invoice(fee="0")

    assert invoice.status == "paid"
    assert not PushIntent.objects.exists()
    assert queued_jobs() == []


def test_the_job_brings_the_invoice_to_stripe_and_charges_the_card(sandbox):
    invoice = an_issued_invoice()

    run_queued_jobs()

    intent = PushIntent.objects.get()
    (remote,) = remote_invoices(invoice)
    assert (intent.status, intent.stripe_invoice_id, intent.last_error) == ("pushed", remote["id"], "")
    assert (remote["status"], remote["total"], remote["number"]) == ("paid", 28000, invoice.number)
    assert remote["metadata"] == {"push_intent": str(intent.key), "customer": "cust_acme"}
    assert sandbox.state()["objects"]["line_item"] == 1


@pytest.mark.requirement("S3-059")
def test_a_push_that_is_done_is_not_done_again(sandbox):
    invoice = an_issued_invoice()
    pushed(invoice)
    before = sandbox.state()["objects"]

    pushed(invoice)

    assert sandbox.state()["objects"] == before
    assert PushIntent.objects.get().attempt_count == 1


@pytest.mark.requirement("S3-035")
def test_two_workers_never_push_one_invoice_at_once(sandbox, monkeypatch):
    invoice = an_issued_invoice()
    intent_id, starting, looked = invoice.push.pk, Barrier(2), []
    ensure_customer = gateway.ensure_customer

    def wait_for_the_other(**arguments):
        looked.append(1)
        starting.wait(timeout=10)
        return ensure_customer(**arguments)

    monkeypatch.setattr(gateway, "ensure_customer", wait_for_the_other)

    def work():
        push_invoice(intent_id=intent_id, at=now())
        connection.close()

    first = Thread(target=work)
    first.start()
    while not looked:
        first.join(0.01)
    second = push_invoice(intent_id=intent_id, at=now())
    starting.wait(timeout=10)
    first.join(timeout=20)

    assert (second.status, second.attempt_count) == ("pending", 1)
    assert (PushIntent.objects.get().status, PushIntent.objects.get().attempt_count) == ("pushed", 1)
    assert len(looked) == len(remote_invoices(invoice)) == 1


def test_two_invoices_of_a_new_customer_share_one_customer_at_stripe(sandbox):
    customer = a_card_customer()
    invoice = an_issued_invoice(customer)
    known = StripeCustomer.objects
    pushed(invoice)
    first = known.get().stripe_id
    known.all().delete()
    PushIntent.objects.update(status="pending", stripe_invoice_id=None)

    pushed(invoice)

    assert known.get().stripe_id == first
    assert sandbox.state()["objects"]["customer"] == 1


def test_a_customer_without_card_gets_an_open_invoice_with_a_due_date(sandbox):
    invoice = an_issued_invoice(a_card_customer(card=""))

    intent = pushed(invoice)

    (remote,) = remote_invoices(invoice)
    assert (intent.status, remote["status"], remote["collection_method"]) == ("pushed", "open", "send_invoice")
    assert remote["due_date"] > now().timestamp()


def test_a_declined_card_is_recorded_and_the_push_is_done(sandbox):
    invoice = an_issued_invoice(a_card_customer(card="pm_card_chargeCustomerFail"))

    intent = pushed(invoice)

    failure = PaymentFailure.objects.get()
    assert (intent.status, remote_invoices(invoice)[0]["status"]) == ("pushed", "open")
    assert (failure.invoice, failure.code, failure.reference[:3]) == (invoice, "generic_decline", "ch_")


def test_a_card_that_the_bank_does_not_let_us_keep_leaves_an_open_invoice(sandbox):
    invoice = an_issued_invoice(a_card_customer(card="pm_card_chargeDeclined"))

    intent = pushed(invoice)

    assert (intent.status, remote_invoices(invoice)[0]["collection_method"]) == ("pushed", "send_invoice")
    assert PaymentFailure.objects.get().code == "generic_decline"
    assert StripeCustomer.objects.get().payment_method == ""


def test_stripe_is_told_of_a_changed_customer_and_of_nothing_else(sandbox):
    customer = a_card_customer()
    pushed(an_issued_invoice(customer))
    known = StripeCustomer.objects.get()
    change_customer(
        customer=customer,
        changes={"email": "new@acme.example", "payment_method": "pm_card_mastercard"},
        actor="test",
        reason="moved",
    )
    intent = PushIntent.objects.get()
    PushIntent.objects.update(status="pending")

    push_invoice(intent_id=intent.pk, at=now())

    (remote,) = SandboxObject.objects.filter(kind="customer")
    assert (remote.id, remote.body["email"]) == (known.stripe_id, "new@acme.example")
    assert StripeCustomer.objects.get().payment_method == "pm_card_mastercard"


@pytest.mark.requirement("S3-027")
def test_the_sweep_queues_what_is_due_once_and_it_goes_through(sandbox):
    invoice = an_issued_invoice()
    sandbox.fault("http_500", 2)
    pushed(invoice)
    due = PushIntent.objects.get().next_attempt_at

    early, on_time, again = sweep_pushes(at=due - timedelta(seconds=1)), sweep_pushes(at=due), sweep_pushes(at=due)
    run_queued_jobs()

    assert (early, on_time, again) == (0, 1, 0)
    assert len(remote_invoices(invoice)) == 1
    assert (PushIntent.objects.get().status, PushIntent.objects.get().last_error) == ("pushed", "")


@pytest.mark.requirement("S3-033")
def test_a_lost_answer_makes_no_second_invoice(sandbox):
    invoice = an_issued_invoice()
    sandbox.fault("timeout_after_effect", 2)

    for _ in range(5):
        pushed(invoice)

    (remote,) = remote_invoices(invoice)
    assert (PushIntent.objects.get().status, remote["status"]) == ("pushed", "paid")
    assert (sandbox.state()["objects"]["customer"], sandbox.state()["objects"]["charge"]) == (1, 1)


def test_an_invoice_created_before_stripe_forgot_our_keys_is_found_again(sandbox):
    invoice = an_issued_invoice()
    pushed(invoice)
    PushIntent.objects.update(status="pending", stripe_invoice_id=None, retry_count=1)

    intent = pushed(invoice)

    (remote,) = remote_invoices(invoice)
    assert (intent.status, intent.stripe_invoice_id) == ("pushed", remote["id"])


@pytest.mark.requirement("S3-036")
def test_a_different_total_at_stripe_is_refused_and_nothing_is_finalised(sandbox):
    invoice = an_issued_invoice()
    add_invoice_lines = gateway.add_invoice_lines
    with pytest.MonkeyPatch.context() as patch:
        # Somebody adds a line at Stripe before ours.
        patch.setattr(gateway, "add_invoice_lines", lambda **said: add_more(said, sandbox) or add_invoice_lines(**said))
        intent = pushed(invoice)

    (remote,) = remote_invoices(invoice)
    assert (intent.status, remote["status"]) == ("refused", "draft")
    assert "280.00" in intent.last_error
    assert "300.00" in intent.last_error


def add_more(said, sandbox):
    customer = SandboxObject.objects.get(kind="customer").id
    sandbox.post(
        "/v1/invoiceitems", {"invoice": said["invoice"], "customer": customer, "amount": 2000, "currency": "usd"}
    )


def test_a_refusal_says_what_to_do_and_can_be_sent_again(sandbox):
    customer = a_card_customer(card="pm_unknown")
    invoice = an_issued_invoice(customer)
    refused = pushed(invoice)
    change_customer(customer=customer, changes={"payment_method": "pm_card_visa"}, actor="test", reason="typo")

    again = retry_push(intent_id=refused.pk, at=now(), actor="ada", reason="card corrected")
    run_queued_jobs()

    assert refused.status == "refused"
    assert "pm_unknown" in refused.last_error
    assert "Correct the customer's payment method" in refused.last_error
    assert again.last_error.startswith("Sent again by ada: card corrected")
    assert remote_invoices(invoice)[0]["status"] == "paid"


def test_a_draft_deleted_at_stripe_is_made_again(sandbox):
    invoice = an_issued_invoice()
    PushIntent.objects.update(stripe_invoice_id="in_deleted", attempt_count=1)
    refused = pushed(invoice)

    retry_push(intent_id=refused.pk, at=now(), actor="ada", reason="deleted there")
    run_queued_jobs()

    assert remote_invoices(invoice)[0]["status"] == "paid"


def test_only_a_refused_push_is_sent_again(transactional_db):
    invoice = an_issued_invoice()

    with pytest.raises(Conflict, match="only a refused one"):
        retry_push(intent_id=invoice.push.pk, at=now(), actor="ada", reason="impatient")


def test_an_amount_that_stripe_cannot_express_is_refused_before_anything_is_charged(sandbox):
    invoice = an_issued_invoice(a_card_customer(currency="KWD"), fee="1.005")

    refused = pushed(invoice)

    assert (refused.status, remote_invoices(invoice)[0]["status"]) == ("refused", "draft")
    assert "steps of 0.01" in refused.last_error
    assert "settle the invoice by bank transfer" in refused.last_error


@pytest.mark.requirement("S1-036")
def test_what_was_paid_by_transfer_meanwhile_is_not_charged_again(sandbox):
    invoice = an_issued_invoice()
    settle_payment(
        invoice_id=invoice.pk, channel="manual", reference="bank-1", amount=Money("100", "USD"), received_at=now()
    )

    intent = pushed(invoice)

    assert intent.status == "refused"
    assert "was paid already" in intent.last_error
    assert "charge" not in sandbox.state()["objects"]


def test_no_transaction_is_open_while_stripe_is_called(sandbox):
    invoice = an_issued_invoice()

    with transaction.atomic(), pytest.raises(RuntimeError, match="durable"):
        pushed(invoice)

    assert remote_invoices(invoice) == []


def test_stripe_is_told_the_tax_as_lines_of_its_own_and_the_same_total(sandbox):
    germany()
    customer = a_card_customer()
    set_customer_tax(customer=customer, country="DE", actor="test", reason="set up")
    invoice = an_issued_invoice(customer)

    run_queued_jobs()

    (remote,) = remote_invoices(invoice)
    assert (remote["total"], figures(invoice)) == (33320, ("280.00", "53.20", "333.20"))
    lines = SandboxObject.objects.filter(kind="line_item").values_list("body__description", "body__amount")
    assert sorted(lines) == [("Base fee", 28000), ("VAT 19 % (DE)", 5320)]
