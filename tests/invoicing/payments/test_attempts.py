"""A push that fails comes again after seconds, then after gaps that grow, then waits for people; each attempt is kept."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django_q.models import OrmQ

from billing_site.kernel.clock import now
from invoicing.payments import gateway, pace
from invoicing.payments.attempts import PushAttempt
from invoicing.payments.intake import replay_notices, sweep_notices
from invoicing.payments.models import PushIntent, StripeNotice
from invoicing.payments.patience import DATABASE_AWAY, GAPS, PARKED, QUICK
from invoicing.payments.push import push_invoice, retry_push, retry_pushes, sweep_pushes
from invoicing.tasks import push_invoice as push_job
from invoicing.workflows.follow_stripe import follow_notice
from tests.invoicing.payments.building import (
    a_card_customer,
    an_issued_invoice,
    database_is_away,
    killed_at,
    queued_jobs,
    receive,
    remote_invoices,
    run_queued_jobs,
)


@pytest.fixture(autouse=True)
def no_outages(settings):
    """However often it fails here: outages have tests of their own."""
    settings.STRIPE_OUTAGE_AFTER_FAILURES = 0


def pushed(invoice, *, at=None):
    return push_invoice(intent_id=invoice.push.pk, at=at or now())


def outcomes(invoice):
    return list(PushAttempt.objects.filter(intent=invoice.push).order_by("id").values_list("number", "step", "outcome"))


def test_a_push_in_whose_middle_our_database_went_away_comes_again_and_waits_for_nobody(sandbox, monkeypatch):
    invoice = an_issued_invoice()
    monkeypatch.setattr(gateway, "finalize_invoice", database_is_away)

    waiting = pushed(invoice)

    assert (waiting.status, waiting.last_error, waiting.failure_count) == ("pending", DATABASE_AWAY, 1)
    assert outcomes(invoice) == [(1, "finalize", "failed")]
    monkeypatch.undo()
    assert sweep_pushes(at=waiting.next_attempt_at + PARKED[0]) == 1
    assert pushed(invoice).status == "pushed"


@pytest.mark.requirement("S2-011")
@pytest.mark.requirement("S3-030")
def test_the_gaps_are_seconds_from_1_to_16_then_grow_and_then_it_waits_for_people(sandbox):
    invoice = an_issued_invoice()
    sandbox.fault("http_500", 1000)
    waited = []
    for _ in GAPS:
        later = pushed(invoice).next_attempt_at
        attempt = PushAttempt.objects.latest("id")
        waited.append(later - attempt.began_at - attempt.duration)

    given_up = pushed(invoice)

    assert [gap.total_seconds() for gap in QUICK] == [1, 2, 4, 8, 16]
    # Up to a quarter longer by chance.
    almost = timedelta(seconds=1) / 4
    assert all(gap - almost <= told <= 1.25 * gap + almost for gap, told in zip(GAPS, waited, strict=True))
    assert (given_up.status, remote_invoices(invoice)) == ("failed", [])
    assert given_up.last_error.startswith("Given up after 11 failures in a row; somebody has to look")
    assert sweep_pushes(at=now() + timedelta(days=1)) == 0


def test_after_a_quick_gap_the_job_comes_by_itself_and_after_a_long_one_by_the_sweep(sandbox):
    invoice = an_issued_invoice()
    OrmQ.objects.all().delete()
    sandbox.fault("http_500", 1000)

    pushed(invoice)
    quick = OrmQ.objects.get()
    OrmQ.objects.all().delete()
    PushIntent.objects.update(failure_count=len(QUICK))
    pushed(invoice)

    assert quick.lock > now() - timedelta(seconds=5)
    assert quick.task["args"] == (invoice.push.pk,)
    assert not OrmQ.objects.exists()
    assert PushIntent.objects.get().next_attempt_at >= now() + PARKED[0] - timedelta(seconds=5)


@pytest.mark.requirement("S3-036")
def test_a_rate_limit_is_no_failure_however_often_it_strikes(sandbox, monkeypatch):
    monkeypatch.setattr(pace, "PATIENCE", timedelta(milliseconds=1))
    invoice = an_issued_invoice()
    sandbox.fault("rate_limit", 1000)
    at = now()

    for _ in range(len(GAPS) + 3):
        told = pushed(invoice, at=at)

    assert (told.status, told.failure_count) == ("pending", 0)
    assert at < told.next_attempt_at < at + timedelta(seconds=10)
    assert {outcome for _, _, outcome in outcomes(invoice)} == {"not now"}


def test_each_attempt_is_kept_with_its_step_cause_and_stripes_request(sandbox, monkeypatch):
    invoice = an_issued_invoice()
    finalize = gateway.finalize_invoice

    def fail(**said):
        sandbox.fault("http_500", 2)
        return finalize(**said)

    with monkeypatch.context() as patch:
        patch.setattr(gateway, "finalize_invoice", fail)
        pushed(invoice)
    pushed(invoice)

    first, second = PushAttempt.objects.order_by("id")
    assert outcomes(invoice) == [(1, "finalize", "failed"), (2, "done", "pushed")]
    assert first.cause.startswith("Stripe cannot answer now: A fault that was ordered")
    assert second.cause == ""
    assert first.request_id.startswith("req_") and second.request_id.startswith("req_")
    assert first.call_count > 5 and second.call_count >= 3
    assert first.duration > timedelta(0)


def test_a_killed_worker_leaves_an_interrupted_attempt(sandbox):
    invoice = an_issued_invoice()
    intent_id = invoice.push.pk
    assert killed_at(25, lambda: push_invoice(intent_id=intent_id, at=now()))

    for _ in range(100):
        if pushed(invoice).status == "pushed":
            break

    assert [outcome for _, _, outcome in outcomes(invoice)] == ["interrupted", "pushed"]
    assert len(remote_invoices(invoice)) == 1


@pytest.mark.parametrize(
    "statement", ["UPDATE invoicing_pushattempt SET cause = ''", "DELETE FROM invoicing_pushattempt"]
)
def test_no_attempt_is_changed_or_removed(sandbox, statement):
    pushed(an_issued_invoice())

    with pytest.raises(IntegrityError, match="append-only"), connection.cursor() as cursor:
        cursor.execute(statement)


def test_an_attempt_has_one_outcome(sandbox):
    invoice = an_issued_invoice()
    pushed(invoice)
    kept = PushAttempt.objects.get()

    with pytest.raises(IntegrityError, match="push_attempt_has_one_outcome"), transaction.atomic():
        PushAttempt.objects.create(
            intent=kept.intent, number=1, began_at=now(), step="pay", outcome="failed", cause="twice"
        )
    with pytest.raises(IntegrityError, match="push_is_sent_again_by_somebody_with_reason"), transaction.atomic():
        PushAttempt.objects.create(
            intent=kept.intent, number=1, began_at=now(), step="begin", outcome="sent again", cause="nobody said why"
        )


@pytest.mark.requirement("S2-013")
def test_what_was_given_up_is_sent_again_with_its_keys_and_who_did_it_is_kept(sandbox):
    invoice = an_issued_invoice()
    sandbox.fault("timeout_after_effect", 4)
    PushIntent.objects.update(failure_count=len(GAPS))
    given_up = pushed(invoice)
    sandbox.post("/_sandbox/faults", {"kind": "timeout_after_effect", "times": 0})

    again = retry_push(intent_id=given_up.pk, at=now(), actor="ada", reason="Stripe is back")
    run_queued_jobs()

    assert (given_up.status, again.retry_count, again.failure_count) == ("failed", 0, 0)
    assert [(one.outcome, one.actor) for one in PushAttempt.objects.order_by("id")] == [
        ("given up", ""),
        ("sent again", "ada"),
        ("pushed", ""),
    ]
    assert len(remote_invoices(invoice)) == 1
    assert sandbox.state()["objects"]["customer"] == 1


def test_many_are_sent_again_at_once_the_urgent_ones_first_and_what_others_sent_is_left(sandbox, settings):
    settings.STRIPE_URGENT_AMOUNTS = {"USD": 1000}
    small, large, pushed_already = (
        an_issued_invoice(a_card_customer(f"cust_{name}"), fee=fee)
        for name, fee in (("small", "10"), ("large", "2000"), ("done", "30"))
    )
    pushed(pushed_already)
    PushIntent.objects.filter(status="pending").update(status="failed", last_error="Stripe was down.")
    OrmQ.objects.all().delete()
    keys = [invoice.push.pk for invoice in (small, pushed_already, large)]

    sent = retry_pushes(intent_ids=keys, at=now(), actor="ada", reason="Stripe is back")

    assert [intent.invoice for intent in sent] == [large, small]
    assert queued_jobs() == [("invoicing.tasks.push_invoice", (intent.pk,)) for intent in sent]
    run_queued_jobs()
    assert {intent.status for intent in PushIntent.objects.all()} == {"pushed"}


@pytest.mark.requirement("S3-058")
def test_an_invoice_of_high_value_goes_before_those_whose_jobs_were_queued_before_it(sandbox, settings):
    settings.STRIPE_URGENT_AMOUNTS = {"USD": 1000}
    ordinary = [an_issued_invoice(a_card_customer(f"cust_{number}"), fee="10") for number in range(3)]
    large = an_issued_invoice(a_card_customer("cust_large"), fee="1000")

    push_job(ordinary[0].push.pk)

    assert [invoice.push.is_urgent for invoice in (*ordinary, large)] == [False, False, False, True]
    assert PushIntent.objects.get(invoice=large).status == "pushed"
    assert PushAttempt.objects.order_by("id").first().intent.invoice == large


def test_a_notice_that_fails_again_and_again_is_parked_and_followed_when_it_is_replayed(sandbox):
    invoice = an_issued_invoice()
    remote = pushed(invoice).stripe_invoice_id
    notice = receive("invoice.paid", {"object": "invoice", "id": remote})
    sandbox.fault("http_500", 1000)
    for _ in range(len(GAPS)):
        assert follow_notice(notice_id=notice.pk, at=now()).parked_at is None

    parked = follow_notice(notice_id=notice.pk, at=now())
    sandbox.post("/_sandbox/faults", {"kind": "http_500", "times": 0})

    assert parked.parked_at is not None
    assert parked.last_error.startswith("Stripe cannot answer now")
    assert sweep_notices(at=now() + timedelta(days=1)) == 0
    OrmQ.objects.all().delete()
    assert replay_notices(notice_ids=[notice.pk], at=now()) == 1
    run_queued_jobs()
    assert StripeNotice.objects.get().outcome.startswith("paid USD 280.00")


def test_a_notice_that_breaks_its_worker_each_time_is_parked_too(transactional_db):
    """Nothing foreseen happened, so nothing was written down: what counts is how often it was begun."""
    notice = receive("invoice.paid", {"object": "invoice", "id": "in_1", "metadata": 7})
    for _ in range(len(GAPS)):
        with pytest.raises(AttributeError):
            follow_notice(notice_id=notice.pk, at=now())

    parked = follow_notice(notice_id=notice.pk, at=now())

    assert parked.parked_at is not None
    assert "the log of the worker says why" in parked.last_error
