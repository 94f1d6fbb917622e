"""Find what Stripe's meters have not heard yet, and write it down to be sent: what was counted is told once, and corrected where it changes.

The rows of a source (an hour, an event) that are to be sent, accepted or given up add up to what was counted of it. So whoever plans
twice, or plans again after any correction, crash or refusal, writes the difference and nothing else.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from django.db import transaction

from billing_site.kernel.jobs import queue_each
from billing_site.kernel.period import Period, as_utc, hour_of
from invoicing.core.meter_reports import NOTHING, Standing, correction, identifier_of
from invoicing.meter_reports.models import COUNTED, MeterReport, ReportKind, ReportStatus
from invoicing.payments.patience import QUEUE_PATIENCE
from invoicing.subscriptions.metered_at_stripe import MeterReporting, ReportingMode
from metering.models import Meter
from metering.queries.reported import CountedEvent, events_changed, events_numbered, hours_changed

JOB = "invoicing.tasks.send_meter_report"
# An hour is told this long after its end: what comes later is a report of its own.
SETTLING = timedelta(minutes=5)
HOUR = timedelta(hours=1)
# No event is later.
FAR_AWAY = datetime(2999, 1, 1, tzinfo=UTC)
EVENT_SOURCE = "event-"


def plan_reports(*, at: datetime) -> int:
    """Write down what each reporting has to tell, and queue it; returns how many rows (S4-029, S4-057)."""
    reportings = MeterReporting.objects.order_by("id").values_list("id", flat=True)
    return sum(len(plan_reporting(reporting_id=reporting, at=at)) for reporting in reportings)


@transaction.atomic
def plan_reporting(*, reporting_id: int, at: datetime) -> list[MeterReport]:
    """Write down what one reporting has to tell since it was looked at last; twice is once."""
    reporting = _locked(reporting_id)
    # First the cursor: what is read afterwards holds all events up to it, and perhaps more, which is looked at again.
    through = Meter.objects.get(pk=reporting.meter_id).rolled_up_to
    until = hour_of(at - SETTLING)
    period = reported_period(reporting=reporting, until=until)
    counted: list[CountedEvent] = []
    if period is not None and reporting.mode == ReportingMode.WINDOWS:
        hours = hours_changed(
            meter=reporting.meter,
            customer_id=reporting.customer.key,
            period=period,
            after=reporting.looked_through,
            since=reporting.looked_until,
        )
        counted = [CountedEvent(0, hour, "", value) for hour, value in hours.items()]
    elif period is not None:
        counted = events_changed(
            meter=reporting.meter,
            customer_id=reporting.customer.key,
            period=period,
            after=reporting.looked_through,
            through=through,
        )
    planned = _plan(reporting, counted, at=at)
    MeterReporting.objects.filter(pk=reporting.pk).update(
        looked_through=max(through, reporting.looked_through), looked_until=max(until, reporting.looked_until)
    )
    return planned


@transaction.atomic
def plan_again(*, report: MeterReport, at: datetime) -> list[MeterReport]:
    """Write down what is missing, or too much, of the source of one report: after a refusal, or because somebody wants it."""
    reporting = _locked(report.reporting_id)
    return _plan(reporting, [counted_of(reporting=reporting, report=report)], at=at)


def counted_of(*, reporting: MeterReporting, report: MeterReport) -> CountedEvent:
    """Return what is counted now of the source of a report."""
    happened_at = as_utc(report.happened_at)
    if reporting.mode == ReportingMode.EVENTS:
        number = int(report.source.removeprefix(EVENT_SOURCE))
        moment = Period(happened_at, happened_at + timedelta(microseconds=1))
        found = events_numbered(
            meter=reporting.meter, customer_id=reporting.customer.key, period=moment, numbers=[number]
        )
        return found[0] if found else CountedEvent(number, happened_at, report.request, NOTHING)
    hours = hours_changed(
        meter=reporting.meter,
        customer_id=reporting.customer.key,
        period=Period(happened_at, happened_at + HOUR),
        after=-1,
        since=happened_at,
    )
    return CountedEvent(0, happened_at, "", hours.get(happened_at, NOTHING))


def reported_period(*, reporting: MeterReporting, until: datetime) -> Period | None:
    """Return the usage that a reporting is about so far: single events whenever they are, hours only once they are over."""
    ends = [reporting.ends_at, reporting.subscription.ended_at, FAR_AWAY]
    if reporting.mode == ReportingMode.WINDOWS:
        ends.append(until)
    end = min(as_utc(end) for end in ends if end is not None)
    return Period(as_utc(reporting.starts_at), end) if end > reporting.starts_at else None


def _locked(reporting_id: int) -> MeterReporting:
    """Return a reporting that nobody else plans for."""
    found = MeterReporting.objects.select_for_update(of=("self",), no_key=True)
    return found.select_related("meter", "customer", "subscription").get(pk=reporting_id)


def _plan(reporting: MeterReporting, counted: Sequence[CountedEvent], *, at: datetime) -> list[MeterReport]:
    sources = {_source(reporting, one): one for one in counted}
    told: dict[str, list[MeterReport]] = {source: [] for source in sources}
    for row in MeterReport.objects.filter(reporting=reporting, source__in=list(sources)).order_by("ordinal"):
        told[row.source].append(row)
    planned: list[MeterReport] = []
    for source, one in sources.items():
        planned += _rows(reporting, source, one, told[source], at=at)
    MeterReport.objects.bulk_create(planned)
    queue_each(JOB, [row.pk for row in planned])
    return planned


def _source(reporting: MeterReporting, one: CountedEvent) -> str:
    if reporting.mode == ReportingMode.EVENTS:
        return f"{EVENT_SOURCE}{one.number}"
    return f"{one.timestamp:%Y-%m-%dT%H}"


def _rows(
    reporting: MeterReporting, source: str, counted: CountedEvent, told: Sequence[MeterReport], *, at: datetime
) -> list[MeterReport]:
    """Return what one source still has to tell, unsaved: first what is taken back, then what is reported."""
    by_id = {row.pk: row for row in told}
    wanted = correction(
        counted=counted.value,
        standing=[Standing(row.pk, row.value, row.first_sent_at) for row in standing(rows=told)],
        settled=sum((row.value for row in told if row.status == ReportStatus.WAIVED), NOTHING),
        at=at,
    )
    ordinal = max((row.ordinal for row in told), default=0)
    rows = []
    for number in wanted.cancels:
        ordinal += 1
        before = by_id[number]
        rows.append(
            _row(
                reporting, source, counted, ordinal, at=at, kind=ReportKind.CANCEL, value=-before.value, cancels=before
            )
        )
    if wanted.value:
        rows.append(_row(reporting, source, counted, ordinal + 1, at=at, kind=ReportKind.REPORT, value=wanted.value))
    return rows


def standing(*, rows: Iterable[MeterReport]) -> list[MeterReport]:
    """Return the reports of one source that stand at Stripe or are on their way, and are not taken back, in the order of sending."""
    taken_back = {row.cancels_id for row in rows if row.kind == ReportKind.CANCEL and row.status in COUNTED}
    return [row for row in rows if row.kind == ReportKind.REPORT and row.status in COUNTED and row.pk not in taken_back]


def _row(
    reporting: MeterReporting, source: str, counted: CountedEvent, ordinal: int, *, at: datetime, **terms: object
) -> MeterReport:
    identifier = identifier_of(
        meter=reporting.meter.key, subscription=reporting.subscription.key, source=source, ordinal=ordinal
    )
    return MeterReport(
        reporting=reporting,
        source=source,
        ordinal=ordinal,
        happened_at=counted.timestamp,
        identifier=identifier,
        request=counted.idempotency_key,
        planned_at=at,
        next_attempt_at=at + QUEUE_PATIENCE,
        **terms,
    )
