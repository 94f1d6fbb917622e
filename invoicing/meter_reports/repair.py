"""Repair what Stripe's meters do not have as they should: its error reports open cases, people send again or give up, with a reason."""

from datetime import datetime

from django.db import transaction

from billing_site.kernel.errors import Conflict, NotFound
from billing_site.kernel.reasons import checked_reason
from invoicing.core.meter_reports import NOTHING, identifier_of
from invoicing.meter_reports.models import CaseCode, MeterReport, RepairCase, ReportKind, ReportStatus
from invoicing.meter_reports.plan import counted_of, plan_again, standing
from invoicing.meter_reports.send import refuse
from invoicing.payments.meters import ErrorReport
from invoicing.subscriptions.metered_at_stripe import MeterReporting

# How a request's idempotency key begins: Stripe names it, or the identifier.
KEY_PREFIX = "meter:"


@transaction.atomic
def follow_error_report(*, report: ErrorReport, notice: str, at: datetime) -> str:
    """Open a case for each event that an error report names, and say what came of it in words; the same report twice opens none (S4-035, S4-051).

    Of many refused events Stripe names some only: the daily comparison finds the rest.
    """
    opened = 0
    for refusal in report.refusals:
        identifier = refusal.identifier.removeprefix(KEY_PREFIX)
        row = MeterReport.objects.filter(identifier=identifier).first()
        if row is not None:
            opened += refuse(report=row, code=refusal.code, message=refusal.message, at=at, notice=notice) is not None
            continue
        _, is_new = RepairCase.objects.get_or_create(
            reporting=None,
            report=None,
            subject=refusal.identifier[:200],
            code=CaseCode.NOT_OURS,
            notice=notice,
            defaults={"message": f"{refusal.code}: {refusal.message}", "opened_at": at},
        )
        opened += is_new
    return f"{report.error_count} refused by meter {report.meter or 'unknown'}: {opened} repair cases opened"


@transaction.atomic
def send_again(*, case_id: int, at: datetime, actor: str, reason: str) -> list[MeterReport]:
    """Close a case by telling Stripe what it lacks of it, as it is counted now, under a new identifier; returns what is sent.

    Raises NotFound; Conflict for a case that is closed or about no report of ours.
    """
    case = _open_case(case_id)
    if case.report is None:
        raise Conflict("the case is about no single report: nothing can be sent again", field="case")
    planned = plan_again(report=case.report, at=at)
    _close(case, at=at, actor=actor, reason=reason, outcome=f"sent again ({len(planned)})")
    return planned


@transaction.atomic
def give_up(*, case_id: int, at: datetime, actor: str, reason: str) -> RepairCase:
    """Close a case without telling Stripe: what is missing counts as reported from now on. Raises NotFound, Conflict for a closed one."""
    case = _open_case(case_id)
    if case.report is not None:
        _waive(case.report, at=at)
    return _close(case, at=at, actor=actor, reason=reason, outcome="given up")


def _waive(report: MeterReport, *, at: datetime) -> None:
    found = MeterReporting.objects.select_for_update(of=("self",), no_key=True)
    reporting = found.select_related("meter", "customer", "subscription").get(pk=report.reporting_id)
    rows = list(MeterReport.objects.filter(reporting=reporting, source=report.source).order_by("ordinal"))
    counted = counted_of(reporting=reporting, report=report)
    told = sum((row.value for row in standing(rows=rows)), NOTHING)
    told += sum((row.value for row in rows if row.status == ReportStatus.WAIVED), NOTHING)
    if counted.value == told:
        return
    ordinal = rows[-1].ordinal + 1
    MeterReport.objects.create(
        reporting=reporting,
        source=report.source,
        ordinal=ordinal,
        kind=ReportKind.WAIVER,
        status=ReportStatus.WAIVED,
        happened_at=report.happened_at,
        value=counted.value - told,
        identifier=identifier_of(
            meter=reporting.meter.key, subscription=reporting.subscription.key, source=report.source, ordinal=ordinal
        ),
        request=report.request,
        planned_at=at,
        next_attempt_at=at,
    )


def _open_case(case_id: int) -> RepairCase:
    case = RepairCase.objects.select_for_update(of=("self",)).select_related("report").filter(pk=case_id).first()
    if case is None:
        raise NotFound("there is no such repair case", field="case")
    if case.closed_at is not None:
        raise Conflict(f"the case is closed already: {case.closed_because}", field="case")
    return case


def _close(case: RepairCase, *, at: datetime, actor: str, reason: str, outcome: str) -> RepairCase:
    assert actor, "a case is closed by somebody"
    reason = checked_reason(reason=reason)
    case.closed_at, case.closed_by, case.closed_because = at, actor, f"{outcome}: {reason}"[:300]
    case.save(update_fields=["closed_at", "closed_by", "closed_because"])
    return case
