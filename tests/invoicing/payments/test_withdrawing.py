"""What is settled here another way is withdrawn at Stripe, however long that takes; and what was paid there meanwhile is found."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django_q.models import OrmQ
from moneyed import Money

from billing_site.kernel.clock import now
from billing_site.kernel.errors import NotFound
from billing_site.sandbox.models import SandboxObject
from invoicing.admin.transfer import TransferForm
from invoicing.payments import breaker, gateway
from invoicing.payments.hosted_page import page_kept
from invoicing.payments.models import Payment, StripeNotice
from invoicing.payments.patience import DATABASE_AWAY, GAPS, UNFORESEEN
from invoicing.payments.queries import is_payable_online, is_withdrawn
from invoicing.payments.withdrawal import Withdrawal
from invoicing.payments.withdrawing import retry_withdrawals, withdraw_invoice
from invoicing.tasks import sweep_payments
from invoicing.workflows.allocate_bank_line import check_takes
from invoicing.workflows.follow_stripe import follow_invoice
from invoicing.workflows.reverse_payment import reverse_payment
from invoicing.workflows.settle_payment import settle_payment
from tests.invoicing.crediting import credited, of_line
from tests.invoicing.payments.building import (
    a_card_customer,
    an_issued_invoice,
    database_is_away,
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


def paid_by_transfer(invoice, reference="bank-1"):
    settle_payment(
        invoice_id=invoice.pk, channel="manual", reference=reference, amount=Money("280", "USD"), received_at=now()
    )


def taken_back():
    payment = Payment.objects.latest("id")
    reverse_payment(payment_id=payment.pk, cause="returned", at=now(), actor="ann", reason="the bank returned it")


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


def test_what_was_withdrawn_and_is_open_again_is_collected_here_alone(sandbox, listener, invoice):
    paid_by_transfer(invoice)
    run_queued_jobs()
    taken_back()
    deliver(sandbox, listener)
    run_queued_jobs()

    late, at = StripeNotice.objects.get(event_type="invoice.voided"), now()
    told = "nothing to do: withdrawn here, it is void at Stripe; what is open of it is paid another way"
    assert (late.outcome, follow_invoice(intent_id=invoice.push.pk, at=at)) == (told, told)
    invoice.refresh_from_db()
    assert invoice.status == "issued"
    assert (page_kept(invoice=invoice, at=at), is_payable_online(invoice=invoice)) == ("", False)
    check_takes(invoice=invoice, amount=Money("50", "USD"))
    assert not TransferForm(invoice=invoice, at=at).stripe_collects
    credited(invoice, of_line(1, amount="80"), at=at)


def test_what_is_taken_back_before_a_second_withdrawal_is_done_is_still_void_at_stripe(sandbox, invoice):
    paid_by_transfer(invoice)
    run_queued_jobs()
    taken_back()
    paid_by_transfer(invoice, reference="bank-2")
    taken_back()

    run_queued_jobs()

    assert Withdrawal.objects.get().outcome == "it was void at Stripe"
    assert is_withdrawn(invoice=invoice)


def test_of_a_draft_that_somebody_deleted_at_stripe_nothing_is_withdrawn(sandbox, invoice):
    SandboxObject.objects.filter(kind="invoice").delete()
    paid_by_transfer(invoice)

    run_queued_jobs()

    done = Withdrawal.objects.get()
    assert (done.status, done.outcome) == ("done", "Stripe does not have it any more")
    assert not is_withdrawn(invoice=invoice), "a draft that is sent again is another one"


def test_a_withdrawal_that_fails_as_nobody_foresaw_waits_for_people(sandbox, invoice, monkeypatch):
    paid_by_transfer(invoice)
    monkeypatch.setattr(gateway, "retrieve_invoice", lambda invoice: {}["status"])

    run_queued_jobs()

    failed = Withdrawal.objects.get()
    assert (failed.status, failed.last_error) == ("failed", UNFORESEEN.format("'status'"))


def test_a_withdrawal_in_whose_middle_our_database_went_away_comes_again(sandbox, invoice, monkeypatch):
    paid_by_transfer(invoice)
    monkeypatch.setattr(gateway, "retrieve_invoice", database_is_away)

    run_queued_jobs()

    waiting = Withdrawal.objects.get()
    assert (waiting.status, waiting.last_error) == ("planned", DATABASE_AWAY)


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
