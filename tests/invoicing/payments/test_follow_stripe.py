"""Stripe's news, in any order and number, leads to the state that is true there, once, with an outcome in words."""

from datetime import timedelta

import pytest
from moneyed import Money

from billing_site.kernel.clock import now
from billing_site.kernel.errors import Conflict
from invoicing.customers.operations import change_customer
from invoicing.ledger.models import JournalEntry
from invoicing.payments.intake import dismiss_notice, sweep_notices
from invoicing.payments.models import Payment, PaymentFailure, PushIntent, StripeNotice
from invoicing.payments.patience import GAPS
from invoicing.workflows.follow_stripe import follow_invoice, follow_notice, sweep_open_invoices
from invoicing.workflows.reissue_invoice import reissue_invoice
from invoicing.workflows.settle_payment import settle_payment
from invoicing.workflows.write_off_invoice import take_back_write_off, write_off_invoice
from invoicing.write_offs.models import Recovery
from tests.invoicing.payments.building import (
    a_card_customer,
    an_issued_invoice,
    assert_books_balance,
    assert_paid_once,
    deliver,
    queued_jobs,
    receive,
    remote_invoices,
    run_queued_jobs,
)


def outcome_of(event_id="evt_made_up"):
    return StripeNotice.objects.get(event_id=event_id).outcome


@pytest.mark.requirement("S0-043")
def test_a_paid_invoice_is_settled_and_posted(sandbox, listener):
    invoice = an_issued_invoice()
    run_queued_jobs()

    (notice,) = deliver(sandbox, listener)
    run_queued_jobs()

    assert_paid_once(invoice)
    payment = Payment.objects.get()
    assert (payment.amount, payment.channel, payment.reference[:3]) == (Money("280", "USD"), "stripe", "ch_")
    assert outcome_of(notice.event_id) == "paid USD 280.00"
    entry = JournalEntry.objects.get(kind="payment")
    assert {posting.account.code: posting.amount.amount for posting in entry.postings.all()} == {
        "1100": 280,
        "1200": -280,
    }


@pytest.mark.requirement("S0-101")
def test_a_notice_delivered_three_times_is_one_notice_one_job_and_one_payment(sandbox, listener):
    invoice = an_issued_invoice()
    run_queued_jobs()
    sandbox.wait_until_delivered()
    listener.received *= 3

    deliver(sandbox, listener)

    notice = StripeNotice.objects.get()
    assert (notice.delivery_count, queued_jobs()) == (3, [("invoicing.tasks.follow_notice", (notice.pk,))])
    run_queued_jobs()
    assert_paid_once(invoice)


def test_paid_and_payment_succeeded_have_one_effect(sandbox, listener):
    invoice = an_issued_invoice()
    run_queued_jobs()
    deliver(sandbox, listener)
    receive("invoice.payment_succeeded", remote_invoices(invoice)[0])

    run_queued_jobs()

    assert_paid_once(invoice)
    assert outcome_of() == "stale: the invoice is paid already"


@pytest.mark.requirement("S0-053")
def test_a_job_that_runs_twice_settles_once(sandbox, listener):
    invoice = an_issued_invoice()
    run_queued_jobs()
    (notice,) = deliver(sandbox, listener)

    for _ in range(2):
        follow_notice(notice_id=notice.pk, at=now())

    assert_paid_once(invoice)


@pytest.mark.requirement("S0-044")
def test_a_refused_payment_is_recorded_once_by_push_and_notice_together(sandbox, listener):
    invoice = an_issued_invoice(a_card_customer(card="pm_card_chargeCustomerFail"))
    run_queued_jobs()

    deliver(sandbox, listener)
    run_queued_jobs()

    invoice.refresh_from_db()
    failure = PaymentFailure.objects.get()
    assert (invoice.status, failure.code) == ("issued", "generic_decline")
    assert StripeNotice.objects.get().outcome == "payment refused (generic_decline), as recorded already"


def test_the_notice_alone_records_why_a_payment_was_refused(sandbox, listener):
    an_issued_invoice(a_card_customer(card="pm_card_chargeCustomerFail"))
    run_queued_jobs()
    before = PaymentFailure.objects.get()
    forget(before)

    deliver(sandbox, listener)
    run_queued_jobs()

    again = PaymentFailure.objects.get()
    assert (again.reference, again.code, again.message) == (before.reference, before.code, before.message)


def forget(failure):
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("DELETE FROM invoicing_paymentfailure WHERE id = %s", [failure.pk])
        cursor.execute("SET session_replication_role = origin")


def test_a_payment_that_the_customer_must_confirm_is_told(sandbox, listener):
    invoice = an_issued_invoice(a_card_customer(card="pm_card_threeDSecure2Required"))
    run_queued_jobs()

    deliver(sandbox, listener)
    run_queued_jobs()

    invoice.refresh_from_db()
    assert (invoice.status, PaymentFailure.objects.get().code) == ("issued", "authentication_required")


@pytest.mark.requirement("S1-046")
def test_a_late_refusal_does_not_undo_a_payment(sandbox, listener):
    customer = a_card_customer(card="pm_card_chargeCustomerFail")
    invoice = an_issued_invoice(customer)
    run_queued_jobs()
    pay_with_another_card(sandbox, invoice)

    late = deliver(sandbox, listener, event_types=("invoice.paid", "invoice.payment_failed"))[1]
    run_queued_jobs()

    invoice.refresh_from_db()
    assert (invoice.status, Payment.objects.count()) == ("paid", 1)
    assert outcome_of(late.event_id) == "stale: the invoice is paid already"
    assert_books_balance()


@pytest.mark.requirement("S1-044")
def test_a_refusal_followed_before_the_payment_finds_the_invoice_paid(sandbox, listener):
    invoice = an_issued_invoice(a_card_customer(card="pm_card_chargeCustomerFail"))
    run_queued_jobs()
    pay_with_another_card(sandbox, invoice)

    (failed,) = deliver(sandbox, listener, event_types=("invoice.payment_failed",))
    run_queued_jobs()

    invoice.refresh_from_db()
    assert (invoice.status, outcome_of(failed.event_id)) == ("paid", "stale, but since then paid USD 280.00")


def pay_with_another_card(sandbox, invoice):
    remote = remote_invoices(invoice)[0]
    method = sandbox.post("/v1/payment_methods/pm_card_visa/attach", {"customer": remote["customer"]})["id"]
    sandbox.post(f"/v1/invoices/{remote['id']}/pay", {"payment_method": method})


@pytest.mark.parametrize(
    ("event_type", "subject", "outcome"),
    [
        ("invoice.paid", {"id": "in_other", "object": "invoice", "metadata": {}}, "ignored: not an invoice of ours"),
        (
            "invoice.paid",
            {"id": "in_other", "object": "invoice", "metadata": {"push_intent": "no uuid"}},
            "ignored: not an invoice of ours",
        ),
        ("customer.updated", {"id": "cus_other", "object": "customer"}, "ignored: not a customer of ours"),
        ("surprise.happened", {}, "ignored: nothing here depends on surprise.happened"),
    ],
)
def test_news_that_does_not_concern_us_is_closed_with_the_reason(transactional_db, event_type, subject, outcome):
    receive(event_type, subject)

    run_queued_jobs()

    assert outcome_of() == outcome
    assert not Payment.objects.exists()


def test_news_that_comes_before_we_know_stripes_id_is_recognised_by_our_mark(sandbox, listener):
    invoice = an_issued_invoice()
    run_queued_jobs()
    PushIntent.objects.update(status="pending", stripe_invoice_id=None)

    deliver(sandbox, listener)
    run_queued_jobs()

    assert_paid_once(invoice)


def test_while_stripe_cannot_answer_a_notice_waits_and_says_why(sandbox, listener):
    invoice = an_issued_invoice()
    run_queued_jobs()
    (notice,) = deliver(sandbox, listener)
    sandbox.fault("http_500", 2)
    at = now()

    waiting = follow_notice(notice_id=notice.pk, at=at)

    stored = StripeNotice.objects.get()
    assert (waiting.processed_at, stored.processed_at, stored.attempt_count) == (None, None, 1)
    later = stored.next_attempt_at
    assert at + GAPS[0] <= later <= at + 2 * GAPS[0]
    assert stored.last_error[:26] == "Stripe cannot answer now: "
    assert (sweep_notices(at=at), sweep_notices(at=later), sweep_notices(at=later)) == (0, 1, 0)
    run_queued_jobs()
    assert_paid_once(invoice)
    assert StripeNotice.objects.get().last_error == ""


def test_money_beyond_what_is_due_waits_for_people(sandbox, listener):
    invoice = an_issued_invoice()
    run_queued_jobs()
    settle_payment(
        invoice_id=invoice.pk, channel="manual", reference="bank-1", amount=Money("100", "USD"), received_at=now()
    )
    (notice,) = deliver(sandbox, listener)

    run_queued_jobs()

    stored = StripeNotice.objects.get()
    assert (stored.processed_at, Payment.objects.count()) == (None, 1)
    assert "due" in stored.last_error
    closed = dismiss_notice(notice_id=notice.pk, at=now(), actor="ada", reason="refunded by hand")
    assert closed.outcome == "dismissed by ada: refunded by hand"
    with pytest.raises(Conflict, match="closed already"):
        dismiss_notice(notice_id=notice.pk, at=now(), actor="ada", reason="again")
    assert_books_balance()


@pytest.mark.requirement("S1-036")
def test_an_invoice_paid_by_transfer_is_withdrawn_at_stripe(sandbox, listener):
    invoice = an_issued_invoice(a_card_customer(card=""))
    run_queued_jobs()
    settle_payment(
        invoice_id=invoice.pk, channel="manual", reference="bank-1", amount=Money("280", "USD"), received_at=now()
    )

    run_queued_jobs()
    (voided,) = deliver(sandbox, listener)
    run_queued_jobs()

    assert remote_invoices(invoice)[0]["status"] == "void"
    assert (voided.event_type, outcome_of(voided.event_id)) == (
        "invoice.voided",
        "stale: the invoice is paid already",
    )


def test_an_invoice_that_is_written_off_is_uncollectible_at_stripe_and_paid_there_it_is_recovered(sandbox, listener):
    invoice = an_issued_invoice(a_card_customer(card=""))
    run_queued_jobs()
    write_off_invoice(invoice_id=invoice.pk, at=now(), actor="ann", reason="insolvency")
    run_queued_jobs()
    (marked,) = deliver(sandbox, listener)
    run_queued_jobs()
    [remote] = remote_invoices(invoice)
    assert remote["status"] == "uncollectible"
    assert outcome_of(marked.event_id) == "nothing to do: it is uncollectible at Stripe since it was written off here"

    sandbox.post(f"/v1/invoices/{remote['id']}/pay", {"payment_method": "pm_card_visa"})
    deliver(sandbox, listener)
    run_queued_jobs()

    invoice.refresh_from_db()
    assert (invoice.status, invoice.amount_written_off.amount) == ("paid", 0)
    assert Recovery.objects.get().payment == Payment.objects.get()
    assert_books_balance()


def test_what_is_written_off_and_paid_in_part_by_transfer_is_void_at_stripe_which_would_collect_all_of_it(sandbox):
    invoice, other = an_issued_invoice(a_card_customer(card="")), an_issued_invoice(a_card_customer("cust_b", card=""))
    run_queued_jobs()
    for one in (invoice, other):
        write_off_invoice(invoice_id=one.pk, at=now(), actor="ann", reason="insolvency")
    settle_payment(
        invoice_id=invoice.pk, channel="manual", reference="bank-1", amount=Money("80", "USD"), received_at=now()
    )
    take_back_write_off(invoice_id=other.pk, at=now(), actor="ann", reason="they pay after all")
    run_queued_jobs()

    assert [remote_invoices(one)[0]["status"] for one in (invoice, other)] == ["void", "open"]


def test_what_is_declared_void_here_is_no_news_from_stripe(sandbox, listener):
    invoice = an_issued_invoice(a_card_customer(card=""))
    run_queued_jobs()
    reissue_invoice(invoice_id=invoice.pk, at=now(), actor="ann", reason="another price")
    run_queued_jobs()
    (voided,) = deliver(sandbox, listener)
    run_queued_jobs()

    assert remote_invoices(invoice)[0]["status"] == "void"
    assert outcome_of(voided.event_id) == "nothing to do: it is void at Stripe since it was declared void here"


def test_an_invoice_voided_at_stripe_waits_for_people(sandbox, listener):
    invoice = an_issued_invoice(a_card_customer(card=""))
    run_queued_jobs()
    sandbox.post(f"/v1/invoices/{remote_invoices(invoice)[0]['id']}/void")

    deliver(sandbox, listener)
    run_queued_jobs()

    stored = StripeNotice.objects.get()
    assert (stored.processed_at, stored.last_error) == (None, "the invoice is void at Stripe, but not here")


@pytest.mark.requirement("S3-034")
def test_a_lost_notice_is_made_up_for_by_the_daily_look(sandbox, listener):
    sandbox.fault("drop_webhooks", 10)
    invoice = an_issued_invoice()
    run_queued_jobs()
    sandbox.wait_until_delivered()

    early, later = sweep_open_invoices(at=now()), sweep_open_invoices(at=now() + timedelta(hours=2))
    run_queued_jobs()

    assert (early, later, listener.received) == (0, 1, [])
    assert_paid_once(invoice)
    assert follow_invoice(intent_id=invoice.push.pk, at=now()) == "nothing to do"


def test_the_daily_look_leaves_an_open_invoice_open(sandbox, listener):
    invoice = an_issued_invoice(a_card_customer(card=""))
    run_queued_jobs()

    assert follow_invoice(intent_id=invoice.push.pk, at=now()) == "nothing to do: the invoice is open at Stripe"


def test_a_settled_invoice_and_its_customer_are_mirrored_for_dj_stripe(sandbox, listener):
    from djstripe.models import Invoice as MirroredInvoice

    customer = a_card_customer()
    invoice = an_issued_invoice(customer)
    run_queued_jobs()
    deliver(sandbox, listener)
    change_customer(customer=customer, changes={"name": "Acme AG"}, actor="test", reason="renamed")

    run_queued_jobs(mirrors=True)

    mirrored = MirroredInvoice.objects.get()
    assert (mirrored.id, mirrored.stripe_data["status"]) == (remote_invoices(invoice)[0]["id"], "paid")


def test_money_that_stripe_received_beside_a_transfer_waits_for_somebody(sandbox, listener):
    invoice = an_issued_invoice()
    run_queued_jobs()
    sandbox.wait_until_delivered()
    settle_payment(
        invoice_id=invoice.pk, channel="manual", reference="SEPA 1", amount=invoice.total, received_at=now(), actor="t"
    )

    notices = deliver(sandbox, listener)
    run_queued_jobs()

    [paid] = [StripeNotice.objects.get(pk=one.pk) for one in notices if one.event_type == "invoice.paid"]
    assert paid.processed_at is None
    assert "Stripe has received USD 280.00" in paid.last_error
    assert Payment.objects.count() == 1


def test_news_of_an_invoice_that_is_only_to_come_is_about_none_of_ours(transactional_db):
    an_issued_invoice()

    receive("invoice.upcoming", {"object": "invoice", "customer": "cus_x"})
    follow_notice(notice_id=StripeNotice.objects.get().pk, at=now())

    assert outcome_of() == "ignored: not an invoice of ours"
