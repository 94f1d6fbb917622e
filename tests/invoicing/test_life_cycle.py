"""The life of a customer, from its registration to its off-boarding and back."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse
from django_q.models import OrmQ
from moneyed import Money

from billing_site.backoffice.roles import SUPPORT, ensure_roles
from billing_site.kernel.errors import Conflict
from invoicing.catalog.queries import published_version
from invoicing.core.life_cycle import TRANSITIONS, Driver, State, Trigger, transition_between
from invoicing.customers.life_cycle import state_of, transition_for
from invoicing.customers.models import Customer, LifeCycleMove
from invoicing.customers.operations import change_customer
from invoicing.invoices.models import Invoice
from invoicing.payments.models import PaymentFailure
from invoicing.subscriptions.cancel import end_subscription, reactivate_subscription
from invoicing.subscriptions.start import start_subscription
from invoicing.tasks import follow_life_cycle
from invoicing.workflows.answer_access import answer_access
from invoicing.workflows.customer_standing import perhaps_moving, standings
from invoicing.workflows.move_life_cycle import move_customer, sweep_life_cycles
from invoicing.workflows.offboarding import offboarding_of
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.settle_payment import FOLLOW_JOB, settle_payment
from tests.billing_site.api.caller import Caller
from tests.factories import AUGUST, JULY, SEPTEMBER, a_customer, a_plan, a_subscription, usd_fee

pytestmark = pytest.mark.django_db
WHO = {"actor": "test", "reason": "asked for it"}
OVERDUE = datetime(2026, 8, 20, tzinfo=UTC)
# One way from the registration to each state.
WAYS: dict[State, list[State]] = {
    State.TRIAL: [],
    State.ACTIVE: [State.ACTIVE],
    State.PAST_DUE: [State.ACTIVE, State.PAST_DUE],
    State.SUSPENDED: [State.ACTIVE, State.PAST_DUE, State.SUSPENDED],
    State.CHURNED: [State.CHURNED],
}


def registered(customer: Customer, at: datetime = JULY) -> Customer:
    """The customer as registered at a moment of the past."""
    Customer.objects.filter(pk=customer.pk).update(created_at=at)
    return customer


def walk(customer: Customer, to: State) -> None:
    """Write moves by hand until the customer is where it should be."""
    start = State.TRIAL
    for number, state in enumerate(WAYS[to], start=1):
        row = transition_between(start=start, to=state)
        assert row is not None
        insert(customer, number, start.value, state.value, row.trigger.value)
        start = state


def insert(customer: Customer, number: int, start: str, to: str, trigger: str, moved_at: datetime = JULY) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO invoicing_lifecyclemove (customer_id, number, from_state, to_state, trigger, moved_at, actor, reason)"
            " VALUES (%s, %s, %s, %s, %s, %s, 'sql', 'by hand')",
            [customer.pk, number, start, to, trigger, moved_at],
        )


def sweep(at: datetime) -> list[str]:
    report = sweep_life_cycles(at=at)
    assert report.failures == []
    return [str(move) for move in report.moves]


def pay(invoice: Invoice, at: datetime) -> None:
    settle_payment(
        invoice_id=invoice.pk,
        channel="manual",
        reference=f"transfer {invoice.pk}",
        amount=invoice.total,
        received_at=at,
        **WHO,
    )


@pytest.fixture
def overdue() -> Iterator[Invoice]:
    """Acme's invoice of July, due on the 15th of August and not paid."""
    a_plan("pro", usd_fee("31"))
    a_subscription(registered(a_customer()))
    [invoice] = issue_billing(as_of=AUGUST, at=AUGUST).invoices
    yield invoice


@pytest.mark.requirement("S0-122")
@pytest.mark.requirement("S0-124")
def test_who_registers_is_in_a_trial_and_has_churned_after_14_days_without_a_plan() -> None:
    customer = registered(a_customer())

    assert state_of(customer=customer) is State.TRIAL
    assert sweep(JULY + timedelta(days=14) - timedelta(microseconds=1)) == []
    assert sweep(JULY + timedelta(days=14)) == ["trial → churned"]
    assert sweep(JULY + timedelta(days=15)) == []
    assert answer_access(customer_key="cust_acme", at=JULY + timedelta(days=15)).verdict.reason == "churned"
    assert offboarding_of(customer=customer).is_complete


@pytest.mark.requirement("S0-123")
def test_a_plan_and_a_means_of_payment_make_a_customer_active() -> None:
    a_plan("pro", usd_fee("31"))
    customer = registered(a_customer(settlement_channel="stripe"))
    a_subscription(customer, trial_ends_at=JULY + timedelta(days=7))
    after = JULY + timedelta(days=7)

    assert sweep(after) == []
    change_customer(customer=customer, changes={"payment_method": "pm_card_visa"}, **WHO)
    assert answer_access(customer_key="cust_acme", at=after).state is State.ACTIVE
    assert sweep(after) == ["trial → active"]


@pytest.mark.requirement("S0-124")
def test_a_trial_that_nobody_can_pay_for_is_cleaned_up_after_14_days_more_and_what_was_charged_is_invoiced() -> None:
    a_plan("pro", usd_fee("31"))
    customer = registered(a_customer(settlement_channel="stripe"))
    subscription = a_subscription(customer, trial_ends_at=JULY + timedelta(days=7))

    assert sweep(JULY + timedelta(days=20)) == []
    assert sweep(JULY + timedelta(days=21)) == ["trial → churned"]

    subscription.refresh_from_db()
    assert subscription.ended_at == JULY + timedelta(days=21)
    [final] = issue_billing(as_of=AUGUST, at=AUGUST).invoices
    assert final.total == Money("14", "USD")


@pytest.mark.requirement("S0-125")
@pytest.mark.requirement("S0-126")
def test_an_overdue_invoice_makes_past_due_and_its_payment_active_again(overdue: Invoice) -> None:
    assert sweep(AUGUST) == ["trial → active"]
    assert sweep(datetime(2026, 8, 15, 23, tzinfo=UTC)) == []
    assert sweep(OVERDUE) == ["active → past_due"]
    access = answer_access(customer_key="cust_acme", at=OVERDUE)
    assert (access.verdict.is_allowed, access.verdict.reason, access.state) == (True, "past_due", State.PAST_DUE)

    pay(overdue, OVERDUE)

    assert answer_access(customer_key="cust_acme", at=OVERDUE).state is State.ACTIVE
    assert sweep(OVERDUE) == ["past_due → active"]


@pytest.mark.requirement("S0-125")
def test_a_charge_that_was_refused_makes_past_due_before_the_invoice_is_overdue(overdue: Invoice) -> None:
    PaymentFailure.objects.create(
        invoice=overdue, reference="ch_1", code="card_declined", message="declined", occurred_at=AUGUST
    )

    assert sweep(AUGUST) == ["trial → active", "active → past_due"]


@pytest.mark.requirement("S0-127")
@pytest.mark.requirement("S0-128")
def test_dunning_suspends_and_a_payment_gives_service_back_at_the_very_next_question(overdue: Invoice) -> None:
    customer = overdue.customer
    suspended = move_customer(customer=customer, to=State.SUSPENDED, driver=Driver.DUNNING, at=OVERDUE, **WHO)
    again = move_customer(customer=customer, to=State.SUSPENDED, driver=Driver.DUNNING, at=OVERDUE, **WHO)

    def answer() -> tuple[bool, str]:
        verdict = answer_access(customer_key="cust_acme", at=OVERDUE).verdict
        return verdict.is_allowed, verdict.reason.value

    assert again == suspended
    assert [str(move) for move in customer.moves.order_by("number")] == [
        "trial → active",
        "active → past_due",
        "past_due → suspended",
    ]
    assert answer() == (False, "suspended")
    pay(overdue, OVERDUE)
    assert answer() == (True, "active")
    assert sweep(OVERDUE) == ["suspended → active"]


def test_with_the_payment_of_who_was_late_a_job_records_where_it_led_and_of_nobody_else(overdue: Invoice) -> None:
    def followed() -> list[tuple[int, ...]]:
        return [job.task["args"] for job in OrmQ.objects.order_by("pk") if job.func() == FOLLOW_JOB]

    sweep(OVERDUE)
    pay(overdue, OVERDUE)
    assert followed() == [(overdue.customer_id,)]
    a_subscription(registered(a_customer("cust_other")))
    [other] = issue_billing(as_of=AUGUST, at=AUGUST).invoices
    pay(other, AUGUST)
    assert followed() == [(overdue.customer_id,)]

    assert [follow_life_cycle(overdue.customer_id) for _ in range(2)] == ["1 moves", "0 moves"]
    assert state_of(customer=overdue.customer) is State.ACTIVE


@pytest.mark.requirement("S0-129")
def test_whoever_never_pays_is_given_up_with_a_final_invoice(overdue: Invoice) -> None:
    customer, subscription = overdue.customer, overdue.customer.subscriptions.get()
    move_customer(customer=customer, to=State.SUSPENDED, driver=Driver.DUNNING, at=OVERDUE, **WHO)
    given_up_at = datetime(2026, 8, 29, tzinfo=UTC)

    move_customer(customer=customer, to=State.CHURNED, driver=Driver.DUNNING, at=given_up_at, **WHO)

    subscription.refresh_from_db()
    assert subscription.ended_at == given_up_at
    left = offboarding_of(customer=customer)
    assert [(period.start, period.end) for period in left.to_invoice] == [(AUGUST, SEPTEMBER)]
    assert (left.unpaid, left.final, left.is_complete) == ((overdue,), None, False)
    [final] = issue_billing(as_of=SEPTEMBER, at=SEPTEMBER).invoices
    assert (final.total, offboarding_of(customer=customer).final) == (Money("28", "USD"), final)
    for invoice in (overdue, final):
        pay(invoice, SEPTEMBER)
    assert offboarding_of(customer=customer).is_complete
    assert sweep(SEPTEMBER) == []
    assert not answer_access(customer_key="cust_acme", at=SEPTEMBER).verdict.is_allowed


@pytest.mark.requirement("S0-130")
def test_a_cancellation_churns_when_it_takes_effect_and_coming_back_begins_anew() -> None:
    a_plan("pro", usd_fee("31"))
    subscription = a_subscription(registered(a_customer()))
    cancelled = JULY + timedelta(days=10)
    end_subscription(subscription=subscription, ended_at=cancelled, **WHO)

    assert sweep(cancelled - timedelta(days=1)) == ["trial → active"]
    assert sweep(cancelled) == ["active → churned"]
    [final] = issue_billing(as_of=AUGUST, at=AUGUST).invoices
    assert final.total == Money("10", "USD")
    reactivate_subscription(subscription=subscription, at=AUGUST, **WHO)
    assert answer_access(customer_key="cust_acme", at=AUGUST).verdict.is_allowed
    assert sweep(AUGUST) == ["churned → trial", "trial → active"]


@pytest.mark.requirement("S0-130")
def test_a_person_closes_a_customer_and_draws_a_planned_end_nearer() -> None:
    a_plan("pro", usd_fee("31"))
    customer = registered(a_customer())
    subscription = a_subscription(customer)
    end_subscription(subscription=subscription, ended_at=SEPTEMBER, **WHO)

    move_customer(customer=customer, to=State.CHURNED, driver=Driver.PERSON, at=JULY + timedelta(days=5), **WHO)

    subscription.refresh_from_db()
    assert subscription.ended_at == JULY + timedelta(days=5)


def test_a_customer_is_not_closed_over_a_subscription_that_has_not_begun() -> None:
    a_plan("pro", usd_fee("31"))
    customer = registered(a_customer())
    running = a_subscription(customer)
    a_subscription(customer, key="later", started_at=SEPTEMBER)

    with pytest.raises(Conflict) as refused:
        move_customer(customer=customer, to=State.CHURNED, driver=Driver.PERSON, at=JULY + timedelta(days=5), **WHO)

    running.refresh_from_db()
    assert (refused.value.field, running.ended_at, customer.moves.count()) == ("state", None, 0)


@pytest.mark.requirement("S0-121")
@pytest.mark.parametrize("start", State)
def test_every_move_that_is_not_in_the_table_is_refused_by_code_and_database(start: State) -> None:
    customer = a_customer()
    walk(customer, start)
    count = LifeCycleMove.objects.count()
    known = {(row.to, row.trigger) for row in TRANSITIONS if row.start is start}
    decided = {row.to for row in TRANSITIONS if row.start is start and Driver.DUNNING in row.drivers}

    for to, trigger in product(State, Trigger):
        if (to, trigger) not in known:
            with pytest.raises(IntegrityError, match="does not move"):
                insert(customer, count + 1, start.value, to.value, trigger.value)
    for to in set(State) - decided - {start}:
        with pytest.raises(Conflict, match="does not become"):
            transition_for(customer=customer, to=to, driver=Driver.DUNNING)
    assert LifeCycleMove.objects.count() == count


@pytest.mark.parametrize(
    "attack",
    [
        lambda customer: insert(customer, 2, "past_due", "active", "paid"),
        lambda customer: insert(customer, 3, "active", "past_due", "not_paid"),
        lambda customer: insert(customer, 1, "active", "past_due", "not_paid"),
        lambda customer: insert(customer, 2, "active", "past_due", "not_paid", JULY - timedelta(days=1)),
        lambda customer: run("UPDATE invoicing_lifecyclemove SET to_state = 'churned'"),
        lambda customer: run("DELETE FROM invoicing_lifecyclemove"),
        lambda customer: run("TRUNCATE invoicing_lifecyclemove"),
    ],
)
def test_a_life_that_was_lived_is_not_rewritten_with_sql(attack: Any) -> None:
    customer = a_customer()
    walk(customer, State.ACTIVE)

    with pytest.raises(DatabaseError):
        attack(customer)

    assert [str(move) for move in customer.moves.all()] == ["trial → active"]


def run(statement: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_nobody_whose_circumstances_call_for_a_move_is_missed_by_the_one_query_over_all() -> None:
    a_plan("pro", usd_fee("31"))
    for state in State:
        for lives in ("not", "owing", "paying", "ended", "through an account"):
            customer = registered(a_customer(f"cust_{state}_{lives.replace(' ', '_')}"))
            walk(customer, state)
            whose = registered(a_customer(f"{customer.key}_account")) if lives == "through an account" else customer
            Customer.objects.filter(pk=whose.pk).exclude(pk=customer.pk).update(billed_to=customer)
            if lives != "not":
                subscription = a_subscription(whose)
            if lives == "ended":
                end_subscription(subscription=subscription, ended_at=JULY + timedelta(days=3), **WHO)
    for invoice in issue_billing(as_of=AUGUST, at=AUGUST).invoices:
        if not invoice.customer.key.endswith("owing"):
            pay(invoice, AUGUST)

    calling = {one.customer_id for one in standings(customers=Customer.objects.all(), at=OVERDUE) if one.moves}
    found = set(perhaps_moving(at=OVERDUE))

    assert calling <= found and len(calling) == 23
    assert set(Customer.objects.exclude(pk__in=found).values_list("key", flat=True)) == {
        "cust_active_paying",
        "cust_active_through_an_account",
        "cust_past_due_owing",
        "cust_suspended_owing",
        "cust_churned_not",
        "cust_churned_ended",
    }


def test_a_sweep_over_many_customers_is_one_query_where_nothing_moves(django_assert_num_queries: Any) -> None:
    a_plan("pro", usd_fee("31"))
    for number in range(5):
        a_subscription(registered(a_customer(f"cust_{number}")))
    assert len(sweep(JULY)) == 5

    with django_assert_num_queries(1):
        assert sweep(JULY + timedelta(days=1)) == []


def test_the_api_says_the_state_with_the_customer_and_with_its_access(overdue: Invoice) -> None:
    sweep(OVERDUE)
    caller = Caller()

    assert caller.get("/api/v1/customers/cust_acme").json()["state"] == "past_due"
    assert caller.get("/api/v1/customers").json()["data"][0]["state"] == "past_due"
    assert caller.get("/api/v1/customers/cust_acme/access").json()["state"] == "past_due"


def test_staff_suspend_with_a_reason_and_see_the_life_of_a_customer(
    admin_client: Client, overdue: Invoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("invoicing.admin.customers.now", "invoicing.admin.life_cycle.now"):
        monkeypatch.setattr(place, lambda: OVERDUE)
    customer = overdue.customer
    page = reverse("admin:invoicing_customer_change", args=[customer.pk])
    suspend = reverse("admin:invoicing_customer_move", args=[customer.pk, "suspended"])

    before = admin_client.get(page).content.decode()
    asked = admin_client.get(suspend).content.decode()
    admin_client.post(suspend, {"reason": " "})
    assert customer.moves.count() == 0
    admin_client.post(suspend, {"reason": "three letters without an answer"})
    after = admin_client.get(page).content.decode()
    close = reverse("admin:invoicing_customer_move", args=[customer.pk, "churned"])
    admin_client.post(close, {"reason": "gone"})
    closed = admin_client.get(page).content.decode()

    assert ">Suspend</a>" in before
    assert "past due</span>" in before
    assert "Service is refused" in asked
    assert "three letters without an answer" in after
    assert ">Close</a>" in after
    assert "Left to do before this customer is off-boarded" in closed
    assert [str(move) for move in customer.moves.order_by("number")][2:] == [
        "past_due → suspended",
        "suspended → churned",
    ]
    assert admin_client.get(suspend).status_code == 404


def test_who_only_looks_moves_nobody(client: Client, overdue: Invoice, django_user_model: Any) -> None:
    ensure_roles()
    person = django_user_model.objects.create_user("sam", is_staff=True)
    person.groups.add(Group.objects.get(name=SUPPORT))
    client.force_login(person)

    answer = client.get(reverse("admin:invoicing_customer_move", args=[overdue.customer_id, "suspended"]))

    assert answer.status_code == 403


@pytest.mark.parametrize(("state", "number"), [("trial", 1), ("churned", 0), ("nonsense", 0)])
def test_the_list_of_customers_shows_and_filters_by_state(admin_client: Client, state: str, number: int) -> None:
    a_customer()

    page = admin_client.get(reverse("admin:invoicing_customer_changelist"), {"state": state})

    assert page.context["cl"].result_count == number


@pytest.mark.parametrize(
    ("trial_days", "words"),
    [
        (None, "Without a subscription it churns by itself: 2026-07-15 00:00 (UTC)."),
        (10, "It becomes active when its subscription is charged, and there is the means of payment that it needs."),
        (2, "Without a means of payment it churns by itself: 2026-07-17 00:00 (UTC)."),
    ],
)
def test_the_page_of_a_customer_in_its_trial_says_what_becomes_of_it(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, trial_days: int | None, words: str
) -> None:
    monkeypatch.setattr("invoicing.admin.customers.now", lambda: JULY + timedelta(days=5))
    a_plan("pro", usd_fee("31"))
    customer = registered(a_customer(settlement_channel="stripe"))
    if trial_days is not None:
        a_subscription(customer, trial_ends_at=JULY + timedelta(days=trial_days))

    page = admin_client.get(reverse("admin:invoicing_customer_change", args=[customer.pk]))

    assert page.context["life"].outlook == words


@pytest.mark.parametrize("planned_end", [None, SEPTEMBER])
def test_who_is_closed_loses_add_ons_with_what_they_are_added_to(planned_end: datetime | None) -> None:
    a_plan("pro", usd_fee("31"))
    a_plan("support", usd_fee("31"), add_on_to=["pro"])
    customer = registered(a_customer())
    subscription = a_subscription(customer)
    start_subscription(
        key="extra",
        customer=customer,
        plan_version=published_version(plan_key="support"),
        parent=subscription,
        started_at=JULY,
        **WHO,
    )
    if planned_end is not None:
        end_subscription(subscription=subscription, ended_at=planned_end, **WHO)
    closed_at = JULY + timedelta(days=5)

    move_customer(customer=customer, to=State.CHURNED, driver=Driver.PERSON, at=closed_at, **WHO)

    assert set(customer.subscriptions.values_list("ended_at", flat=True)) == {closed_at}
