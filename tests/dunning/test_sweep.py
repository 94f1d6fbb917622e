"""Dunning turned by the clock: who is late is told, restricted, suspended and closed on the right day, and who has paid is left alone."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from moneyed import Money

from dunning.arrangements.operations import (
    NewInstalment,
    decide_objection,
    hold_dunning,
    lift_hold,
    object_to,
    promise_to_pay,
    withdraw_promise,
)
from dunning.cases.models import CaseStep, DunningCase
from dunning.core.policy import SHORT, terms_stored
from dunning.faults import check_dunning_holds
from dunning.policies.operations import assign_policy, ensure_presets, publish_policy
from invoicing.catalog.queries import published_version
from invoicing.customers.life_cycle import state_of
from invoicing.customers.operations import change_customer
from invoicing.payments.models import PaymentFailure
from invoicing.subscriptions.start import start_subscription
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.write_off_invoice import write_off_invoice
from tests.dunning.chasing import (
    WHO,
    access,
    by_policy,
    case_of,
    chase,
    days_told,
    late_customer,
    local,
    pay,
    told,
    turn,
)
from tests.factories import AUGUST, a_customer, a_subscription
from tests.invoicing.selling import item, once

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
ZONES = ["Asia/Kathmandu", "America/Sao_Paulo", "America/New_York"]


@pytest.mark.requirement("S1-005")
@pytest.mark.requirement("S1-021")
@pytest.mark.requirement("S1-022")
@pytest.mark.requirement("S1-023")
@pytest.mark.requirement("S1-024")
@pytest.mark.requirement("S2-022")
@pytest.mark.parametrize("timezone", ZONES)
def test_the_short_ladder_from_the_reminder_to_the_suspension_and_back_with_a_payment(timezone: str) -> None:
    invoice = late_customer(timezone=timezone)
    customer = invoice.customer
    by_policy("short", customer)

    taken = turn(local("2026-08-14 09:00", customer), local("2026-08-30 00:00", customer))

    assert told(taken, customer) == [
        ("08-16 09:00", "notice", "reminder"),
        ("08-19 09:00", "notice", "warning"),
        ("08-22 09:00", "restrict", "restricted"),
        ("08-23 09:00", "suspend", "suspended"),
    ]
    assert case_of(customer).state == "exhausted"
    assert list(check_dunning_holds()) == []
    assert access(customer, local("2026-08-22 08:59", customer)) == (False, "suspended"), "as it is recorded by now"
    paid_at = local("2026-08-30 03:12", customer)
    pay(invoice, paid_at)
    assert access(customer, paid_at) == (True, "active")
    assert (chase(paid_at).closed, case_of(customer).state) == (1, "settled")


def test_restricted_service_is_told_by_the_access_endpoint_and_ends_with_the_payment_itself() -> None:
    invoice = late_customer()
    by_policy("short", invoice.customer)
    turn(local("2026-08-16 09:00", invoice.customer), local("2026-08-22 12:00", invoice.customer))
    at = local("2026-08-22 12:00", invoice.customer)

    assert access(invoice.customer, at) == (True, "restricted")
    pay(invoice, at)
    assert access(invoice.customer, at) == (True, "active")
    assert chase(at).closed == 1
    restriction = invoice.customer.restrictions.get()
    assert restriction.lifted_at == at
    with pytest.raises(IntegrityError, match="is lifted: it stays so"), transaction.atomic():
        invoice.customer.restrictions.update(lifted_at=None)


def test_a_restriction_ends_with_the_last_debt_though_that_had_no_case() -> None:
    invoice = late_customer()
    customer = invoice.customer
    terms = terms_stored(SHORT) | {"minimums": {"USD": "5"}}
    publish_policy(key="gentle", name="Gentle", terms=terms, in_force_from=AUGUST, at=AUGUST, **WHO)
    assign_policy(policy="gentle", customer=customer, country="", at=AUGUST, **WHO)
    little = once(customer, item("2"), at=AUGUST + timedelta(hours=1))
    for day in ("16", "19", "22"):
        chase(local(f"2026-08-{day} 09:00", customer))
    at = local("2026-08-22 12:00", customer)
    pay(invoice, at)

    assert (chase(at).closed, chase(at).opened) == (1, [])
    assert access(customer, at) == (True, "restricted"), "two dollars are late still"
    pay(little, at)
    chase(at)
    assert customer.restrictions.get().lifted_at == at


@pytest.mark.requirement("S0-127")
@pytest.mark.requirement("S0-129")
@pytest.mark.requirement("S0-137")
@pytest.mark.parametrize("timezone", ZONES)
def test_the_standard_ladder_ends_with_the_final_invoice_of_who_never_pays(timezone: str) -> None:
    invoice = late_customer(timezone=timezone)
    customer = invoice.customer

    taken = turn(local("2026-08-14 09:00", customer), local("2026-09-20 00:00", customer))

    assert told(taken, customer) == [
        ("08-16 09:00", "notice", "reminder"),
        ("08-18 09:00", "notice", "reminder"),
        ("08-22 09:00", "notice", "reminder"),
        ("08-26 09:00", "notice", "warning"),
        ("08-29 09:00", "suspend", "suspended"),
        ("09-05 09:00", "notice", "final_notice"),
        ("09-12 09:00", "close", "closed"),
    ]
    assert [str(move) for move in customer.moves.order_by("number")] == [
        "trial → active",
        "active → past_due",
        "past_due → suspended",
        "suspended → churned",
    ]
    assert case_of(customer).state == "exhausted"
    assert customer.subscriptions.get().ended_at == local("2026-09-12 09:00", customer)
    at = local("2026-10-01 12:00", customer)
    assert len(issue_billing(as_of=at, at=at).invoices) == 2, "September until its end, and August"


@pytest.mark.requirement("S0-125")
@pytest.mark.requirement("S1-026")
@pytest.mark.requirement("S0-044")
def test_a_refused_charge_is_told_at_once_and_its_days_count_from_it() -> None:
    invoice = late_customer()
    customer = invoice.customer
    refused_at = local("2026-08-03 14:20", customer)
    PaymentFailure.objects.create(
        invoice=invoice, reference="ch_1", code="insufficient_funds", message="declined", occurred_at=refused_at
    )

    taken = turn(local("2026-08-03 14:25", customer), local("2026-08-17 12:25", customer), every=timedelta(hours=1))

    assert told(taken, customer) == [
        ("08-03 14:25", "notice", "payment_failed"),
        ("08-06 09:25", "notice", "reminder"),
        ("08-10 09:25", "notice", "reminder"),
        ("08-14 09:25", "notice", "warning"),
        ("08-17 09:25", "suspend", "suspended"),
    ]


def test_a_card_that_the_customer_mistyped_itself_is_no_debt_before_the_due_date() -> None:
    invoice = late_customer()
    customer = invoice.customer
    by_policy("short", customer)
    tried_at = local("2026-08-03 14:20", customer)
    PaymentFailure.objects.create(
        invoice=invoice, reference="ch_1", code="incorrect_cvc", message="no", occurred_at=tried_at, by_customer=True
    )

    taken = turn(tried_at, local("2026-08-16 15:00", customer))

    assert told(taken, customer) == [("08-16 14:20", "notice", "reminder")]
    assert str(case_of(customer).anchor_day) == "2026-08-15"


def test_a_payment_that_wants_confirming_is_told_as_that_and_one_at_night_in_the_morning() -> None:
    invoice = late_customer()
    night = local("2026-08-03 23:20", invoice.customer)
    PaymentFailure.objects.create(
        invoice=invoice, reference="ch_1", code="authentication_required", message="confirm", occurred_at=night
    )

    taken = turn(night, local("2026-08-04 12:00", invoice.customer), every=timedelta(minutes=10))

    assert told(taken, invoice.customer) == [("08-04 08:00", "notice", "action_required")]


@pytest.mark.requirement("S0-126")
@pytest.mark.requirement("S1-025")
def test_who_pays_between_two_steps_is_left_alone_and_each_step_is_taken_once() -> None:
    invoice = late_customer()
    customer = invoice.customer
    at = local("2026-08-16 09:00", customer)

    assert [len(chase(at).steps) for _ in range(3)] == [1, 0, 0]
    pay(invoice, at + timedelta(hours=1))
    assert turn(at, local("2026-09-30 00:00", customer), every=timedelta(hours=12)) == []
    assert [(case.state, case.next_due_at) for case in DunningCase.objects.all()] == [("settled", None)]
    assert state_of(customer=customer) == "active"


def test_the_next_debt_is_a_case_of_its_own_whose_days_begin_with_it() -> None:
    invoice = late_customer()
    customer = invoice.customer
    once(customer, item("10"), at=AUGUST + timedelta(days=9))
    turn(local("2026-08-16 09:00", customer), local("2026-08-29 12:00", customer))
    paid_at = local("2026-08-29 13:00", customer)
    pay(invoice, paid_at)

    taken = turn(paid_at, local("2026-09-07 23:00", customer), every=timedelta(hours=4))

    assert state_of(customer=customer) == "suspended", "the second one, due on the 24th, is late still"
    assert [str(case.anchor_day) for case in DunningCase.objects.order_by("pk")] == ["2026-08-15", "2026-08-24"]
    assert told(taken, customer) == [
        ("08-29 13:00", "notice", "reminder"),
        ("08-31 09:00", "notice", "reminder"),
        ("09-04 09:00", "notice", "reminder"),
    ]


def test_what_was_missed_is_made_up_for_at_the_distances_of_the_policy() -> None:
    invoice = late_customer()
    customer = invoice.customer
    by_policy("short", customer)

    taken = turn(local("2026-10-01 12:00", customer), local("2026-10-09 12:00", customer))

    assert told(taken, customer) == [
        ("10-01 12:00", "notice", "reminder"),
        ("10-04 12:00", "notice", "warning"),
        ("10-07 12:00", "restrict", "restricted"),
        ("10-08 12:00", "suspend", "suspended"),
    ]
    assert days_told(customer) == ["2026-10-07", "2026-10-07", "2026-10-08", None], "not in August: as it will be"


def test_a_hold_stops_everything_and_once_it_is_lifted_the_distances_stay() -> None:
    invoice = late_customer()
    customer = invoice.customer
    by_policy("short", customer)
    chase(local("2026-08-16 09:00", customer))
    hold = hold_dunning(customer=customer, kind="legal", until=None, at=local("2026-08-17 00:00", customer), **WHO)

    assert (
        turn(local("2026-08-17 09:00", customer), local("2026-09-20 09:00", customer), every=timedelta(hours=6)) == []
    )
    assert case_of(customer).waits_because == "held: Legal: a court or a lawyer is at it (as we agreed by phone)"
    lift_hold(hold_id=hold.pk, at=local("2026-09-20 10:00", customer), **WHO)
    taken = turn(local("2026-09-20 11:00", customer), local("2026-09-25 00:00", customer), every=timedelta(hours=2))

    assert told(taken, customer) == [
        ("09-20 11:00", "notice", "warning"),
        ("09-23 09:00", "restrict", "restricted"),
        ("09-24 09:00", "suspend", "suspended"),
    ]
    assert days_told(customer)[1:] == ["2026-09-23", "2026-09-24", None]


def test_a_promise_is_waited_for_kept_and_reminded_of() -> None:
    invoice = late_customer()
    customer = invoice.customer
    at = local("2026-08-16 09:00", customer)
    chase(at)
    days = [local("2026-08-25 00:00", customer).date(), local("2026-09-25 00:00", customer).date()]
    promise = promise_to_pay(
        case_id=case_of(customer).pk,
        instalments=[NewInstalment(days[0], Money("11", "USD")), NewInstalment(days[1], Money("20", "USD"))],
        at=at,
        **WHO,
    )
    pay(invoice, local("2026-08-24 12:00", customer), "11")

    assert turn(at, local("2026-09-24 00:00", customer), every=timedelta(hours=12)) == []
    pay(invoice, local("2026-09-24 12:00", customer))
    chase(local("2026-09-24 13:00", customer))

    promise.refresh_from_db()
    assert (promise.outcome, case_of(customer).state) == ("kept", "settled")


def test_a_promise_that_is_broken_lets_the_ladder_go_on() -> None:
    invoice = late_customer()
    customer = invoice.customer
    at = local("2026-08-16 09:00", customer)
    chase(at)
    until = local("2026-08-25 00:00", customer).date()
    promise = promise_to_pay(
        case_id=case_of(customer).pk, instalments=[NewInstalment(until, Money("31", "USD"))], at=at, **WHO
    )

    taken = turn(local("2026-08-17 00:00", customer), local("2026-08-27 12:00", customer), every=timedelta(hours=4))

    promise.refresh_from_db()
    assert (promise.outcome, promise.ended_at) == ("broken", local("2026-08-27 08:00", customer))
    assert told(taken, customer) == [("08-27 08:00", "notice", "reminder")]


def test_a_withdrawn_promise_is_waited_for_no_longer() -> None:
    invoice = late_customer()
    at = local("2026-08-16 09:00", invoice.customer)
    chase(at)
    until = local("2026-10-25 00:00", invoice.customer).date()
    promise = promise_to_pay(
        case_id=case_of(invoice.customer).pk, instalments=[NewInstalment(until, Money("31", "USD"))], at=at, **WHO
    )

    assert chase(local("2026-08-18 09:00", invoice.customer)).steps == []
    withdraw_promise(promise_id=promise.pk, at=at, **WHO)
    assert len(chase(local("2026-08-18 09:00", invoice.customer)).steps) == 1


def test_a_part_that_is_objected_to_is_not_chased_and_the_rest_is() -> None:
    invoice = late_customer()
    customer = invoice.customer
    objection = object_to(invoice_id=invoice.pk, amount=Money("20", "USD"), at=AUGUST, **WHO)

    [step] = chase(local("2026-08-16 09:00", customer)).steps
    assert step.amount == Money("11", "USD")
    pay(invoice, local("2026-08-17 09:00", customer), "11")
    assert chase(local("2026-08-17 10:00", customer)).closed == 1
    assert (
        turn(local("2026-08-17 11:00", customer), local("2026-09-17 10:00", customer), every=timedelta(hours=12)) == []
    )
    decide_objection(objection_id=objection.pk, at=local("2026-09-17 11:00", customer), **WHO)
    [again] = chase(local("2026-09-17 11:00", customer)).steps
    assert (again.amount, again.number) == (Money("20", "USD"), 1)


def test_what_is_written_off_or_credited_is_chased_no_more() -> None:
    invoice = late_customer()
    at = local("2026-08-16 09:00", invoice.customer)
    chase(at)

    write_off_invoice(invoice_id=invoice.pk, at=at, **WHO)

    assert chase(at).closed == 1
    assert case_of(invoice.customer).state == "written_off"
    assert turn(at, at + timedelta(days=40), every=timedelta(hours=8)) == []


@pytest.mark.requirement("S2-020")
def test_less_than_the_minimum_of_the_currency_is_left_alone() -> None:
    invoice = late_customer()
    ensure_presets()
    terms = terms_stored(SHORT) | {"minimums": {"USD": "31.01"}}
    publish_policy(key="gentle", name="Gentle", terms=terms, in_force_from=AUGUST, at=AUGUST, **WHO)
    assign_policy(policy="gentle", customer=invoice.customer, country="", at=AUGUST, **WHO)

    assert turn(local("2026-08-16 09:00", invoice.customer), local("2026-08-17 09:00", invoice.customer)) == []
    once(invoice.customer, item("0.01"), at=AUGUST)
    assert len(chase(local("2026-08-17 10:00", invoice.customer)).steps) == 1


def test_a_new_version_of_a_policy_leaves_open_cases_alone() -> None:
    invoice = late_customer()
    by_policy("short", invoice.customer)
    at = local("2026-08-16 09:00", invoice.customer)
    chase(at)

    steps = [{"day": 2, "act": "notice", "notice": "final_notice"}]
    publish_policy(
        key="short", name="Other", terms=terms_stored(SHORT) | {"steps": steps}, in_force_from=at, at=at, **WHO
    )

    taken = turn(at, local("2026-08-19 09:00", invoice.customer))
    assert told(taken, invoice.customer) == [("08-19 09:00", "notice", "warning")]


def test_who_pays_for_accounts_is_chased_and_suspends_them_with_it() -> None:
    invoice = late_customer()
    payer = invoice.customer
    account = a_customer("cust_branch")
    change_customer(customer=account, changes={"billed_to": payer.key}, **WHO)
    start_subscription(
        key="sub_branch",
        customer=account,
        plan_version=published_version(plan_key="pro"),
        started_at=AUGUST + timedelta(days=1),
        anchor="calendar",
        **WHO,
    )

    turn(local("2026-08-16 09:00", payer), local("2026-08-29 12:00", payer))

    at = local("2026-08-29 12:00", payer)
    assert (access(account, at), access(payer, at)) == ((False, "suspended"), (False, "suspended"))
    assert [case.customer for case in DunningCase.objects.all()] == [payer]


def test_who_comes_back_with_an_old_debt_is_chased_from_the_first_step_on() -> None:
    invoice = late_customer()
    customer = invoice.customer
    turn(local("2026-08-16 09:00", customer), local("2026-09-13 00:00", customer))
    assert state_of(customer=customer) == "churned"

    back = local("2026-10-01 12:00", customer)
    a_subscription(customer, started_at=back, key="sub_again")
    taken = turn(back, local("2026-10-02 12:00", customer))

    assert [case.state for case in DunningCase.objects.order_by("pk")] == ["superseded", "open"]
    assert [step.number for step in taken] == [1]


def insert_step(case: DunningCase, **changes: object) -> None:
    row = {
        "case_id": case.pk, "number": 1, "day": 1, "act": "suspend", "notice": "", "due_at": case.opened_at, "done_at": case.opened_at,
        "delay_days": 0, "outcome": "done", "why": "", "currency": "USD", "amount": "31", "figures": "[]", "actor": "sql",
    } | changes  # fmt: skip
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO dunning_casestep ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})",
            list(row.values()),
        )


def test_the_database_takes_no_step_twice_out_of_order_or_where_nothing_is_owed() -> None:
    invoice = late_customer()
    at = local("2026-08-16 09:00", invoice.customer)
    chase(at)
    case = case_of(invoice.customer)

    for changes, words in (
        ({}, "is not the next one"),
        ({"number": 3, "done_at": at}, "is not the next one"),
        ({"number": 2, "done_at": at - timedelta(days=1)}, "is not the next one"),
        ({"number": 2, "done_at": at, "amount": "0"}, "dunning_step_is_taken_where_something_is_owed"),
        ({"number": 2, "done_at": at, "due_at": at + DAY}, "dunning_step_comes_before_its_day_by_somebody"),
        (
            {"number": 2, "done_at": at, "due_at": at + DAY, "actor": "dunning sweep", "why": "too early"},
            "dunning_step_comes_before_its_day_by_somebody",
        ),
    ):
        with pytest.raises(IntegrityError, match=words):
            insert_step(case, **changes)
    objection = object_to(invoice_id=invoice.pk, amount=Money("31", "USD"), at=at, **WHO)
    with pytest.raises(IntegrityError, match="nothing is owed"):
        insert_step(case, number=2, done_at=at)
    decide_objection(objection_id=objection.pk, at=at, **WHO)
    pay(invoice, at)
    with pytest.raises(IntegrityError, match="nothing is owed"):
        insert_step(case, number=2, done_at=at)
    insert_step(case, number=2, done_at=at, outcome="skipped", why="paid")
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        CaseStep.objects.filter(case=case).update(amount=Money("1", "USD"))


def test_the_database_keeps_one_live_case_a_customer_and_moves_it_as_the_table_says() -> None:
    invoice = late_customer()
    at = local("2026-08-16 09:00", invoice.customer)
    chase(at)
    case = case_of(invoice.customer)

    with pytest.raises(IntegrityError, match="dunning_case_is_one_at_a_time"), transaction.atomic():
        DunningCase.objects.create(
            customer=case.customer, policy=case.policy, state="open", state_since=at,
            anchor_invoice=invoice, anchor_day=case.anchor_day, opened_at=at,
        )  # fmt: skip
    for change in (
        {"state": "superseded", "next_number": None, "next_due_at": None},
        {"state": "settled", "state_since": at, "next_number": None, "next_due_at": None},
        {"anchor_day": case.anchor_day - timedelta(days=30)},
        {"opened_at": at - timedelta(days=30)},
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            DunningCase.objects.filter(pk=case.pk).update(**change)
    with pytest.raises(IntegrityError, match="cannot be deleted"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM dunning_dunningcase")


def test_verify_names_a_step_that_was_forged_behind_the_sweep() -> None:
    invoice = late_customer()
    at = local("2026-08-16 09:00", invoice.customer)
    chase(at)
    case = case_of(invoice.customer)

    insert_step(case, number=2, act="suspend", day=3, due_at=at, done_at=at, actor="dunning sweep")

    assert [finding.message for finding in check_dunning_holds()] == [
        "it is not the next one of its policy",
        "the next step that it names is not that of its policy",
        "it was taken by itself though nobody was told before",
    ][:2]
