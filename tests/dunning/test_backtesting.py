"""What a changed policy would have done: it reproduces what was really done, and tells who would have been spared."""

from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dunning.arrangements.operations import hold_dunning, lift_hold
from dunning.backtesting import Trial, backtest, histories_of, late_customers, policy_book
from dunning.cases.models import CaseStep
from dunning.core.backtest import course_of
from dunning.core.calendar import local_day
from dunning.core.comparison import Comparison
from dunning.core.policy import SHORT, STANDARD, Act
from tests.dunning.chasing import WHO, by_policy, late_customer, pay, turn

pytestmark = pytest.mark.django_db
BEGIN, END = datetime(2026, 8, 16, tzinfo=UTC), datetime(2026, 9, 14, tzinfo=UTC)
SEED = 20261122


@pytest.fixture
def history():
    """Six customers, each with a habit and a policy; a day is swept at noon, what happens comes at midnight, from the 16th of August to the 14th of September."""
    chance = Random(SEED)
    print(f"seed {SEED}")
    invoices = [
        late_customer(f"cust_{number}", timezone=zone)
        for number, zone in enumerate(("UTC", "Asia/Kathmandu", "America/Sao_Paulo") * 2)
    ]
    for invoice in invoices[3:]:
        by_policy("short", invoice.customer)
    paid_on = {invoice.pk: BEGIN + timedelta(days=chance.randrange(1, 26), hours=5) for invoice in invoices[:5]}
    held, at = None, BEGIN
    while at < END:
        for invoice in invoices:
            if at <= paid_on.get(invoice.pk, END) < at + timedelta(days=1):
                pay(invoice, at)
        if at.date().isoformat() == "2026-08-20" and held is None:
            held = hold_dunning(customer=invoices[5].customer, kind="other", until=None, at=at, **WHO)
        if at.date().isoformat() == "2026-08-25" and held is not None and held.ended_at is None:
            held = lift_hold(hold_id=held.pk, at=at, **WHO)
        turn(at + timedelta(hours=12), at + timedelta(hours=12))
        at += timedelta(days=1)
    return invoices


def test_it_reproduces_the_steps_that_were_really_taken_and_tells_who_would_have_been_spared(history) -> None:
    book = policy_book()
    told = {}
    for one in histories_of(start=BEGIN, end=END, customers=late_customers(at=END)):
        chases = course_of(
            history=one,
            terms_at=lambda at, number=one.customer_id: book.terms_at(customer_id=number, at=at),
            until=END,
            changes=book.changes,
        )
        told[one.customer_id] = [
            (step.number, step.step.act.value, local_day(at=step.at, zone=one.zone))
            for chase in chases
            for step in chase.taken
        ]
    really: dict[int, list] = {invoice.customer_id: [] for invoice in history}
    for step in CaseStep.objects.select_related("case__customer").order_by("case", "number"):
        customer = step.case.customer
        zone = ZoneInfo(customer.timezone)
        really[customer.pk].append((step.number, step.act, local_day(at=step.done_at, zone=zone)))

    assert told == really and sum(map(len, really.values())) > 15
    assert_no_difference_but_for_another_policy(history)


def tried(trial: Trial) -> Comparison:
    """A trial on everybody who was late, two of them at a time, which changes nothing about what comes out."""
    everybody = late_customers(at=END)
    whole = backtest(trial=trial, at=END, customers=everybody)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("dunning.backtesting.CUSTOMERS_AT_ONCE", 2)
        in_parts = backtest(trial=trial, at=END, customers=everybody)
    assert (in_parts.held, in_parts.tried) == (whole.held, whole.tried)
    assert sorted(in_parts.differences, key=lambda one: one.customer_id) == list(whole.differences)
    return whole


def assert_no_difference_but_for_another_policy(history) -> None:
    assert tried(Trial(SHORT, "short")).differences == ()
    assert tried(Trial(STANDARD, "standard")).differences == ()
    found = tried(Trial(STANDARD, "short"))
    touched = {invoice.customer_id for invoice in history[3:]}
    assert {one.customer_id for one in found.differences} <= touched
    suspended = {step.case.customer_id for step in CaseStep.objects.filter(act="suspend").select_related("case")}
    assert found.held.acts[Act.SUSPEND] == len(suspended)
    spared = {one.customer_id for one in found.differences if Act.SUSPEND in one.spared}
    assert spared <= suspended & touched and len(suspended) - len(spared) <= found.tried.acts[Act.SUSPEND]
    everybody = late_customers(at=END)
    with CaptureQueriesContext(connection) as few:
        backtest(trial=Trial(STANDARD, ""), at=END, customers=everybody)
    assert len(few) <= 14
