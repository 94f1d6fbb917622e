"""What the portal's home page shows, as one query function."""

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

from moneyed import Money

from billing_site.kernel.money import EXACT, total
from billing_site.kernel.period import Period
from invoicing.core.contract import RatedLine
from invoicing.core.rating import rate_charge
from invoicing.customers.models import Customer
from invoicing.customers.queries import customer_by_key
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.subscriptions.snapshot import periods_due, periods_running
from invoicing.workflows.compute_invoice import ComputedInvoice, compute_invoice
from metering.queries import usage_windows
from metering.rollup import roll_up

MICROSECOND = timedelta(microseconds=1)
PACE_NEEDS = timedelta(days=1)
INVOICES_SHOWN_MAX = 24


@dataclass(frozen=True)
class DailyUsage:
    """One meter's usage day by day, for the chart and for the table behind it."""

    meter: str
    name: str
    unit: str
    days: tuple[tuple[date, Decimal], ...]

    @property
    def total(self) -> Decimal:
        """The sum over all days."""
        return sum((value for _, value in self.days), Decimal(0))


@dataclass(frozen=True)
class RunningPeriod:
    """The period that runs: so far, at this pace, and the period before at the same point."""

    period: Period
    first_day: date
    last_day: date
    days_left: int
    lines: tuple[RatedLine, ...]
    so_far: Money
    at_this_pace: Money | None
    before_at_this_point: Money | None
    usage: tuple[DailyUsage, ...]


@dataclass(frozen=True)
class HomePage:
    """Everything on the portal's first page."""

    customer: Customer
    zone: ZoneInfo
    at: datetime
    running: tuple[RunningPeriod, ...]
    invoices: tuple[Invoice, ...]
    invoice_count: int
    due: Money


def home_page(*, customer_key: str, at: datetime) -> HomePage:
    """Return the page of one customer at a moment; usage includes every event accepted before."""
    customer = customer_by_key(key=customer_key)
    roll_up()
    issued = (
        Invoice.objects.filter(customer=customer).exclude(status=InvoiceStatus.DRAFT).order_by("-period_end", "-id")
    )
    open_invoices = issued.filter(status=InvoiceStatus.ISSUED)
    return HomePage(
        customer=customer,
        zone=ZoneInfo(customer.timezone),
        at=at,
        running=tuple(_running(customer, period, at=at) for period in periods_running(customer=customer, moment=at)),
        invoices=tuple(issued[:INVOICES_SHOWN_MAX]),
        invoice_count=issued.count(),
        due=total((invoice.total - invoice.amount_paid for invoice in open_invoices), customer.currency),
    )


def _running(customer: Customer, period: Period, *, at: datetime) -> RunningPeriod:
    zone = ZoneInfo(customer.timezone)
    computed = compute_invoice(customer=customer, period=period, until=at)
    last_day = (period.end.astimezone(zone) - timedelta(microseconds=1)).date()
    return RunningPeriod(
        period=period,
        first_day=period.start.astimezone(zone).date(),
        last_day=last_day,
        days_left=(last_day - at.astimezone(zone).date()).days,
        lines=computed.assembled.lines,
        so_far=computed.assembled.total,
        at_this_pace=_at_this_pace(computed, at=at),
        before_at_this_point=_before(customer, period, at=at),
        usage=_usage_by_day(customer, computed, at=at),
    )


def _at_this_pace(computed: ComputedInvoice, *, at: datetime) -> Money | None:
    """Rate the usage that the period will have if it goes on like this; None in its first day."""
    snapshot = computed.contract.snapshot
    amounts = []
    for charge, line in zip(snapshot.charges, computed.assembled.lines, strict=True):
        usage = line.usage
        if usage is not None:
            elapsed = min(at, charge.service_period.end) - charge.service_period.start
            if elapsed < PACE_NEEDS:
                return None
            pace = Fraction(charge.service_period.duration // MICROSECOND, elapsed // MICROSECOND)
            usage = replace(usage, quantity=_scaled(usage.quantity, pace))
        amounts.append(rate_charge(charge=charge, usage=usage, currency=snapshot.currency).amount)
    return total(amounts, snapshot.currency)


def _scaled(quantity: Decimal, pace: Fraction) -> Decimal:
    exact = Fraction(quantity) * pace
    return EXACT.divide(Decimal(exact.numerator), Decimal(exact.denominator)).quantize(Decimal("1"))


def _before(customer: Customer, period: Period, *, at: datetime) -> Money | None:
    """Return what the period before had come to at the same point; None where there was none."""
    earlier = [past for past in periods_due(customer=customer, until=period.start) if past.end == period.start]
    if not earlier:
        return None
    until = min(earlier[-1].start + (at - period.start), earlier[-1].end)
    computed = compute_invoice(customer=customer, period=earlier[-1], until=until)
    return computed.assembled.total


def _usage_by_day(customer: Customer, computed: ComputedInvoice, *, at: datetime) -> tuple[DailyUsage, ...]:
    zone = ZoneInfo(customer.timezone)
    found: dict[str, DailyUsage] = {}
    for charge in computed.contract.snapshot.charges:
        if charge.meter is None or charge.meter in found:
            continue
        until = min(charge.service_period.end, at)
        by_day: dict[date, Decimal] = {}
        day = charge.service_period.start.astimezone(zone).date()
        while day <= (until - timedelta(microseconds=1)).astimezone(zone).date():
            by_day[day] = Decimal(0)
            day += timedelta(days=1)
        windows = usage_windows(
            meter_key=charge.meter,
            customer_id=customer.key,
            period=replace(charge.service_period, end=until),
            granularity="hour",
        )
        for window in windows:
            day = window.start.astimezone(zone).date()
            by_day[day] = by_day.get(day, Decimal(0)) + window.value
        found[charge.meter] = DailyUsage(charge.meter, charge.name, charge.unit, tuple(sorted(by_day.items())))
    return tuple(found.values())
