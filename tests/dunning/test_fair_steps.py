"""A step is taken only where it is fair: with the day on which something will follow, after the customer was told, and not for money that we hold."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from moneyed import Money

from dunning.acting import take_step_by_hand
from dunning.arrangements.operations import decide_objection, object_to
from dunning.arrangements.queries import why_not_charged
from dunning.cases.arrears import all_debts
from dunning.cases.models import DunningCase
from dunning.cases.operations import open_case, plan_next
from dunning.core.calendar import Planned
from dunning.core.policy import SHORT, terms_stored
from dunning.fairness import never_charged
from dunning.notices.decisions import drop_notice
from dunning.notices.models import Notice
from dunning.policies.operations import assign_policy, ensure_presets, publish_policy
from dunning.recharging import plan_retries, retries_due
from dunning.rehearsal import rehearse
from dunning.sweep import sweep_dunning
from invoicing.bank.models import BankAllocation
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice
from invoicing.payments.charge_attempt import ChargeAttempt
from invoicing.payments.models import PaymentFailure, PushIntent
from invoicing.workflows.allocate_bank_line import Share
from invoicing.workflows.use_money_on_account import pay_money_back
from tests.dunning.chasing import (
    WHO,
    by_policy,
    case_of,
    chase,
    days_told,
    deliver,
    late_customer,
    local,
    pay,
    told,
    turn,
)
from tests.factories import AUGUST
from tests.invoicing.bank.statements import Entry, allocate, one_line
from tests.invoicing.selling import item, once

pytestmark = pytest.mark.django_db


def test_the_rehearsal_names_the_grave_day_that_the_notice_names() -> None:
    invoice = late_customer()
    by_policy("short", invoice.customer)
    at = local("2026-10-01 12:00", invoice.customer)

    [unopened] = rehearse(until=at + timedelta(hours=2), at=at)
    open_case(customer_id=invoice.customer_id, at=at)
    rehearsed = rehearse(until=at + timedelta(days=3), at=at)

    assert str(unopened.acts_on) == "2026-10-07"
    assert [(row.planned.number, str(row.acts_on)) for row in rehearsed] == [(1, "2026-10-07"), (2, "2026-10-07")]


def test_what_nobody_foresaw_stops_one_case_and_no_other(monkeypatch) -> None:
    first, second = late_customer(), late_customer("cust_other")
    at = local("2026-08-16 09:00", first.customer)

    def fails(*, case: DunningCase, ahead: Sequence[Planned]) -> None:
        if case.customer_id == first.customer_id:
            raise ZeroDivisionError("nobody foresaw this")
        plan_next(case=case, ahead=ahead)

    monkeypatch.setattr("dunning.cases.operations.plan_next", fails)
    report = sweep_dunning(at=at)

    assert [step.case.customer for step in report.steps] == [second.customer]
    assert report.failures == [(f"customer {first.customer_id}", "ZeroDivisionError: nobody foresaw this")]


def test_a_case_that_fails_says_so_until_it_goes_on(monkeypatch) -> None:
    invoice = late_customer()
    at = local("2026-08-16 09:00", invoice.customer)

    def fails(**_: object) -> None:
        raise ZeroDivisionError("nobody foresaw this")

    with monkeypatch.context() as broken:
        broken.setattr("dunning.acting.tell", fails)
        assert sweep_dunning(at=at).steps == []
    case = case_of(invoice.customer)
    assert case.waits_because == "it fails (ZeroDivisionError): it is tried again, and the log says more"

    assert len(chase(at).steps) == 1
    case.refresh_from_db()
    assert case.waits_because == ""


def on_account(customer: Customer, amount: str) -> BankAllocation:
    """Money of a customer that came without an invoice."""
    share = Share("on_account", Money(amount, "USD"), customer_id=customer.pk)
    [lot] = allocate(one_line(Entry(amount)), share, at=AUGUST)
    return lot


def test_nobody_is_chased_while_we_hold_money_of_his() -> None:
    invoice = late_customer()
    at = local("2026-08-16 09:00", invoice.customer)
    lot = on_account(invoice.customer, "500.00")

    assert chase(at).steps == []
    assert case_of(invoice.customer).waits_because == "money on account: USD 500.00 are to be applied first"
    whole = Money("500", "USD")
    pay_money_back(lot_id=lot.pk, amount=whole, rest=whole, at=at, **WHO)
    assert len(chase(at).steps) == 1


def at_stripe(invoice: Invoice, at: datetime) -> None:
    """Say that Stripe has an invoice."""
    pushed = {"status": "pushed", "stripe_invoice_id": f"in_{invoice.pk}", "pushed_at": at, "next_attempt_at": at}
    PushIntent.objects.update_or_create(invoice=invoice, defaults=pushed)


def test_nobody_is_chased_for_an_invoice_that_his_card_was_never_charged_for() -> None:
    invoice = late_customer(settlement_channel="stripe")
    customer = invoice.customer
    at = local("2026-08-16 09:00", customer)
    Customer.objects.filter(pk=customer.pk).update(payment_method="pm_card_visa")

    assert chase(at).steps == []
    assert (
        case_of(customer).waits_because == f"not charged yet: {invoice} is not at Stripe, and the customer has a card"
    )
    at_stripe(invoice, at)
    assert never_charged(debts=all_debts(at=at)[customer.pk]) == set()


def test_a_step_by_hand_is_taken_over_what_was_never_charged() -> None:
    invoice = late_customer()
    at = local("2026-08-16 09:00", invoice.customer)
    on_account(invoice.customer, "1.00")
    chase(at)

    assert take_step_by_hand(case_id=case_of(invoice.customer).pk, number=1, at=at, **WHO).number == 1


def test_what_is_objected_to_in_part_is_not_charged_again() -> None:
    invoice = late_customer()
    customer = invoice.customer
    refused_at = local("2026-08-03 10:00", customer)
    PaymentFailure.objects.create(
        invoice=invoice, reference="ch_1", code="processing_error", message="declined", occurred_at=refused_at
    )
    chase(refused_at)
    at_stripe(invoice, refused_at)
    case, later = case_of(customer), refused_at + timedelta(days=2)

    objection = object_to(invoice_id=invoice.pk, amount=Money("11", "USD"), at=refused_at, **WHO)
    assert plan_retries(case_id=case.pk, invoice_ids=[invoice.pk], at=later) == 0
    decide_objection(objection_id=objection.pk, at=later, **WHO)
    assert plan_retries(case_id=case.pk, invoice_ids=[invoice.pk], at=later) == 1


def test_a_card_is_not_charged_again_while_we_hold_money_of_its_customer() -> None:
    invoice = late_customer()
    customer = invoice.customer
    refused_at = local("2026-08-03 10:00", customer)
    PaymentFailure.objects.create(
        invoice=invoice, reference="ch_1", code="processing_error", message="declined", occurred_at=refused_at
    )
    chase(refused_at)
    at_stripe(invoice, refused_at)
    case, later = case_of(customer), refused_at + timedelta(days=2)
    assert retries_due(debts=all_debts(at=later), at=later) == {case.pk: [invoice.pk]}

    lot = on_account(customer, "31.00")

    assert retries_due(debts=all_debts(at=later), at=later) == {}
    assert plan_retries(case_id=case.pk, invoice_ids=[invoice.pk], at=later) == 0
    assert why_not_charged(invoice=invoice, at=later) == "money on account: USD 31.00 are to be applied first"
    whole = Money("31", "USD")
    pay_money_back(lot_id=lot.pk, amount=whole, rest=whole, at=later, **WHO)
    assert why_not_charged(invoice=invoice, at=later) == ""
    assert plan_retries(case_id=case.pk, invoice_ids=[invoice.pk], at=later) == 1


def test_after_the_last_step_cards_are_charged_again_and_a_new_debt_is_told_of_once() -> None:
    invoice = late_customer()
    customer = invoice.customer
    by_policy("short", customer)
    turn(local("2026-08-16 09:00", customer), local("2026-08-24 09:00", customer))
    assert case_of(customer).state == "exhausted"
    another = once(customer, item("10"), at=AUGUST + timedelta(days=9))
    at = local("2026-08-27 09:00", customer)
    PaymentFailure.objects.create(
        invoice=invoice, reference="ch_1", code="processing_error", message="declined", occurred_at=at
    )
    at_stripe(invoice, at)
    at_stripe(another, at)

    for _ in range(2):
        chase(at + timedelta(days=2))

    notice = Notice.objects.get(about__invoice=another)
    assert (notice.kind, notice.acts_on, notice.about.count()) == ("reminder", None, 1)
    assert [attempt.invoice_id for attempt in ChargeAttempt.objects.all()] == [invoice.pk]


def test_whoever_is_suspended_does_not_hear_that_service_goes_on() -> None:
    invoice = late_customer()
    customer = invoice.customer
    once(customer, item("10"), at=AUGUST + timedelta(days=9))
    turn(local("2026-08-16 09:00", customer), local("2026-08-29 12:00", customer))
    paid_at = local("2026-08-29 13:00", customer)
    pay(invoice, paid_at)

    taken = turn(paid_at, local("2026-08-29 21:00", customer), every=timedelta(hours=4))

    assert told(taken, customer) == [("08-29 13:00", "notice", "reminder")]
    assert days_told(customer)[-1] is None


def test_stripe_is_not_asked_about_what_is_too_little_to_chase() -> None:
    invoice = late_customer()
    customer = invoice.customer
    ensure_presets()
    terms = terms_stored(SHORT) | {"minimums": {"USD": "20"}}
    publish_policy(key="gentle", name="Gentle", terms=terms, in_force_from=AUGUST, at=AUGUST, **WHO)
    assign_policy(policy="gentle", customer=customer, country="", at=AUGUST, **WHO)
    at = local("2026-08-16 09:00", customer)
    chase(at)
    at_stripe(invoice, at)
    object_to(invoice_id=invoice.pk, amount=Money("15", "USD"), at=at, **WHO)

    assert chase(at + timedelta(days=4)).steps == []
    assert case_of(customer).waits_because == "USD 16.00 are less than what is chased", "and not: Stripe cannot answer"


def test_news_that_were_not_needed_are_told_once_they_are_owed_again() -> None:
    customer = late_customer().customer
    by_policy("short", customer)
    turn(local("2026-08-16 09:00", customer), local("2026-08-24 09:00", customer))
    another = once(customer, item("10"), at=AUGUST + timedelta(days=9))
    at = local("2026-08-27 09:00", customer)
    sweep_dunning(at=at)
    objection = object_to(invoice_id=another.pk, amount=Money("10", "USD"), at=at, **WHO)
    deliver(at)
    decide_objection(objection_id=objection.pk, at=at, **WHO)

    def news() -> list[str]:
        about = Notice.objects.filter(about__invoice=another)
        return list(about.order_by("pk").values_list("state", flat=True))

    assert news() == ["not_needed"]
    for hours in (1, 2, 3):
        chase(at + timedelta(hours=hours))
    assert news() == ["not_needed", "sent"]


def test_what_a_person_has_dropped_is_not_told_by_itself() -> None:
    customer = late_customer().customer
    by_policy("short", customer)
    turn(local("2026-08-16 09:00", customer), local("2026-08-24 09:00", customer))
    Customer.objects.filter(pk=customer.pk).update(email="")
    another = once(customer, item("10"), at=AUGUST + timedelta(days=9))
    at = local("2026-08-27 09:00", customer)
    chase(at)
    notice = Notice.objects.get(about__invoice=another)
    drop_notice(notice_id=notice.pk, at=at, **WHO)

    chase(at + timedelta(hours=1))

    assert Notice.objects.filter(about__invoice=another).count() == 1
