"""Nobody is told, or has done to him, what does not fit what he is: in a trial, suspended, gone, or with people who collect."""

from datetime import UTC, datetime, timedelta

import pytest

from dunning.arrangements.queries import why_not_charged
from dunning.cases.arrears import all_debts
from dunning.cases.operations import hand_over, open_case
from dunning.notices.models import Notice
from dunning.recharging import plan_retries, retries_due
from invoicing.customers.life_cycle import state_of
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice
from invoicing.payments.models import PaymentFailure, PushIntent
from invoicing.subscriptions.cancel import end_subscription
from invoicing.workflows.move_life_cycle import sweep_life_cycles
from tests.dunning.chasing import WHO, by_policy, case_of, chase, late_customer, local, pay, turn
from tests.factories import AUGUST, a_customer, a_plan, a_subscription, usd_fee
from tests.invoicing.selling import item, once

pytestmark = pytest.mark.django_db


def told_to(customer: Customer) -> list[tuple[str, str | None]]:
    """What was told, with the day on which something is said to follow."""
    notices = Notice.objects.filter(customer=customer).order_by("pk")
    return [(one.kind, str(one.acts_on) if one.acts_on else None) for one in notices]


def in_a_trial() -> Invoice:
    """Who tries a plan until the 10th of September, and owes for something bought once."""
    a_plan("pro", usd_fee("31"))
    customer = a_customer()
    begun = datetime(2026, 8, 1, tzinfo=UTC)
    Customer.objects.filter(pk=customer.pk).update(created_at=begun)
    a_subscription(customer, started_at=begun, trial_ends_at=datetime(2026, 9, 10, tzinfo=UTC))
    return once(customer, item("10"), at=AUGUST)


@pytest.mark.parametrize("policy", ["standard", "short"])
def test_nothing_is_taken_in_a_trial_and_nothing_is_left_out_after_it(policy: str) -> None:
    invoice = in_a_trial()
    customer = invoice.customer
    by_policy(policy, customer)

    turn(local("2026-08-16 09:00", customer), local("2026-09-09 09:00", customer))
    case = case_of(customer)
    assert state_of(customer=customer) == "trial" and not case.steps.filter(outcome="skipped").exists()
    assert case.waits_because == "the customer is in its trial: nothing is taken from it before that is over"
    turn(local("2026-09-10 09:00", customer), local("2026-09-20 09:00", customer))

    assert list(case.steps.filter(act="suspend").values_list("outcome", flat=True)) == ["done"]


def test_who_has_left_hears_of_what_is_open_and_of_nothing_that_would_be_taken() -> None:
    invoice = late_customer()
    customer = invoice.customer
    by_policy("short", customer)
    [subscription] = customer.subscriptions.all()
    ended_at = local("2026-08-10 09:00", customer)
    end_subscription(subscription=subscription, ended_at=ended_at, **WHO)
    sweep_life_cycles(at=ended_at)
    assert state_of(customer=customer) == "churned"

    turn(local("2026-08-16 09:00", customer), local("2026-08-26 09:00", customer))

    assert told_to(customer) == [("reminder", None), ("reminder", None)]
    steps = case_of(customer).steps.order_by("number").values_list("act", "outcome", "why")
    assert list(steps)[2:] == [
        ("restrict", "skipped", "the customer is churned already"),
        ("suspend", "skipped", "a customer that is churned does not become suspended by dunning"),
    ]
    assert "service" not in " ".join(Notice.objects.values_list("text", flat=True))


def test_the_next_debt_of_a_suspended_customer_does_not_threaten_what_has_happened() -> None:
    invoice = late_customer()
    customer = invoice.customer
    by_policy("short", customer)
    turn(local("2026-08-16 09:00", customer), local("2026-08-23 09:00", customer))
    second = once(customer, item("10"), at=local("2026-08-02 09:00", customer))
    assert second.due_date is not None and state_of(customer=customer) == "suspended"
    before = len(told_to(customer))
    pay(invoice, local("2026-08-24 09:00", customer))

    turn(local("2026-08-24 10:00", customer), local("2026-09-05 09:00", customer))

    assert told_to(customer)[before:] == [("reminder", None), ("reminder", None)]
    assert set(case_of(customer).steps.filter(number__gte=3).values_list("outcome", flat=True)) == {"skipped"}


def test_once_people_collect_a_debt_no_card_is_charged_for_it_and_no_mail_goes() -> None:
    invoice = late_customer()
    customer = invoice.customer
    at = local("2026-08-16 09:00", customer)
    PushIntent.objects.create(
        invoice=invoice, status="pushed", stripe_invoice_id="in_1", pushed_at=AUGUST, next_attempt_at=AUGUST
    )
    PaymentFailure.objects.create(
        invoice=invoice, reference="ch_1", code="processing_error", message="declined", occurred_at=at
    )
    customer.refresh_from_db()
    case = open_case(customer_id=customer.pk, at=at)
    assert case is not None
    later = at + timedelta(days=1)
    assert retries_due(debts=all_debts(at=later), at=later) == {case.pk: [invoice.pk]}

    hand_over(case_id=case.pk, at=later, actor="ann", reason="the agency has it")

    assert retries_due(debts=all_debts(at=later), at=later) == {}
    assert plan_retries(case_id=case.pk, invoice_ids=[invoice.pk], at=later) == 0
    assert why_not_charged(invoice=invoice, at=later) == "its customer's case is handed over: people collect it"
    once(customer, item("10"), at=later)
    told = Notice.objects.count()
    chase(local("2026-10-20 09:00", customer))
    assert Notice.objects.count() == told
