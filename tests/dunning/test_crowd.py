"""Many customers at once: what a sweep asks does not grow with those who wait, and those who wait longest come first."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dunning.arrangements.operations import NewInstalment, hold_dunning, promise_to_pay
from dunning.cases.arrears import all_debts
from dunning.cases.models import CaseStep, DunningCase
from dunning.due import due_cases
from dunning.sweep import sweep_dunning
from invoicing.payments import gateway
from invoicing.payments.models import PaymentFailure, PushIntent
from tests.dunning.chasing import WHO, case_of, chase, late_customer, local
from tests.factories import nothing_is_checked_before_issue
from tests.invoicing.payments.building import a_card_customer, an_issued_invoice, run_queued_jobs

pytestmark = pytest.mark.django_db


def held(case: DunningCase, at: datetime) -> None:
    hold_dunning(customer=case.customer, kind="vip", until=None, at=at, **WHO)


def promised(case: DunningCase, at: datetime) -> None:
    instalment = NewInstalment(at.date() + timedelta(days=60), case.anchor_invoice.amount_due)
    promise_to_pay(case_id=case.pk, instalments=[instalment], at=at, **WHO)


@pytest.mark.parametrize(
    ("arrange", "because"),
    [
        (held, "held: VIP: people look after it themselves (as we agreed by phone)"),
        (promised, "the customer has promised to pay"),
    ],
)
def test_who_waits_costs_a_sweep_nothing_more_however_many_wait(
    arrange: Callable[[DunningCase, datetime], None], because: str
) -> None:
    def waiting(key: str) -> DunningCase:
        invoice = late_customer(key)
        at = local("2026-08-16 09:00", invoice.customer)
        PaymentFailure.objects.create(
            invoice=invoice, reference=f"ch_{key}", code="stolen_card", message="stolen", occurred_at=at
        )
        chase(at)
        arrange(case_of(invoice.customer), at)
        chase(at + timedelta(days=4))
        return case_of(invoice.customer)

    at = waiting("cust_one").opened_at + timedelta(days=5)
    with CaptureQueriesContext(connection) as of_one:
        chase(at)
    others = [waiting(f"cust_{number}") for number in range(4)]
    with CaptureQueriesContext(connection) as of_five:
        chase(at)

    assert {case.waits_because for case in others} == {because}
    assert len(of_five) == len(of_one)


def test_a_sweep_without_time_leaves_the_rest_to_the_next_one_and_says_so() -> None:
    invoice = late_customer()
    at = local("2026-08-16 09:00", invoice.customer)

    cut = sweep_dunning(at=at, budget=timedelta(0))

    assert (cut.steps, cut.is_cut_short) == ([], True)
    assert str(cut).endswith("the rest is left to the next sweep")
    assert len(chase(at).steps) == 1


def test_what_was_looked_at_longest_ago_comes_first() -> None:
    first, second = late_customer("cust_a"), late_customer("cust_b")
    at = local("2026-08-16 09:00", first.customer)
    chase(at)
    cases = [case_of(first.customer), case_of(second.customer)]
    DunningCase.objects.filter(pk=cases[0].pk).update(looked_at=at + timedelta(days=2))

    later = at + timedelta(days=4)
    assert due_cases(debts=all_debts(at=later), at=later) == [cases[1], cases[0]]
    chase(at + timedelta(days=4))
    assert [case_of(one.customer).looked_at for one in (first, second)] == [at + timedelta(days=4)] * 2


@pytest.mark.django_db(transaction=True)
def test_a_card_is_not_charged_for_what_is_paid_while_the_sweep_looks(sandbox, monkeypatch) -> None:
    nothing_is_checked_before_issue()
    invoice = an_issued_invoice(a_card_customer(card="pm_card_chargeCustomerFail"))
    run_queued_jobs()
    # At noon: at whatever hour the test runs, it is none in which nobody is written to.
    noon = PaymentFailure.objects.get().occurred_at.replace(hour=12)
    chase(noon + timedelta(days=1))
    present = gateway.retrieve_invoice(str(PushIntent.objects.get().stripe_invoice_id))

    def paid_just_now(_: str):
        return replace(present, status="paid", amount_paid=present.total, payment_reference="ch_just_now")

    monkeypatch.setattr(gateway, "retrieve_invoice", paid_just_now)
    report = sweep_dunning(at=noon + timedelta(days=4))

    invoice.refresh_from_db()
    assert (report.steps, invoice.status, invoice.charge_attempts.count()) == ([], "paid", 0)
    assert CaseStep.objects.count() == 1
