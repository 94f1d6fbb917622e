"""When Stripe fails again and again nobody calls it, everything waits and everybody is told; when it answers, all of it is sent once."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from threading import Event

import pytest
from django.core import mail
from django.db import IntegrityError, OperationalError, connection, connections, transaction
from django_q.models import OrmQ

from billing_site.kernel.clock import now
from billing_site.kernel.errors import Conflict
from invoicing.payments import breaker, gateway, hurry, pace, probe
from invoicing.payments.attempts import PushAttempt
from invoicing.payments.models import PushIntent, StripeNotice
from invoicing.payments.outage import FailureStreak, Outage
from invoicing.payments.probe import probe_stripe
from invoicing.payments.push import push_invoice
from invoicing.payments.remote import GatewayRefused, GatewayUnavailable, RailClosed
from invoicing.tasks import follow_invoice, sweep_payments
from tests.invoicing.payments.building import (
    a_card_customer,
    an_issued_invoice,
    assert_paid_once,
    deliver,
    run_queued_jobs,
)
from tests.races import at_once, unexpected


@pytest.fixture
def three_failures(settings):
    settings.STRIPE_OUTAGE_AFTER_FAILURES = 3
    settings.ALERT_EMAIL = ["ops@example.com"]


def fail(times):
    for _ in range(times):
        breaker.note_failure(cause="HTTP 500 to GET /v1/invoices/:id", is_write=False)


def answered():
    """A call that is answered, if calls are made at all."""
    with suppress(GatewayRefused):
        gateway.retrieve_invoice("in_1")


def stopped(reason="Stripe asked us to"):
    return breaker.open_by_hand(at=now(), actor="ada", reason=reason)


def resumed(reason="it is over"):
    return breaker.close_outage(at=now(), actor="ada", reason=reason)


@pytest.mark.requirement("S2-031")
def test_enough_failures_in_a_row_stop_all_calls_and_an_answer_in_between_begins_anew(sandbox, three_failures):
    fail(2)
    answered()
    fail(2)
    assert breaker.outage_now() is None

    fail(1)

    outage = breaker.outage_now()
    assert (outage.opened_by, outage.is_by_hand) == ("breaker", False)
    assert outage.cause == "3 calls in a row failed, the last one so: HTTP 500 to GET /v1/invoices/:id"
    with pytest.raises(RailClosed, match="not called for now: 3 calls in a row"):
        answered()


def test_failures_that_are_far_apart_are_no_outage(transactional_db, three_failures, settings):
    fail(2)
    FailureStreak.objects.update(began_at=now() - timedelta(seconds=settings.STRIPE_OUTAGE_WINDOW_SECONDS + 1))

    fail(2)

    assert breaker.outage_now() is None


def test_a_rate_limit_is_no_sign_of_an_outage(sandbox, three_failures, monkeypatch):
    monkeypatch.setattr(pace, "PATIENCE", timedelta(seconds=5))
    sandbox.fault("rate_limit", 4)
    for _ in range(4):
        with pytest.raises(GatewayUnavailable):
            answered()

    assert breaker.outage_now() is None


def test_real_failures_of_the_sandbox_are_counted(sandbox, three_failures):
    sandbox.fault("http_500", 10)

    for _ in range(2):
        with pytest.raises(GatewayUnavailable):
            gateway.retrieve_invoice("in_1")

    assert breaker.outage_now() is not None


def test_who_cannot_wait_for_an_answer_begins_no_outage(sandbox, three_failures, settings):
    settings.STRIPE_API_HOST = "http://127.0.0.1:1"

    def unanswered(times):
        for _ in range(times):
            with pytest.raises(GatewayUnavailable):
                gateway.retrieve_invoice("in_1")

    with hurry.somebody_waits():
        unanswered(3)
    assert breaker.outage_now() is None

    unanswered(2)
    assert breaker.outage_now() is not None


def test_what_the_call_said_is_told_although_its_failure_cannot_be_counted(sandbox, three_failures, monkeypatch):
    def deadlocked(cause, names):
        raise OperationalError("deadlock detected")

    monkeypatch.setattr(breaker, "_count_failure", deadlocked)
    sandbox.fault("http_500", 2)

    with pytest.raises(GatewayUnavailable):
        gateway.retrieve_invoice("in_1")


def test_who_counts_a_failure_and_who_ends_the_outage_do_not_wait_for_each_other(
    transactional_db, three_failures, monkeypatch, caplog
):
    fail(3)
    lock_outage, is_counting = breaker._lock_outage, Event()

    def slow_to_lock():
        if not is_counting.is_set():
            is_counting.set()
            time.sleep(0.3)
        return lock_outage()

    monkeypatch.setattr(breaker, "_lock_outage", slow_to_lock)

    outcomes = at_once(lambda: fail(1), lambda: is_counting.wait(5) and resumed())

    assert unexpected(outcomes) == []
    assert "was not counted" not in caplog.text
    assert breaker.outage_now() is None


@pytest.mark.requirement("S2-031")
def test_stripe_that_fails_in_writing_alone_is_called_no_more_until_it_takes_a_write(sandbox, three_failures):
    invoice = an_issued_invoice()
    sandbox.post("/_sandbox/faults", {"kind": "http_500_on_writes", "percent": 100})
    with pytest.raises(GatewayUnavailable):
        gateway.void_invoice(invoice="in_1", idempotency_key="void")
    answered()
    push_invoice(intent_id=invoice.push.pk, at=now())

    outage = breaker.outage_now()
    assert outage.cause == (
        "3 calls that change something in a row failed, the last one so: HTTP 500 to POST /v1/customers"
    )
    # It answers questions all the time: that is no reason to send everything again.
    assert probe_stripe(at=outage.probe_at).startswith("still out: Stripe cannot answer now")
    sandbox.post("/_sandbox/faults", {"kind": "http_500_on_writes", "percent": 0})
    assert probe_stripe(at=breaker.outage_now().probe_at) == "Stripe answers again"


def test_an_outage_that_begins_again_at_once_is_probed_after_gaps_that_go_on_growing(sandbox, three_failures):
    fail(3)
    assert probe_stripe(at=breaker.outage_now().probe_at) == "Stripe answers again"

    fail(3)

    again = breaker.outage_now()
    assert (again.probe_count, again.probe_at - again.opened_at) == (1, timedelta(seconds=30))


def test_of_many_workers_that_see_the_last_failure_one_begins_the_outage(transactional_db, three_failures):
    def see(number):
        try:
            fail(1)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(see, range(24)))

    assert Outage.objects.count() == 1
    assert FailureStreak.objects.get().length == 24


@pytest.mark.requirement("S2-031")
def test_while_it_lasts_nothing_is_sent_nothing_counts_and_then_all_goes_in_order(sandbox, listener, three_failures):
    invoices = [an_issued_invoice(a_card_customer(f"cust_{number}")) for number in range(4)]
    stopped()
    before = sandbox.state()["calls"]["accepted"]

    run_queued_jobs()
    sweep_payments()
    waiting = list(PushIntent.objects.values_list("status", "attempt_count"))
    assert sandbox.state()["calls"]["accepted"] == before
    assert waiting == [("pending", 0)] * 4

    resumed()
    run_queued_jobs()
    deliver(sandbox, listener)
    run_queued_jobs()

    assert list(PushAttempt.objects.order_by("id").values_list("intent__invoice__number", flat=True)) == [
        invoice.number for invoice in invoices
    ]
    for invoice in invoices:
        assert_paid_once(invoice)


def test_a_notice_that_comes_meanwhile_is_stored_and_followed_afterwards(sandbox, listener):
    invoice = an_issued_invoice()
    push_invoice(intent_id=invoice.push.pk, at=now())
    stopped()
    deliver(sandbox, listener)
    run_queued_jobs()
    assert set(StripeNotice.objects.values_list("attempt_count", "last_error")) == {(0, "")}

    resumed()
    run_queued_jobs()

    assert_paid_once(invoice)


def test_other_jobs_come_again_instead_of_being_lost(sandbox):
    invoice = an_issued_invoice(a_card_customer(card=""))
    push_invoice(intent_id=invoice.push.pk, at=now())
    OrmQ.objects.all().delete()
    stopped()

    told = follow_invoice(invoice.push.pk)

    later = OrmQ.objects.order_by("-id").first()
    assert told == "waits for the end of an outage"
    assert (later.task["func"], later.task["args"]) == ("invoicing.tasks.follow_invoice", (invoice.push.pk,))
    assert later.lock > now() + timedelta(minutes=4)


def test_a_probe_goes_out_alone_after_growing_gaps_and_an_answer_ends_the_outage(sandbox, three_failures):
    fail(3)
    at = breaker.outage_now().probe_at
    assert probe_stripe(at=at - timedelta(seconds=1)) == "nothing to probe"
    sandbox.fault("http_500", 4)

    gaps = []
    for _ in range(2):
        assert probe_stripe(at=at).startswith("still out: Stripe cannot answer now")
        outage = breaker.outage_now()
        gaps.append((outage.probe_at - at).total_seconds())
        at = outage.probe_at
    assert probe_stripe(at=at) == "Stripe answers again"

    ended = Outage.objects.get()
    assert gaps == [30, 60]
    assert (ended.closed_by, ended.probe_count) == ("breaker", 3)
    assert ended.last_probe_error.startswith("Stripe cannot answer now")
    assert "invoicing.tasks.sweep_payments" in [row.task["func"] for row in OrmQ.objects.all()]


def test_of_two_probes_at_once_one_goes_out(transactional_db, three_failures):
    fail(3)
    at = breaker.outage_now().probe_at

    def claim(number):
        try:
            return breaker.claim_probe(at=at)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        claimed = [one for one in pool.map(claim, range(8)) if one is not None]

    assert len(claimed) == 1


def test_what_was_stopped_by_hand_is_not_begun_again_by_a_probe(sandbox):
    stopped()

    assert probe_stripe(at=now() + timedelta(days=1)) == "nothing to probe"
    with pytest.raises(Conflict, match="nothing to probe"):
        breaker.probe_soon(at=now())
    with pytest.raises(Conflict, match="stopped already, by ada"):
        stopped()
    resumed()
    with pytest.raises(Conflict, match="there is no outage to end"):
        resumed()


def test_an_outage_that_somebody_takes_over_stays_until_somebody_ends_it(transactional_db, three_failures):
    fail(3)

    stopped("we look into it")

    first, second = Outage.objects.order_by("id")
    assert (first.closed_by, first.closed_reason) == ("ada", "goes on by hand: we look into it")
    assert second.is_by_hand and second.closed_at is None


@pytest.mark.requirement("S2-032")
def test_a_probe_under_way_does_not_undo_that_somebody_stops_the_calls(sandbox, three_failures, monkeypatch):
    fail(3)
    reach = probe.reach

    def stopped_meanwhile():
        with suppress(GatewayRefused):
            reach()
        stopped()

    monkeypatch.setattr(probe, "reach", stopped_meanwhile)

    told = probe_stripe(at=now() + timedelta(minutes=1))

    assert told.endswith("somebody has decided otherwise meanwhile")
    assert breaker.outage_now().is_by_hand
    run_queued_jobs()
    assert not [one for one in mail.outbox if "called again" in one.subject]


def test_who_waits_for_a_turn_when_the_calls_are_stopped_does_not_go_out(sandbox, monkeypatch):
    waited = pace.wait_for_turn
    monkeypatch.setattr(pace, "wait_for_turn", lambda *, endpoint: (stopped(), waited(endpoint=endpoint)))

    with pytest.raises(RailClosed):
        answered()


def test_staff_are_mailed_when_it_begins_and_when_it_ends_with_what_waits(sandbox, three_failures):
    an_issued_invoice()
    OrmQ.objects.all().delete()
    fail(3)
    run_queued_jobs()
    resumed("it answers")
    PushIntent.objects.update(status="refused", last_error="x")
    run_queued_jobs()

    begun, ended = mail.outbox
    assert begun.subject == "Stripe is not called: what is to be collected waits"
    assert "Invoices to be sent: 1 USD 280.00" in begun.body
    assert "/admin/invoicing/outage/status/" in begun.body
    assert ended.subject == "Stripe is called again: what has waited is being sent"
    assert "by ada: it answers" in ended.body
    assert begun.to == ["ops@example.com"]


@pytest.mark.parametrize(
    ("statement", "refusal"),
    [
        ("UPDATE invoicing_outage SET cause = 'nothing was wrong'", "cannot be changed"),
        ("UPDATE invoicing_outage SET closed_at = now()", "outage_is_closed_by_somebody_with_reason"),
        ("DELETE FROM invoicing_outage", "cannot be deleted"),
        (
            "INSERT INTO invoicing_outage (name, opened_at, opened_by, cause, is_by_hand, probe_count, last_probe_error, closed_by, closed_reason)"
            " SELECT name, opened_at, opened_by, cause, is_by_hand, 0, '', '', '' FROM invoicing_outage",
            "outage_is_one_at_a_time",
        ),
    ],
)
def test_the_history_of_outages_is_what_it_was(transactional_db, statement, refusal):
    stopped()

    with pytest.raises(IntegrityError, match=refusal), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_an_outage_that_is_over_stays_as_it_ended(transactional_db):
    stopped()
    resumed()

    with pytest.raises(IntegrityError, match="cannot be changed"):
        Outage.objects.update(closed_at=None, closed_by="", closed_reason="")


@pytest.mark.slow
def test_workers_killed_while_they_drain_an_outage_lose_and_double_nothing(sandbox, listener):
    """kill -9 of a worker in the middle of it, several times."""
    invoices = [an_issued_invoice(a_card_customer(f"cust_{number}")) for number in range(12)]
    stopped()
    run_queued_jobs()
    resumed()
    for _ in range(6):
        connections.close_all()
        child = os.fork()
        if not child:
            try:
                gateway._client_for.cache_clear()
                sweep_payments()
                run_queued_jobs()
            finally:
                os._exit(0)
        time.sleep(0.7)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)

    for _ in range(50):
        PushIntent.objects.filter(status="pending").update(next_attempt_at=now())
        sweep_payments()
        run_queued_jobs()
        if not PushIntent.objects.filter(status="pending").exists():
            break
        time.sleep(0.1)
    deliver(sandbox, listener)
    run_queued_jobs()

    for invoice in invoices:
        assert_paid_once(invoice)
