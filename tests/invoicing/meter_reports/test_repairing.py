"""What Stripe refuses after it has accepted it opens a case that leads back to request and account; people send again or give up."""

from datetime import timedelta
from decimal import Decimal

import pytest

from billing_site.kernel.clock import now
from billing_site.kernel.errors import Conflict, InvalidInput, NotFound
from billing_site.sandbox.delivery import signature_of
from invoicing.meter_reports.models import MeterReport, RepairCase
from invoicing.meter_reports.plan import plan_reports
from invoicing.meter_reports.repair import give_up, send_again
from invoicing.meter_reports.send import send_report
from invoicing.payments import gateway
from invoicing.payments.models import StripeNotice
from invoicing.payments.remote import SignatureInvalid
from metering.correcting import cancel_event
from metering.rollup import roll_up
from tests.factories import use
from tests.invoicing.meter_reports.building import (
    EVENT_NAME,
    a_meter_at_stripe,
    a_reporting,
    a_subscriber,
    at_stripe,
    hours_ago,
    report,
)
from tests.invoicing.payments.building import deliver, run_queued_jobs

ACME = "cust_acme"
BY = {"actor": "ada", "reason": "looked at with Stripe"}


@pytest.fixture
def acme(sandbox):
    a_meter_at_stripe(sandbox)
    return a_subscriber(sandbox=sandbox)


@pytest.fixture
def refused(acme, sandbox, listener):
    """A report of 7 that Stripe accepted and then refused."""
    a_reporting(acme, mode="events")
    use(ACME, "7", at=hours_ago(2), key="req-1")
    report()
    identifier = MeterReport.objects.get().identifier
    sandbox.post("/_sandbox/meter_events", {"identifier": identifier, "code": "meter_event_invalid_value"})
    deliver(sandbox, listener)
    run_queued_jobs()
    return RepairCase.objects.get()


@pytest.mark.requirement("S4-036")
@pytest.mark.requirement("S4-008")
@pytest.mark.requirement("S4-003")
@pytest.mark.requirement("S4-013")
@pytest.mark.requirement("S4-035")
@pytest.mark.requirement("S4-038")
def test_an_error_report_opens_a_case_that_leads_to_request_and_account(refused):
    row = refused.report

    assert refused.code == "meter_event_invalid_value"
    assert refused.notice.startswith("evt_test_")
    assert (row.status, row.request, row.reporting.customer.key) == ("refused", "req-1", ACME)
    assert row.last_error == "meter_event_invalid_value: A refusal that was ordered."
    assert StripeNotice.objects.get().outcome.endswith("1 repair cases opened")


@pytest.mark.requirement("S4-046")
@pytest.mark.requirement("S4-051")
def test_the_same_error_report_again_opens_no_second_case(refused, sandbox, listener):
    sandbox.post(
        "/_sandbox/meter_events", {"identifier": refused.report.identifier, "code": "meter_event_invalid_value"}
    )
    deliver(sandbox, listener)
    run_queued_jobs()

    assert RepairCase.objects.count() == 1


@pytest.mark.requirement("S4-014")
def test_sent_again_it_stands_at_stripe_once(refused):
    planned = send_again(case_id=refused.pk, at=now(), **BY)
    run_queued_jobs()

    refused.refresh_from_db()
    assert [row.ordinal for row in planned] == [2]
    assert list(at_stripe().values()) == [Decimal(7)]
    assert refused.closed_because == "sent again (1): looked at with Stripe"
    with pytest.raises(Conflict, match="closed already"):
        send_again(case_id=refused.pk, at=now(), **BY)


def test_sent_again_it_is_told_as_it_is_counted_now(refused):
    cancel_event(customer_id=ACME, idempotency_key="req-1", actor="ada", reason="by mistake")
    report()

    assert send_again(case_id=refused.pk, at=now(), **BY) == []
    assert at_stripe() == {}


def test_given_up_it_counts_as_told_and_what_changes_later_is_told(refused):
    give_up(case_id=refused.pk, at=now(), **BY)

    assert report() == 0
    assert [(row.kind, row.status, row.value) for row in MeterReport.objects.order_by("ordinal")] == [
        ("report", "refused", 7),
        ("waiver", "waived", 7),
    ]
    assert RepairCase.objects.get().closed_because == "given up: looked at with Stripe"


def test_a_case_is_closed_with_a_reason_and_only_one_that_is_there(refused):
    with pytest.raises(InvalidInput):
        give_up(case_id=refused.pk, at=now(), actor="ada", reason=" ")
    with pytest.raises(NotFound):
        give_up(case_id=refused.pk + 1, at=now(), **BY)


@pytest.mark.requirement("S4-055")
@pytest.mark.requirement("S4-033")
@pytest.mark.requirement("S4-016")
@pytest.mark.requirement("S4-034")
def test_stripe_refuses_later_what_it_accepted_for_a_meter_that_was_archived(acme, sandbox, listener):
    meter = sandbox.get("/v1/billing/meters")["data"][0]["id"]
    a_reporting(acme)
    sandbox.post(f"/v1/billing/meters/{meter}/deactivate")
    use(ACME, "7", at=hours_ago(2))

    report()
    accepted = MeterReport.objects.get().status
    deliver(sandbox, listener)
    run_queued_jobs()

    assert accepted == "sent"
    assert MeterReport.objects.get().status == "refused"
    assert RepairCase.objects.get().code == "archived_meter"


def test_usage_older_than_stripe_takes_opens_a_case_without_a_call(acme):
    reporting = a_reporting(acme)
    use(ACME, "7", at=hours_ago(30))

    at = hours_ago(30) + timedelta(days=35)
    roll_up()
    plan_reports(at=at)
    send_report(report_id=MeterReport.objects.get(reporting=reporting).pk, at=at)

    assert RepairCase.objects.get().code == "timestamp_too_far_in_past"


def test_an_event_of_somebody_else_is_a_case_without_a_report(acme, sandbox, listener):
    sandbox.post(
        "/v1/billing/meter_events",
        {
            "event_name": EVENT_NAME,
            "identifier": "by-hand",
            "payload[value]": "1",
            "payload[stripe_customer_id]": "cus_x",
        },
    )
    deliver(sandbox, listener)
    run_queued_jobs()

    case = RepairCase.objects.get()
    assert (case.code, case.subject, case.report) == ("not_ours", "by-hand", None)
    assert case.message.startswith("meter_event_customer_not_found")
    with pytest.raises(Conflict, match="no single report"):
        send_again(case_id=case.pk, at=now(), **BY)
    assert give_up(case_id=case.pk, at=now(), **BY).closed_by == "ada"


@pytest.mark.requirement("S4-037")
def test_other_thin_events_pass_through_harmlessly(acme, sandbox, listener):
    sandbox.post(
        "/v1/billing/meter_events",
        {"event_name": "nobody", "identifier": "x", "payload[value]": "1", "payload[stripe_customer_id]": "cus_x"},
    )
    deliver(sandbox, listener)
    run_queued_jobs()

    assert StripeNotice.objects.get().outcome == "ignored: nothing here depends on v1.billing.meter.no_meter_found"
    assert not RepairCase.objects.exists()


def test_a_thin_event_is_signed_with_the_secret_of_its_own_destination(settings):
    settings.STRIPE_WEBHOOK_SECRET = "whsec_of_the_other"
    settings.STRIPE_WEBHOOK_SECRETS_BESIDE = ["whsec_of_thin_events"]
    thin = b'{"id": "evt_test_1", "object": "v2.core.event", "type": "v1.x", "created": "2026-11-22T09:00:00.000Z"}'
    second = int(now().timestamp())

    signature = signature_of(thin, secret="whsec_of_thin_events", at_seconds=second)
    assert gateway.verified_event(payload=thin, signature=signature).id == "evt_test_1"
    with pytest.raises(SignatureInvalid):
        gateway.verified_event(payload=thin, signature=signature_of(thin, secret="whsec_x", at_seconds=second))
