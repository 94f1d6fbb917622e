"""Usage that Stripe settles is told to its meter once, and corrected there whatever happens here or on the way."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing_site.kernel.clock import now
from billing_site.kernel.errors import Conflict, InvalidInput
from billing_site.sandbox.models import SandboxObject
from invoicing.catalog.queries import published_version
from invoicing.meter_reports.models import MeterReport, RepairCase
from invoicing.meter_reports.plan import plan_reports
from invoicing.meter_reports.send import send_report
from invoicing.payments.models import StripeCustomer
from invoicing.subscriptions.metered_at_stripe import MeterReporting
from invoicing.subscriptions.start import start_subscription
from invoicing.workflows.report_usage import begin_reporting, end_reporting, next_hour
from invoicing.workflows.unbilled_usage import uncharged_usage
from metering.correcting import amend_event, cancel_event
from metering.models import Meter
from metering.rollup import roll_up
from tests.factories import a_plan, use
from tests.invoicing.meter_reports.building import (
    EVENT_NAME,
    a_meter_at_stripe,
    a_reporting,
    a_subscriber,
    at_stripe,
    finish,
    hours_ago,
    report,
)
from tests.invoicing.payments.building import killed_at, queued_jobs

ACME = "cust_acme"


@pytest.fixture
def acme(sandbox):
    """A customer whose usage Stripe's meter waits for."""
    a_meter_at_stripe(sandbox)
    return a_subscriber(sandbox=sandbox)


@pytest.mark.requirement("S4-023")
@pytest.mark.requirement("S4-001")
@pytest.mark.requirement("S4-011")
@pytest.mark.requirement("S4-020")
def test_each_hour_is_one_event_with_identifier_key_and_a_numeric_string(acme):
    a_reporting(acme)
    use(ACME, "2.5", at=hours_ago(3))
    use(ACME, "1", at=hours_ago(3) + timedelta(minutes=59))
    use(ACME, "4", at=hours_ago(2))

    planned = report()

    source = f"{hours_ago(3):%Y-%m-%dT%H}"
    (first, second) = SandboxObject.objects.filter(kind="billing.meter_event").order_by("position")
    assert planned == 2
    assert first.body["identifier"] == f"actions:sub_{ACME}:{source}:1"
    assert first.body["event_name"] == EVENT_NAME
    assert first.body["timestamp"] == int(hours_ago(3).timestamp())
    assert first.body["payload"] == {
        "stripe_customer_id": StripeCustomer.objects.get().stripe_id,
        "value": "3.5",
        "account_id": ACME,
        "request_id": source,
    }
    assert second.body["payload"]["value"] == "4"
    sent = MeterReport.objects.order_by("id").first()
    assert sent.status == "sent"
    assert sent.stripe_request_id.startswith("req_")


@pytest.mark.requirement("S4-057")
def test_the_hour_that_is_running_is_not_told_yet(acme):
    a_reporting(acme)
    use(ACME, "1", at=hours_ago(0))

    assert report(at=hours_ago(-1) + timedelta(minutes=4)) == 0
    assert report(at=hours_ago(-1) + timedelta(minutes=5)) == 1


@pytest.mark.requirement("S4-009")
@pytest.mark.requirement("S4-010")
def test_in_the_mode_of_events_each_event_is_told_with_its_own_key(acme):
    a_reporting(acme, mode="events")
    use(ACME, "2", at=hours_ago(1), key="req-1")
    use(ACME, "3", at=hours_ago(1), key="req-2")

    report()
    cancel_event(customer_id=ACME, idempotency_key="req-1", actor="ada", reason="sent by mistake")
    amend_event(customer_id=ACME, idempotency_key="req-2", changes={"quantity": "1"}, actor="ada", reason="was less")
    report()

    events = SandboxObject.objects.filter(kind="billing.meter_event").order_by("position")
    assert [event.body["payload"]["request_id"] for event in events] == ["req-1", "req-2", "req-2~amended-1"]
    assert list(at_stripe().values()) == [Decimal(1)]


@pytest.mark.requirement("S4-029")
@pytest.mark.requirement("S4-019")
@pytest.mark.requirement("S4-002")
@pytest.mark.requirement("S4-044")
@pytest.mark.requirement("S4-045")
def test_planned_and_sent_again_it_is_told_once(acme):
    a_reporting(acme)
    use(ACME, "7", at=hours_ago(2))
    report()
    row = MeterReport.objects.get()

    assert report() == 0
    send_report(report_id=row.pk, at=now())
    MeterReporting.objects.update(looked_through=0, looked_until=hours_ago(100))
    assert report() == 0

    assert list(at_stripe().values()) == [Decimal(7)]
    assert SandboxObject.objects.filter(kind="billing.meter_event").count() == 1


@pytest.mark.requirement("S4-039")
@pytest.mark.requirement("S4-040")
@pytest.mark.requirement("S4-052")
def test_less_usage_within_a_day_cancels_the_report_and_tells_the_rest(acme):
    a_reporting(acme)
    use(ACME, "7", at=hours_ago(2), key="one")
    use(ACME, "2", at=hours_ago(2), key="two")
    report()

    cancel_event(customer_id=ACME, idempotency_key="one", actor="ada", reason="sent by mistake")
    report()

    kinds = list(MeterReport.objects.order_by("ordinal").values_list("kind", "value", "status"))
    assert kinds == [("report", 9, "sent"), ("cancel", -9, "sent"), ("report", 2, "sent")]
    assert list(at_stripe().values()) == [Decimal(2)]


@pytest.mark.requirement("S4-015")
def test_less_usage_after_a_day_is_taken_back_by_a_report_below_zero(acme):
    a_reporting(acme)
    use(ACME, "7", at=hours_ago(60), key="one")
    use(ACME, "2", at=hours_ago(60), key="two")
    report()
    MeterReport.objects.update(first_sent_at=now() - timedelta(hours=23))

    cancel_event(customer_id=ACME, idempotency_key="one", actor="ada", reason="sent by mistake")
    report()

    assert [row.value for row in MeterReport.objects.order_by("ordinal")] == [9, -7]
    assert sum(at_stripe().values()) == 2


def test_a_cancel_that_comes_too_late_is_made_up_for_by_a_report_below_zero(acme):
    a_reporting(acme)
    use(ACME, "7", at=hours_ago(60), key="one")
    report()
    for event in SandboxObject.objects.filter(kind="billing.meter_event"):
        event.body["created"] -= 2 * 24 * 3600
        event.save()
    MeterReport.objects.update(first_sent_at=now() - timedelta(hours=22, minutes=59))

    cancel_event(customer_id=ACME, idempotency_key="one", actor="ada", reason="sent by mistake")
    roll_up()
    plan_reports(at=now())
    cancel = MeterReport.objects.get(kind="cancel")
    MeterReport.objects.filter(kind="report").update(first_sent_at=now() - timedelta(hours=24))
    send_report(report_id=cancel.pk, at=now())
    report()
    finish()

    assert [(row.kind, row.status) for row in MeterReport.objects.order_by("ordinal")] == [
        ("report", "sent"),
        ("cancel", "refused"),
        ("report", "sent"),
    ]
    assert sum(at_stripe().values()) == 0
    assert not RepairCase.objects.exists()


@pytest.mark.requirement("S4-030")
@pytest.mark.requirement("S4-024")
@pytest.mark.requirement("S4-022")
@pytest.mark.requirement("S4-012")
@pytest.mark.requirement("S4-031")
@pytest.mark.requirement("S4-026")
@pytest.mark.parametrize("fault", ["http_500", "rate_limit", "timeout_after_effect"])
def test_what_stripe_cannot_answer_now_is_told_once_with_the_same_keys(acme, sandbox, settings, fault):
    settings.STRIPE_TIMEOUT_SECONDS = 1
    a_reporting(acme)
    use(ACME, "7", at=hours_ago(2))

    sandbox.fault(fault, times=4)
    report()
    first = MeterReport.objects.get()
    sandbox.fault(fault, times=0)
    finish()

    assert (first.status, first.attempt_count > 0) == ("planned", True)
    assert first.last_error
    assert MeterReport.objects.get().status == "sent"
    assert list(at_stripe().values()) == [Decimal(7)]
    assert SandboxObject.objects.filter(kind="billing.meter_event").count() == 1


@pytest.mark.requirement("S4-021")
@pytest.mark.requirement("S4-047")
@pytest.mark.requirement("S4-025")
def test_an_event_that_stripe_has_although_its_answer_was_lost_is_taken_as_sent(acme):
    a_reporting(acme)
    use(ACME, "7", at=hours_ago(2))
    report()
    # As if the answer had never come, and Stripe had forgotten the idempotency key.
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM sandbox_sandboxrequest WHERE path = '/v1/billing/meter_events'")
    row = MeterReport.objects.get()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        MeterReport.objects.filter(pk=row.pk).update(status="planned", sent_at=None)

    send_report(report_id=row.pk, at=now())

    assert MeterReport.objects.get().status == "sent"
    assert SandboxObject.objects.filter(kind="billing.meter_event").count() == 1


def test_what_was_tried_a_day_ago_and_nobody_knows_of_is_not_sent_again(acme, sandbox):
    a_reporting(acme)
    use(ACME, "7", at=hours_ago(2))
    sandbox.fault("http_500", times=10)
    report()
    MeterReport.objects.update(first_sent_at=now() - timedelta(hours=23))
    sandbox.fault("http_500", times=0)

    finish()

    assert MeterReport.objects.get().status == "refused"
    assert RepairCase.objects.get().code == "outcome_unknown"
    assert at_stripe() == {}


@pytest.mark.requirement("S4-032")
def test_who_is_not_at_stripe_opens_a_repair_case(sandbox):
    a_meter_at_stripe(sandbox)
    a_reporting(a_subscriber())
    use(ACME, "7", at=hours_ago(2))

    report()

    case = RepairCase.objects.get()
    assert case.code == "meter_event_customer_not_found"
    assert case.report.reporting.customer.key == ACME
    assert MeterReport.objects.get().status == "refused"


@pytest.mark.slow
@pytest.mark.requirement("S4-027")
@pytest.mark.requirement("S4-050")
def test_a_worker_killed_at_any_step_tells_it_once(sandbox):
    a_meter_at_stripe(sandbox)
    killed = 0
    customers = []
    for step in range(1, 60):
        customer = a_subscriber(f"cust_{step}", sandbox)
        customers.append(customer)
        a_reporting(customer)
        use(customer.key, "7", at=hours_ago(2))
        roll_up()
        plan_reports(at=now() + timedelta(minutes=10))
        row = MeterReport.objects.get(reporting__customer=customer)
        if not killed_at(step, lambda pk=row.pk: send_report(report_id=pk, at=now())):
            break
        killed += 1
    finish()

    assert killed >= 8
    assert set(MeterReport.objects.values_list("status", flat=True)) == {"sent"}
    assert list(at_stripe().values()) == [Decimal(7)] * len(customers)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["use", "cancel", "amend", "fault", "age", "kill"]), st.integers(1, 3), st.integers(0, 50)
        ),
        min_size=3,
        max_size=9,
    ),
    mode=st.sampled_from(["windows", "events"]),
)
@pytest.mark.slow
def test_whatever_is_corrected_and_goes_wrong_what_stands_at_stripe_is_what_is_counted_here(sandbox, steps, mode):
    if not SandboxObject.objects.filter(kind="billing.meter").exists():
        a_meter_at_stripe(sandbox)
    number = MeterReporting.objects.count()
    key = f"cust_{number}"
    customer = a_subscriber(key, sandbox)
    a_reporting(customer, mode=mode)
    counted: dict[str, Decimal] = {}
    for place, (deed, which, quantity) in enumerate(steps):
        name = f"{key}-{which}"
        if deed == "use" and name not in counted:
            use(key, str(quantity), at=hours_ago(which + 1), key=name)
            counted[name] = Decimal(quantity)
        elif deed == "cancel" and counted.get(name) is not None:
            cancel_event(customer_id=key, idempotency_key=name, actor="ada", reason="by mistake")
            counted[name] = Decimal(-1)
        elif deed == "amend" and counted.get(name, Decimal(-1)) not in (Decimal(-1), Decimal(quantity)):
            amend_event(
                customer_id=key, idempotency_key=name, changes={"quantity": str(quantity)}, actor="ada", reason="wrong"
            )
            counted[name] = Decimal(quantity)
        elif deed == "fault":
            sandbox.fault("http_500", times=which)
        elif deed == "age":
            MeterReport.objects.filter(status="sent").update(first_sent_at=now() - timedelta(hours=23))
        elif deed == "kill":
            roll_up()
            planned = plan_reports(at=now() + timedelta(minutes=10))
            for row in MeterReport.objects.filter(status="planned")[:planned]:
                killed_at(which * 4, lambda pk=row.pk: send_report(report_id=pk, at=now()))
        if place % 2:
            report()
    sandbox.fault("http_500", times=0)
    report()
    finish()

    expected = sum((value for value in counted.values() if value > 0), Decimal(0))
    told = {name: value for name, value in at_stripe().items() if f":sub_{key}:" in name}
    assert sum(told.values(), Decimal(0)) == expected
    assert not RepairCase.objects.exists()
    assert not queued_jobs()


@pytest.mark.requirement("S4-006")
@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"default_aggregation[formula]": "last"}, "aggregates by last"),
        ({"customer_mapping[event_payload_key]": "account"}, "reads the customer from account"),
        ({"value_settings[event_payload_key]": "tokens"}, "reads the quantity from tokens"),
        ({"event_name": "another"}, "no active meter"),
    ],
)
def test_a_meter_at_stripe_that_would_not_count_our_reports_is_refused(sandbox, terms, words):
    a_meter_at_stripe(sandbox, **terms)

    with pytest.raises(InvalidInput, match=words):
        a_reporting(a_subscriber())


def test_what_stripe_settles_is_no_usage_that_nobody_is_charged_for(acme):
    use(ACME, "7", at=hours_ago(2))
    roll_up()
    before = uncharged_usage(at=now())

    a_reporting(acme)

    assert [(row.quantity, row.reason.name) for row in before] == [(Decimal(7), "NOT_PRICED")]
    assert uncharged_usage(at=now()) == []


def test_what_a_plan_prices_here_stripe_does_not_settle_too(acme):
    a_plan("pro")
    a_reporting(acme)
    terms = {
        "customer": acme,
        "plan_version": published_version(plan_key="pro"),
        "started_at": hours_ago(10),
        "actor": "test",
        "reason": "more",
    }

    with pytest.raises(Conflict, match="it would be charged twice"):
        start_subscription(key="sub_more", **terms)
    end_reporting(
        reporting_id=MeterReporting.objects.get().pk, ends_at=next_hour(at=now()), at=now(), actor="ada", reason="moved"
    )
    assert start_subscription(key="sub_more", **terms | {"started_at": next_hour(at=now())}).pk


def test_who_is_charged_for_a_meter_here_cannot_be_reported(sandbox):
    a_meter_at_stripe(sandbox)
    customer = a_subscriber()
    a_plan("pro")
    start_subscription(
        key="sub_more",
        customer=customer,
        plan_version=published_version(plan_key="pro"),
        started_at=hours_ago(10),
        actor="test",
        reason="more",
    )

    with pytest.raises(Conflict, match="it would be charged twice"):
        begin_reporting(
            subscription=customer.subscriptions.get(key=f"sub_{ACME}"),
            meter=Meter.objects.get(),
            mode="windows",
            event_name=EVENT_NAME,
            starts_at=hours_ago(5),
            at=now(),
            actor="test",
            reason="try",
        )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE invoicing_meterreport SET value = 1",
        "UPDATE invoicing_meterreport SET status = 'planned'",
        "UPDATE invoicing_meterreport SET status = 'refused', last_error = ''",
        "DELETE FROM invoicing_meterreport",
        "TRUNCATE invoicing_meterreport CASCADE",
        "INSERT INTO invoicing_meterreport (reporting_id, source, ordinal, kind, happened_at, value, identifier, request, status,"
        " attempt_count, next_attempt_at, last_error, stripe_request_id, planned_at) SELECT reporting_id, source, ordinal, kind,"
        " happened_at, value, 'another', '', 'planned', 0, next_attempt_at, '', '', planned_at FROM invoicing_meterreport",
        "UPDATE invoicing_meterreporting SET event_name = 'another'",
        "UPDATE invoicing_meterreporting SET mode = 'events'",
        "DELETE FROM invoicing_meterreporting",
        "UPDATE invoicing_subscriptionphase SET plan_version_id = (SELECT id FROM invoicing_planversion ORDER BY id DESC LIMIT 1)",
    ],
)
def test_raw_sql_cannot_change_what_was_told_or_charge_it_twice(acme, statement):
    a_reporting(acme)
    a_plan("pro")
    use(ACME, "7", at=hours_ago(2))
    report()

    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
