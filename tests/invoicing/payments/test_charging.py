"""An open invoice is charged once more for each reason to, with an idempotency key of its own, and never when it is paid by then."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction

from billing_site.kernel.clock import now
from billing_site.kernel.errors import NotFound
from billing_site.sandbox.stripe import invoice_payments, store
from invoicing.customers.operations import change_customer
from invoicing.payments import gateway
from invoicing.payments.charge_attempt import ChargeAttempt
from invoicing.payments.charging import charge_again, plan_charge, retry_charges, sweep_charges
from invoicing.payments.models import Payment, PaymentFailure, PushIntent
from invoicing.payments.patience import DATABASE_AWAY, GAPS, UNFORESEEN
from invoicing.payments.rail import CallBucket
from invoicing.workflows.follow_stripe import follow_notice
from invoicing.workflows.settle_payment import settle_payment
from tests.invoicing.payments.building import (
    a_card_customer,
    an_issued_invoice,
    database_is_away,
    queued_jobs,
    receive,
    run_queued_jobs,
)
from tests.races import at_once, unexpected

REFUSING = "pm_card_chargeCustomerFail"


def planned(invoice, reference="retry:1"):
    with transaction.atomic():
        return plan_charge(invoice=invoice, reference=reference, at=now(), actor="test", reason="the bank was asleep")


@pytest.fixture
def refused(sandbox):
    """An invoice at Stripe whose charge was refused once."""
    invoice = an_issued_invoice(a_card_customer(card=REFUSING))
    run_queued_jobs()
    assert PaymentFailure.objects.filter(invoice=invoice).count() == 1
    return invoice


@pytest.mark.requirement("S1-005")
def test_another_attempt_is_refused_again_and_recorded_as_another_refusal(refused):
    attempt = planned(refused)
    run_queued_jobs()

    attempt.refresh_from_db()
    assert (attempt.status, attempt.outcome.split(":")[0]) == ("refused", "generic_decline")
    assert PaymentFailure.objects.filter(invoice=refused).count() == 2
    assert not Payment.objects.exists()


def test_another_card_is_told_to_stripe_charged_and_settles_the_invoice(refused):
    change_customer(
        customer=refused.customer, changes={"payment_method": "pm_card_visa"}, actor="test", reason="a new card"
    )
    attempt = planned(refused)
    run_queued_jobs()

    attempt.refresh_from_db()
    refused.refresh_from_db()
    assert (attempt.status, refused.status, Payment.objects.get().amount) == ("paid", "paid", refused.total)


@pytest.mark.requirement("S0-115")
def test_one_reference_is_one_attempt_and_its_job_twice_is_one_charge(refused):
    first, second = planned(refused), planned(refused)
    run_queued_jobs()

    charge_again(attempt_id=first.pk, at=now())

    assert first == second
    assert PaymentFailure.objects.filter(invoice=refused).count() == 2, "one from the push, one from the attempt"


def test_four_workers_at_once_charge_once(refused):
    attempt = planned(refused)

    outcomes = at_once(*[lambda: charge_again(attempt_id=attempt.pk, at=now())] * 4)

    assert unexpected(outcomes) == []
    assert PaymentFailure.objects.filter(invoice=refused).count() == 2


@pytest.mark.requirement("S1-044")
def test_what_was_paid_in_another_way_meanwhile_is_not_charged(refused):
    attempt = planned(refused)
    settle_payment(
        invoice_id=refused.pk, channel="manual", reference="transfer", amount=refused.total, received_at=now()
    )

    assert charge_again(attempt_id=attempt.pk, at=now()).status == "dropped"


def test_what_is_paid_at_stripe_is_not_charged_and_is_settled_here(refused):
    attempt = planned(refused)
    change_customer(customer=refused.customer, changes={"payment_method": "pm_card_visa"}, actor="t", reason="a card")
    other = planned(refused, "retry:2")
    charge_again(attempt_id=other.pk, at=now())

    assert charge_again(attempt_id=attempt.pk, at=now()).outcome == "it is paid at Stripe already"
    run_queued_jobs()
    refused.refresh_from_db()
    assert (refused.status, Payment.objects.count()) == ("paid", 1)


def test_while_stripe_is_down_the_attempt_waits_and_the_sweep_brings_it_back(refused, monkeypatch):
    attempt = planned(refused)

    def down(*arguments, **options):
        raise gateway.GatewayUnavailable("Stripe cannot answer now.")

    with monkeypatch.context() as patch:
        patch.setattr(gateway, "retrieve_invoice", down)
        waiting = charge_again(attempt_id=attempt.pk, at=now())
    assert (waiting.status, waiting.outcome) == ("planned", "Stripe cannot answer now.")

    assert sweep_charges(at=waiting.next_attempt_at - timedelta(seconds=1)) == 0
    assert sweep_charges(at=waiting.next_attempt_at) == 1
    assert ("dunning.tasks.charge_again", (attempt.pk,)) in queued_jobs()


@pytest.mark.requirement("S2-013")
def test_a_charge_that_only_has_to_wait_never_fails_and_one_that_fails_too_often_waits_for_people(refused, sandbox):
    attempt = planned(refused)
    sandbox.fault("rate_limit", 1000)
    for _ in range(len(GAPS) + 2):
        waiting = charge_again(attempt_id=attempt.pk, at=now())
        CallBucket.objects.update(closed_until=None)
    assert (waiting.status, waiting.failure_count) == ("planned", 0)
    sandbox.fault("rate_limit", 0)
    sandbox.fault("kept_500", 1)
    ChargeAttempt.objects.update(failure_count=len(GAPS))

    failed = charge_again(attempt_id=attempt.pk, at=now())
    assert (failed.status, failed.outcome[:34]) == ("failed", "Given up after 11 failures in a ro")
    assert charge_again(attempt_id=attempt.pk, at=now()).status == "failed"

    asked = {"attempt_ids": [attempt.pk], "at": now(), "actor": "ada", "reason": "Stripe is back"}
    [again] = retry_charges(**asked)
    with pytest.raises(NotFound):
        retry_charges(**asked)
    # Under the key of the failure that Stripe keeps there would be no other answer.
    assert (again.key_round, charge_again(attempt_id=attempt.pk, at=now()).status) == (1, "refused")


def test_a_failure_that_stripe_keeps_of_the_customer_gives_way_to_a_new_key_too(refused, monkeypatch):
    change_customer(
        customer=refused.customer, changes={"payment_method": "pm_card_visa"}, actor="test", reason="a new card"
    )
    attempt, keys, ensure = planned(refused), [], gateway.ensure_customer

    def kept_once(*, idempotency_key, **named):
        keys.append(idempotency_key)
        if len(keys) == 1:
            raise gateway.GatewayUnavailable("Stripe cannot answer now.", is_kept=True)
        return ensure(idempotency_key=idempotency_key, **named)

    monkeypatch.setattr(gateway, "ensure_customer", kept_once)

    assert [charge_again(attempt_id=attempt.pk, at=now()).status for _ in range(2)] == ["planned", "paid"]
    assert len(set(keys)) == 2


def test_a_charge_that_fails_as_nobody_foresaw_waits_for_people(refused, monkeypatch):
    attempt = planned(refused)
    monkeypatch.setattr(gateway, "retrieve_invoice", lambda invoice: {}["status"])

    failed = charge_again(attempt_id=attempt.pk, at=now())

    assert (failed.status, failed.outcome) == ("failed", UNFORESEEN.format("'status'"))
    assert sweep_charges(at=failed.next_attempt_at) == 0


def test_a_charge_in_whose_middle_our_database_went_away_comes_again(refused, monkeypatch):
    attempt = planned(refused)
    monkeypatch.setattr(gateway, "retrieve_invoice", database_is_away)

    waiting = charge_again(attempt_id=attempt.pk, at=now())

    assert (waiting.status, waiting.outcome) == ("planned", DATABASE_AWAY)


def test_an_invoice_that_is_not_at_stripe_is_not_charged(sandbox):
    invoice = an_issued_invoice()

    assert planned(invoice) is None
    assert PushIntent.objects.get(invoice=invoice).status == "pending"


def test_what_an_attempt_is_made_for_stays(refused):
    attempt = planned(refused)

    for statement in (
        f"UPDATE invoicing_chargeattempt SET reference = 'x' WHERE id = {attempt.pk}",
        f"UPDATE invoicing_chargeattempt SET key = gen_random_uuid() WHERE id = {attempt.pk}",
        f"UPDATE invoicing_chargeattempt SET status = 'paid' WHERE id = {attempt.pk}",
        "DELETE FROM invoicing_chargeattempt",
    ):
        with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
    assert ChargeAttempt.objects.count() == 1


def test_one_refusal_planned_for_two_reasons_is_charged_once(refused):
    by_step, by_reason = planned(refused, "dunning:1:2"), planned(refused, "retry:1")
    run_queued_jobs()

    by_step.refresh_from_db()
    by_reason.refresh_from_db()
    assert sorted([by_step.status, by_reason.status]) == ["dropped", "refused"]
    assert PaymentFailure.objects.filter(invoice=refused).count() == 2, "one from the push, one from an attempt"


def test_while_a_payment_is_disputed_an_attempt_waits_and_is_made_when_that_is_over(refused, monkeypatch):
    attempt = planned(refused)
    monkeypatch.setattr("invoicing.payments.charging.is_frozen", lambda **_: True)
    run_queued_jobs()
    attempt.refresh_from_db()
    assert (attempt.status, attempt.outcome.partition(":")[0]) == ("planned", "a payment of this customer is disputed")

    monkeypatch.setattr("invoicing.payments.charging.is_frozen", lambda **_: False)
    charge_again(attempt_id=attempt.pk, at=now())
    attempt.refresh_from_db()
    assert attempt.status == "refused"


def test_nothing_is_charged_while_another_payment_is_under_way_at_stripe(refused):
    push = PushIntent.objects.get(invoice=refused)
    invoice = store.retrieve("invoice", str(push.stripe_invoice_id))
    [payment] = invoice_payments.of_invoice(invoice["id"])
    intent = store.retrieve("payment_intent", payment["payment"]["payment_intent"])
    store.save(intent | {"status": "processing", "last_payment_error": None})
    attempt = planned(refused)

    run_queued_jobs()

    attempt.refresh_from_db()
    push.refresh_from_db()
    assert (attempt.status, attempt.outcome.partition(":")[0]) == ("dropped", "a payment is under way at Stripe")
    assert push.under_way_since is not None
    assert PaymentFailure.objects.filter(invoice=refused).count() == 1


def test_news_of_a_payment_under_way_is_kept_with_its_invoice(refused):
    push = PushIntent.objects.get(invoice=refused)
    [payment] = invoice_payments.of_invoice(str(push.stripe_invoice_id))
    intent = store.retrieve("payment_intent", payment["payment"]["payment_intent"])
    store.save(intent | {"status": "processing", "last_payment_error": None})
    notice = receive("payment_intent.processing", {"object": "payment_intent", **intent})

    assert follow_notice(notice_id=notice.pk, at=now()).outcome.startswith("a payment is under way at Stripe")
    push.refresh_from_db()
    assert push.under_way_since is not None
