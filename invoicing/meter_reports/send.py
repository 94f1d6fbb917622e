"""Send what is written down for Stripe's meters: each row at most once, however often it is tried, by its identifier and its idempotency key.

Stripe tells two sendings of one identifier from each other for a day only. So a row whose first attempt is older than that, and whose
outcome nobody knows, is not sent again: people look (S4-027).
"""

import logging
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from billing_site.kernel.period import as_utc
from invoicing.core.meter_reports import REPEATABLE, TAKEN, has_too_many_digits, value_text
from invoicing.meter_reports.models import CaseCode, MeterReport, RepairCase, ReportKind, ReportStatus
from invoicing.meter_reports.plan import JOB, plan_again
from invoicing.payments import meters
from invoicing.payments.breaker import outage_now
from invoicing.payments.due import queue_due
from invoicing.payments.locks import only_worker
from invoicing.payments.models import StripeCustomer
from invoicing.payments.patience import QUEUE_PATIENCE, next_attempt_after, with_jitter
from invoicing.payments.remote import GatewayRefused, GatewayUnavailable, NotNow

logger = logging.getLogger(__name__)

# What Stripe would refuse is not sent; the codes are Stripe's.
TOO_OLD = ("timestamp_too_far_in_past", "Stripe takes usage of the past 35 days only: settle it on an invoice of ours.")
TOO_LONG = ("meter_event_value_too_many_digits", "Stripe takes a value of at most 15 digits.")
NO_CUSTOMER = (
    "meter_event_customer_not_found",
    "Stripe does not know who pays: let the customer leave a card, or push an invoice to it; then send it again.",
)
UNKNOWN = (
    CaseCode.OUTCOME_UNKNOWN.value,
    "It was tried more than a day ago, and nobody knows whether Stripe has it: compare with Stripe's sums first.",
)


def send_report(*, report_id: int, at: datetime) -> MeterReport:
    """Tell Stripe of one row, and return it as it is then; does nothing where that is done, refused, or in another worker's hands.

    What Stripe cannot answer now is tried again with the same keys; what it refuses opens a repair case (S4-030..033).
    """
    with only_worker(f"meter report {report_id}") as alone:
        report = MeterReport.objects.select_related(
            "cancels", "reporting__customer__billed_to", "reporting__meter", "reporting__subscription"
        ).get(pk=report_id)
        if not alone or report.status != ReportStatus.PLANNED or outage_now() is not None:
            return report
        if report.kind == ReportKind.CANCEL:
            assert report.cancels is not None, "a cancel names what it takes back"
            if report.cancels.status == ReportStatus.REFUSED:
                _record(report, status=ReportStatus.WITHDRAWN)
                return report
            if report.cancels.status == ReportStatus.PLANNED:
                _record(report, next_attempt_at=at + QUEUE_PATIENCE)
                return report
        if report.happened_at > at:
            _record(report, next_attempt_at=report.happened_at)
            return report
        customer = StripeCustomer.objects.filter(customer=report.reporting.customer.payer_id).first()
        if (problem := _problem(report, customer, at=at)) is not None:
            refuse(report=report, code=problem[0], message=problem[1], at=at)
            return report
        assert customer is not None, "without a customer there is a problem"
        attempt = report.attempt_count + 1
        _record(
            report,
            attempt_count=attempt,
            first_sent_at=report.first_sent_at or at,
            next_attempt_at=next_attempt_after(attempt_count=attempt, at=at),
        )
        try:
            request_id = _tell(report, customer.stripe_id)
        except GatewayUnavailable as error:
            later = next_attempt_after(attempt_count=attempt, at=at, asked_seconds=error.retry_after_seconds)
            if isinstance(error, NotNow):
                later = at + with_jitter(timedelta(seconds=error.retry_after_seconds or 1))
            _record(report, last_error=error.message, next_attempt_at=later)
        except GatewayRefused as error:
            if report.kind == ReportKind.REPORT and attempt > 1 and meters.is_there_already(error):
                # It was there: an answer was lost (S4-047).
                _record(report, status=ReportStatus.SENT, sent_at=at, last_error="")
            else:
                refuse(report=report, code=error.code or error.param or "refused", message=error.message, at=at)
        else:
            _record(report, status=ReportStatus.SENT, sent_at=at, last_error="", stripe_request_id=request_id)
    return report


def sweep_reports(*, at: datetime) -> int:
    """Queue the rows whose next attempt is due; returns how many. None in an outage."""
    if outage_now() is not None:
        return 0
    return queue_due(waiting=MeterReport.objects.filter(status=ReportStatus.PLANNED), job=JOB, at=at)


@transaction.atomic
def refuse(*, report: MeterReport, code: str, message: str, at: datetime, notice: str = "") -> RepairCase | None:
    """Record that Stripe refused a row, at once or later, and open its repair case; a second time changes nothing (S4-036, S4-051).

    A cancel that is refused opens none: what it should have taken back is taken back by a report below zero. A cancel of a refused row is
    not needed any more.
    """
    held = MeterReport.objects.select_for_update(no_key=True).get(pk=report.pk)
    if held.status not in (ReportStatus.PLANNED, ReportStatus.SENT):
        return None
    logger.error("meter report %s was refused (%s): %s", held.identifier, code, message)
    report.status, report.last_error = ReportStatus.REFUSED, f"{code}: {message}"
    MeterReport.objects.filter(pk=report.pk).update(status=report.status, last_error=report.last_error)
    if report.kind == ReportKind.CANCEL and code != CaseCode.OUTCOME_UNKNOWN:
        plan_again(report=report, at=at)
        return None
    cancels = MeterReport.objects.filter(cancels=report.pk)
    cancels.filter(status=ReportStatus.PLANNED).update(status=ReportStatus.WITHDRAWN)
    if cancels.exclude(status=ReportStatus.REFUSED).exists():
        return None
    return RepairCase.objects.create(
        reporting_id=report.reporting_id,
        report=report,
        subject=report.identifier,
        code=code[:100],
        message=message,
        notice=notice,
        opened_at=at,
    )


def _problem(report: MeterReport, customer: StripeCustomer | None, *, at: datetime) -> tuple[str, str] | None:
    """Return why a row cannot be sent: a code and words."""
    if report.first_sent_at is not None and at >= as_utc(report.first_sent_at) + REPEATABLE:
        return UNKNOWN
    if report.kind == ReportKind.REPORT and report.happened_at < at - TAKEN:
        return TOO_OLD
    if has_too_many_digits(value=report.value):
        return TOO_LONG
    return NO_CUSTOMER if customer is None else None


def _tell(report: MeterReport, stripe_customer: str) -> str:
    reporting = report.reporting
    if report.cancels is not None:
        return meters.cancel_meter_event(
            event_name=reporting.event_name,
            identifier=report.cancels.identifier,
            idempotency_key=report.idempotency_key,
        )
    return meters.create_meter_event(
        event_name=reporting.event_name,
        identifier=report.identifier,
        customer=stripe_customer,
        value=value_text(value=report.value),
        happened_at=report.happened_at,
        # By which a refusal leads back to account and request (S4-023).
        correlation={"account_id": reporting.customer.key, "request_id": (report.request or report.source)[:500]},
        idempotency_key=report.idempotency_key,
    )


def _record(report: MeterReport, **changes: Any) -> None:
    """Commit what is known by now: we may be killed at the next call. An error report may have come before the answer: it stands."""
    with transaction.atomic(durable=True):
        changed = MeterReport.objects.filter(pk=report.pk, status=ReportStatus.PLANNED).update(**changes)
    if not changed:
        report.refresh_from_db()
        return
    for name, value in changes.items():
        setattr(report, name, value)
