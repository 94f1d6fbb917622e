"""What is settled here another way is withdrawn at Stripe, however long that takes; and what was paid there meanwhile is found."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django_q.models import OrmQ
from moneyed import Money

from billing_site.kernel.clock import now
from billing_site.kernel.errors import NotFound
from invoicing.payments import breaker
from invoicing.payments.models import StripeNotice
from invoicing.payments.patience import GAPS
from invoicing.payments.withdrawal import Withdrawal
from invoicing.payments.withdrawing import retry_withdrawals, withdraw_invoice
from invoicing.tasks import sweep_payments
from invoicing.workflows.settle_payment import settle_payment
from tests.invoicing.payments.building import (
    a_card_customer,
    an_issued_invoice,
    deliver,
    remote_invoices,
    run_queued_jobs,
)


@pytest.fixture
def invoice(sandbox):
    """An invoice that its customer may pay on Stripe's page."""
    invoice = an_issued_invoice(a_card_customer(card=""))
    run_queued_jobs()
    return invoice


def paid_by_transfer(invoice):
    settle_payment(
        invoice_id=invoice.pk, channel="manual", reference="bank-1", amount=Money("280", "USD"), received_at=now()
    )


def paid_at_stripe(sandbox, invoice):
    sandbox.post(f"/v1/invoices/{remote_invoices(invoice)[0]['id']}/pay", {"payment_method": "pm_card_visa"})


@pytest.mark.requirement("S1-036")
def test_a_withdrawal_outlives_an_outage_and_the_loss_of_its_job(sandbox, invoice):
    breaker.open_by_hand(at=now(), actor="ada", reason="Stripe asked us to")
    paid_by_transfer(invoice)
    run_queued_jobs()
    sweep_payments()
    waiting = Withdrawal.objects.get()
    assert (waiting.status, waiting.attempt_count, remote_invoices(invoice)[0]["status"]) == ("planned", 0, "open")
    OrmQ.objects.all().delete()

    breaker.close_outage(at=now(), actor="ada", reason="it is over")
    run_queued_jobs()

    done = Withdrawal.objects.get()
    assert (done.status, done.outcome, remote_invoices(invoice)[0]["status"]) == ("done", "voided at Stripe", "void")


def test_what_was_paid_at_stripe_too_is_found_without_its_news(sandbox, listener, invoice):
    sandbox.fault("drop_webhooks", 10)
    paid_at_stripe(sandbox, invoice)
    paid_by_transfer(invoice)

    run_queued_jobs()

    found = StripeNotice.objects.get()
    assert Withdrawal.objects.get().outcome == "it was paid at Stripe"
    assert found.processed_at is None
    assert found.last_error.endswith("which was paid otherwise: pay it back there, then dismiss this")


def test_what_was_paid_at_stripe_too_is_found_once_where_its_news_has_come(sandbox, listener, invoice):
    paid_at_stripe(sandbox, invoice)
    paid_by_transfer(invoice)
    deliver(sandbox, listener, event_types=("invoice.paid",))

    run_queued_jobs()

    found = StripeNotice.objects.get()
    assert found.event_id.startswith("evt_")
    assert "which was paid otherwise" in found.last_error


@pytest.mark.requirement("S2-013")
def test_a_withdrawal_that_fails_too_often_waits_for_people_who_try_it_again(sandbox, invoice, settings):
    settings.STRIPE_OUTAGE_AFTER_FAILURES = 0
    paid_by_transfer(invoice)
    OrmQ.objects.all().delete()
    sandbox.fault("http_500", 1000)
    for number in range(len(GAPS) + 1):
        withdraw_invoice(intent_id=invoice.push.pk, at=now() + timedelta(hours=number))
    sandbox.fault("http_500", 0)
    failed = Withdrawal.objects.get()
    assert failed.status == "failed"
    assert failed.last_error.startswith("Given up after 11 failures in a row")
    OrmQ.objects.all().delete()

    asked = {"intent_ids": [invoice.push.pk], "at": now(), "actor": "ada", "reason": "Stripe is back"}
    assert retry_withdrawals(**asked) == 1
    with pytest.raises(NotFound):
        retry_withdrawals(**asked)
    run_queued_jobs()

    assert (Withdrawal.objects.get().status, remote_invoices(invoice)[0]["status"]) == ("done", "void")


@pytest.mark.parametrize(
    ("statement", "refusal"),
    [
        ("DELETE FROM invoicing_withdrawal", "cannot be deleted"),
        ("UPDATE invoicing_withdrawal SET status = 'done'", "withdrawal_is_done_at_a_moment_and_says_how"),
        ("UPDATE invoicing_withdrawal SET status = 'failed'", "withdrawal_says_why_it_failed"),
        ("UPDATE invoicing_withdrawal SET status = 'forgotten'", "withdrawal_status_is_known"),
    ],
)
def test_no_withdrawal_is_forgotten(sandbox, invoice, statement, refusal):
    paid_by_transfer(invoice)

    with pytest.raises(IntegrityError, match=refusal), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
