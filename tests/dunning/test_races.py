"""A payment that comes in the same second wins, whoever was first; many sweeps at once take each step once (S1-044)."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction

from billing_site.kernel.clock import now
from dunning.arrangements.operations import hold_dunning, object_to
from dunning.cases.models import CaseStep, DunningCase
from dunning.cases.operations import open_case
from dunning.closing import close_if_settled
from dunning.notices.models import Notice
from dunning.notices.sending import send_notice
from dunning.sweep import sweep_dunning
from invoicing.customers.life_cycle import state_of
from invoicing.customers.operations import change_customer
from invoicing.payments import gateway
from invoicing.payments.models import PaymentFailure, PushIntent
from invoicing.workflows.answer_access import answer_access
from tests.dunning.chasing import (
    WHO,
    access,
    advance_case,
    by_policy,
    case_of,
    chase,
    deliver,
    late_customer,
    local,
    pay,
)
from tests.factories import nothing_is_checked_before_issue
from tests.invoicing.payments.building import a_card_customer, an_issued_invoice, run_queued_jobs
from tests.races import at_once, unexpected

pytestmark = pytest.mark.django_db(transaction=True)


def about_to_be_suspended() -> DunningCase:
    """A customer whose next step is the suspension of day 8."""
    invoice = late_customer()
    by_policy("short", invoice.customer)
    for day in ("16", "19", "22"):
        chase(local(f"2026-08-{day} 09:00", invoice.customer))
    return case_of(invoice.customer)


@pytest.mark.requirement("S1-044")
@pytest.mark.requirement("S1-046")
def test_a_payment_that_is_being_recorded_is_waited_for_and_nobody_is_suspended() -> None:
    case = about_to_be_suspended()
    at = local("2026-08-23 09:00", case.customer)
    recorded, outcome = threading.Event(), []

    def suspend() -> None:
        recorded.wait()
        try:
            outcome.append(advance_case(case_id=case.pk, at=at))
        finally:
            connection.close()

    sweep = threading.Thread(target=suspend)
    sweep.start()
    with transaction.atomic():
        pay(case.anchor_invoice, at)
        recorded.set()
        # It has asked, found the debt, and waits for the invoice's lock.
        sweep.join(timeout=0.5)
        assert sweep.is_alive() and outcome == []
    sweep.join()

    assert outcome == [None]
    assert state_of(customer=case.customer) != "suspended"
    assert access(case.customer, at) == (True, "active")


def test_a_hold_that_is_being_written_down_is_waited_for_and_nobody_is_suspended() -> None:
    case = about_to_be_suspended()
    at = local("2026-08-23 09:00", case.customer)
    outcome = []

    def suspend() -> None:
        try:
            outcome.append(advance_case(case_id=case.pk, at=at))
        finally:
            connection.close()

    sweep = threading.Thread(target=suspend)
    with transaction.atomic():
        hold_dunning(customer=case.customer, kind="legal", until=None, at=at, **WHO)
        sweep.start()
        sweep.join(timeout=0.5)
        assert sweep.is_alive() and outcome == [], "it waits for the customer's lock"
    sweep.join()

    case.refresh_from_db()
    assert (outcome, case.waits_because[:5]) == ([None], "held:")
    assert state_of(customer=case.customer) != "suspended"


def test_an_objection_that_is_being_written_down_is_waited_for() -> None:
    case = about_to_be_suspended()
    at = local("2026-08-23 09:00", case.customer)
    outcome = []

    def suspend() -> None:
        try:
            outcome.append(advance_case(case_id=case.pk, at=at))
        finally:
            connection.close()

    sweep = threading.Thread(target=suspend)
    with transaction.atomic():
        object_to(invoice_id=case.anchor_invoice_id, amount=case.anchor_invoice.amount_due, at=at, **WHO)
        sweep.start()
        sweep.join(timeout=0.5)
        assert sweep.is_alive() and outcome == []
    sweep.join()

    assert outcome == [None], "what is objected to is not chased, and nothing breaks"


def test_a_payment_after_the_suspension_was_decided_gives_service_back_with_its_commit() -> None:
    case = about_to_be_suspended()
    at = local("2026-08-23 09:00", case.customer)

    outcomes = at_once(lambda: advance_case(case_id=case.pk, at=at), lambda: pay(case.anchor_invoice, at))

    assert unexpected(outcomes) == []
    assert access(case.customer, at) == (True, "active"), "in whichever order they came"
    assert close_if_settled(case_id=case.pk, at=at)


@pytest.mark.requirement("S0-137")
@pytest.mark.requirement("S1-047")
def test_four_sweeps_at_once_open_one_case_and_take_each_step_once() -> None:
    invoice = late_customer()
    by_policy("short", invoice.customer)

    for day in ("16", "19", "22", "23"):
        at = local(f"2026-08-{day} 09:00", invoice.customer)
        reports = at_once(*[lambda at=at: sweep_dunning(at=at)] * 4)
        assert unexpected(reports) == []
        assert sum(len(report.steps) for report in reports) == 1
        deliver(at)

    assert DunningCase.objects.count() == 1
    assert [step.number for step in CaseStep.objects.order_by("id")] == [1, 2, 3, 4]
    assert at_once(*[lambda: open_case(customer_id=invoice.customer_id, at=at)] * 4) == [None] * 4


@pytest.mark.requirement("S1-046")
def test_whoever_has_paid_at_stripe_is_not_told_of_a_debt_though_no_webhook_came(sandbox) -> None:
    nothing_is_checked_before_issue()
    invoice = an_issued_invoice(a_card_customer(card="pm_card_chargeCustomerFail"))
    run_queued_jobs()
    change_customer(customer=invoice.customer, changes={"payment_method": "pm_card_visa"}, **WHO)
    intent = PushIntent.objects.get()
    gateway.ensure_customer(
        reference=invoice.customer.key,
        name="Acme GmbH",
        email=invoice.customer.email,
        payment_method="pm_card_visa",
        idempotency_key="a new card",
    )
    gateway.pay_invoice(invoice=intent.stripe_invoice_id, idempotency_key="paid on Stripe's page")

    report = sweep_dunning(at=at_nine())

    invoice.refresh_from_db()
    assert (report.steps, invoice.status, CaseStep.objects.count()) == ([], "paid", 0)
    assert sweep_dunning(at=at_nine()).closed == 1


def at_nine() -> datetime:
    """A moment of tomorrow at which things may be done."""
    return datetime.combine((now() + timedelta(days=1)).date(), datetime.min.time(), UTC) + timedelta(hours=9)


def test_while_stripe_cannot_be_asked_nothing_is_done_and_the_case_says_so(sandbox, monkeypatch) -> None:
    an_issued_invoice(a_card_customer(card="pm_card_chargeCustomerFail"))
    run_queued_jobs()

    def down(*arguments, **options):
        raise gateway.GatewayUnavailable("Stripe cannot answer now.")

    with monkeypatch.context() as patch:
        patch.setattr(gateway, "retrieve_invoice", down)
        assert sweep_dunning(at=at_nine()).steps == []
    assert DunningCase.objects.get().waits_because == "Stripe cannot answer now."
    assert len(sweep_dunning(at=at_nine()).steps) == 1


@pytest.mark.requirement("S1-044")
def test_a_reminder_waits_while_stripe_cannot_say_whether_it_was_paid_there(sandbox, monkeypatch) -> None:
    an_issued_invoice(a_card_customer(card="pm_card_chargeCustomerFail"))
    run_queued_jobs()
    assert len(sweep_dunning(at=at_nine()).steps) == 1
    notice = Notice.objects.filter(state="planned").latest("id")

    def down(*arguments, **options):
        raise gateway.GatewayUnavailable("Stripe cannot answer now.")

    with monkeypatch.context() as patch:
        patch.setattr(gateway, "retrieve_invoice", down)
        waits = send_notice(notice_id=notice.pk, at=at_nine())
    assert (waits.state, waits.why, waits.attempt_count) == ("planned", "Stripe cannot answer now.", 0)
    assert waits.next_attempt_at == at_nine() + timedelta(minutes=10)
    assert send_notice(notice_id=notice.pk, at=at_nine() + timedelta(minutes=10)).state == "sent"


@pytest.mark.requirement("S1-005")
def test_a_refused_card_is_charged_again_by_its_reason_and_at_once_when_there_is_another(sandbox) -> None:
    invoice = an_issued_invoice(a_card_customer(card="pm_card_chargeCustomerFail"))
    run_queued_jobs()
    refused_at = PaymentFailure.objects.get().occurred_at

    def attempts() -> int:
        run_queued_jobs()
        return invoice.charge_attempts.count()

    sweep_dunning(at=refused_at + timedelta(days=1))
    assert attempts() == 0, "without a reason of the bank it is tried again after three days"
    sweep_dunning(at=refused_at + timedelta(days=4))
    sweep_dunning(at=refused_at + timedelta(days=4))
    assert attempts() == 1
    change_customer(customer=invoice.customer, changes={"payment_method": "pm_card_visa"}, **WHO)
    sweep_dunning(at=refused_at + timedelta(days=4, minutes=5))
    assert attempts() == 2
    invoice.refresh_from_db()
    assert invoice.status == "paid"
    assert answer_access(customer_key=invoice.customer.key, at=now()).verdict.is_allowed
