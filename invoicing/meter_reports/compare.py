"""Compare, day by day, what Stripe's meters have counted with what is counted here: the only way to hear of what no error report names (S4-055)."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import transaction

from billing_site.kernel.money import plain
from billing_site.kernel.period import Period, as_utc
from invoicing.core.meter_reports import NOTHING
from invoicing.meter_reports.models import CaseCode, MeterReport, RepairCase, ReportStatus
from invoicing.meter_reports.plan import reported_period
from invoicing.payments.breaker import outage_now
from invoicing.payments.meters import sums_by_day
from invoicing.payments.models import StripeCustomer
from invoicing.payments.remote import GatewayRefused, GatewayUnavailable
from invoicing.subscriptions.metered_at_stripe import MeterReporting
from metering.queries.reported import hours_of

# Each day is looked at so often: what Stripe counts lags behind what it accepts.
DAYS = 3
DAY = timedelta(days=1)
ACTOR = "daily comparison"


def compare_sums(*, at: datetime) -> int:
    """Compare the last whole days of every customer and meter at Stripe, open a case where one differs, close it where it does no more.

    Returns how many days differ. Of what cannot be asked now the next day's run tells. Call it outside of a transaction.
    """
    end = as_utc(at).replace(hour=0, minute=0, second=0, microsecond=0)
    span = Period(end - DAYS * DAY, end)
    differing = 0
    for (customer, meter), reportings in _together(span).items():
        if outage_now() is not None:
            break
        try:
            there = sums_by_day(meter=meter, customer=customer, start=span.start, end=span.end)
        except (GatewayUnavailable, GatewayRefused):
            continue
        for number in range(DAYS):
            day = Period(span.start + number * DAY, span.start + (number + 1) * DAY)
            differing += _judge(reportings, day, there.get(day.start, NOTHING), at=at)
    return differing


def _together(span: Period) -> dict[tuple[str, str], list[MeterReporting]]:
    """Return the reportings by what Stripe adds up: several accounts may be paid for by one customer there."""
    known = dict(StripeCustomer.objects.values_list("customer_id", "stripe_id"))
    found: dict[tuple[str, str], list[MeterReporting]] = {}
    for one in MeterReporting.objects.exclude(ends_at__lte=span.start).select_related(
        "meter", "customer__billed_to", "subscription"
    ):
        if one.customer.payer_id in known:
            found.setdefault((known[one.customer.payer_id], one.stripe_meter_id), []).append(one)
    return found


@transaction.atomic
def _judge(reportings: Sequence[MeterReporting], day: Period, there: Decimal, *, at: datetime) -> bool:
    """Say whether a day differs, with a case for it; one of which something is still on its way, or in another case, is not judged."""
    rows = MeterReport.objects.filter(reporting__in=reportings, happened_at__gte=day.start, happened_at__lt=day.end)
    waits = rows.filter(status=ReportStatus.PLANNED).exists()
    if waits or RepairCase.objects.filter(report__in=rows, closed_at=None).exists():
        return False
    given_up = sum(rows.filter(status=ReportStatus.WAIVED).values_list("value", flat=True), NOTHING)
    here = sum((_counted(one, day) for one in reportings), NOTHING) - given_up
    cases = RepairCase.objects.filter(
        reporting=reportings[0], subject=f"{day.start:%Y-%m-%d}", code=CaseCode.SUMMARY_DIFFERS
    )
    if here == there:
        for case in cases.filter(closed_at=None):
            case.closed_at, case.closed_by, case.closed_because = at, ACTOR, "Stripe's sum is ours"
            case.save(update_fields=["closed_at", "closed_by", "closed_because"])
        return False
    difference = f"{plain(here - there)} are missing" if there < here else f"{plain(there - here)} are too many"
    message = f"Stripe has counted {plain(there)}, we {plain(here)}: {difference} there."
    # Somebody has looked at it, or does.
    if not cases.filter(message=message).exists() and not cases.filter(closed_at=None).exists():
        RepairCase.objects.create(
            reporting=reportings[0],
            subject=f"{day.start:%Y-%m-%d}",
            code=CaseCode.SUMMARY_DIFFERS,
            message=message,
            opened_at=at,
        )
    return True


def _counted(reporting: MeterReporting, day: Period) -> Decimal:
    period = reported_period(reporting=reporting, until=day.end)
    shared = period.intersection(day) if period is not None else None
    if shared is None:
        return NOTHING
    return sum(hours_of(meter=reporting.meter, customer_id=reporting.customer.key, period=shared).values(), NOTHING)
