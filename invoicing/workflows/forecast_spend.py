"""What the running period will come to, from the usage of the last whole weeks: a range and its reason, or why there is none."""

from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

from billing_site.kernel.period import Period
from invoicing.core.consumers import consumer_of
from invoicing.core.forecast import WEEK, WEEKS_MAX, NotEnoughHistory
from invoicing.core.projecting import MeterHistory, SpendForecast, project_spend
from invoicing.customers.models import Customer
from invoicing.subscriptions.models import Subscription
from invoicing.workflows.compute_invoice import ComputedInvoice
from metering.models import Meter
from metering.queries import usage_by_date

# Of these the usage of a period is the sum of its days.
ADDS_UP = ("sum", "count", "time_weighted_sum")
MICROSECOND = timedelta(microseconds=1)


def forecast_spend(*, customer: Customer, computed: ComputedInvoice, at: datetime) -> SpendForecast | str:
    """Return what a computed running period is expected to cost at its end (S3-048), or in words why that cannot be told.

    Days are the customer's. Those before the first subscription of who uses something say nothing about what will be used.
    """
    snapshot = computed.contract.snapshot
    zone = ZoneInfo(customer.timezone)
    today = at.astimezone(zone).date()
    by_reference = {
        charge.reference: (
            consumer_of(snapshot=computed.contract.snapshot, subscription=charge.subscription),
            charge.meter,
        )
        for charge in snapshot.charges
        if charge.meter is not None
    }
    counted = {one: _history(*one, zone=zone, today=today, at=at) for one in sorted(set(by_reference.values()))}
    histories = {reference: counted[one] for reference, one in by_reference.items()}
    days = {
        charge.reference: (
            charge.service_period.start.astimezone(zone).date(),
            (charge.service_period.end - MICROSECOND).astimezone(zone).date(),
        )
        for charge in snapshot.charges
    }
    try:
        return project_spend(
            snapshot=snapshot,
            lines=computed.assembled.lines,
            histories=histories,
            days=days,
            today=today,
        )
    except NotEnoughHistory as problem:
        return f"A forecast needs {problem.needed} whole days of usage; {problem.known} are known so far."


def _history(consumer: str, meter_key: str, *, zone: ZoneInfo, today: date, at: datetime) -> MeterHistory:
    adds_up = Meter.objects.values_list("aggregation", flat=True).get(key=meter_key) in ADDS_UP
    if not adds_up:
        return MeterHistory(known=(), today=Fraction(0), adds_up=False)
    first = min(max(today - timedelta(days=WEEK * WEEKS_MAX), _first_whole_day(consumer, zone)), today)
    counted = usage_by_date(
        meter_key=meter_key,
        customer_id=consumer,
        period=Period(_midnight(first, zone), max(at, _midnight(today, zone) + MICROSECOND)),
        zone=zone,
    )
    by_day = dict(counted.days)
    known = tuple(Fraction(by_day.get(first + timedelta(days=number), 0)) for number in range((today - first).days))
    return MeterHistory(known=known, today=Fraction(by_day.get(today, 0)), adds_up=True)


def _first_whole_day(consumer: str, zone: ZoneInfo) -> date:
    """Return the first day on which a customer, named by its key, had a subscription from the beginning of the day on."""
    theirs = Subscription.objects.filter(customer__key=consumer).order_by("started_at")
    started_at = theirs.values_list("started_at", flat=True)[:1].get()
    local = started_at.astimezone(zone)
    return local.date() if local.time() == time() else local.date() + timedelta(days=1)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)
