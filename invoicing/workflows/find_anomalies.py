"""Unusual usage: which customer, which meter, which day, how much, and what would have been usual (S0-142, S3-018)."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

from django.db import transaction
from django.db.models import Min

from billing_site.kernel.model import EXACT_PLACES
from billing_site.kernel.money import EXACT
from invoicing.core.anomaly import DAYS, Unusual, unusual_day
from invoicing.customers.models import Customer
from invoicing.spend.models import SpendProgress, UsageAnomaly
from invoicing.subscriptions.queries import phases_in_force
from metering.models import Meter
from metering.queries.daily import usage_by_day_of_many
from metering.queries.touched import customers_touched
from metering.rollup import roll_up

BATCH_CUSTOMERS = 500
DAY = timedelta(days=1)


def sweep_anomalies(*, at: datetime) -> list[UsageAnomaly]:
    """Look at yesterday and today of the customers whose usage moved since the last sweep, and once a day of all.

    It may run twice or at once: a customer, meter and day is told once. Returns what is told now.
    """
    mark = roll_up().rolled_up_to
    progress, _ = SpendProgress.objects.get_or_create(pk=1, defaults={"looked_through": mark})
    in_force = Customer.objects.filter(pk__in=phases_in_force(at=at).values("subscription__customer"))
    customers = in_force.annotate(began_at=Min("subscriptions__started_at")).order_by("pk")
    if progress.examined_date == at.date():
        touched = customers_touched(after=progress.examined_through, through=mark)
        if not touched.everybody:
            customers = customers.filter(key__in=list(touched.customers))
    told: list[UsageAnomaly] = []
    rows = list(customers)
    for place in range(0, len(rows), BATCH_CUSTOMERS):
        told += _tell(list(find_anomalies(customers=rows[place : place + BATCH_CUSTOMERS], at=at)))
    SpendProgress.objects.filter(pk=1).update(examined_through=mark, examined_date=at.date())
    return told


def find_anomalies(*, customers: Sequence[Customer], at: datetime) -> Iterator[UsageAnomaly]:
    """Yield what is unusual about the customers' last two days, without storing it; `began_at` is their first subscription's start."""
    by_key = {customer.key: customer for customer in customers}
    zones = {customer.key: customer.timezone for customer in customers}
    units = dict(Meter.objects.values_list("key", "unit"))
    # Two days more on both sides: the customers' days begin up to 14 hours from those of UTC.
    used = usage_by_day_of_many(zones=zones, start=at - (DAYS + 4) * DAY, end=at + 2 * DAY)
    for (key, meter), days in sorted(used.items()):
        customer = by_key[key]
        zone = ZoneInfo(customer.timezone)
        today = at.astimezone(zone).date()
        usage = {day: Fraction(quantity) for day, quantity in days.items()}
        first_day = customer.began_at.astimezone(zone).date() + DAY  # type: ignore[attr-defined]
        for day in (today - DAY, today):
            found = unusual_day(usage=usage, day=day, first_day=first_day, is_over=day < today)
            if found is not None:
                yield _row(customer, meter, units[meter], day, found, at=at)


def _row(customer: Customer, meter: str, unit: str, day: date, found: Unusual, *, at: datetime) -> UsageAnomaly:
    return UsageAnomaly(
        customer=customer,
        meter=meter,
        unit=unit,
        day=day,
        direction=found.direction.value,
        quantity=_decimal(found.quantity),
        usual_low=_decimal(found.low),
        usual_high=_decimal(found.high),
        usual=_decimal(found.middle),
        day_count=found.day_count,
        noticed_at=at,
    )


def _decimal(number: Fraction) -> Decimal:
    """Return a quantity as its column keeps it; a quartile of decimals has some digits more than they."""
    return EXACT.divide(Decimal(number.numerator), Decimal(number.denominator)).quantize(
        Decimal(1).scaleb(-EXACT_PLACES), context=EXACT
    )


@transaction.atomic
def _tell(found: Sequence[UsageAnomaly]) -> list[UsageAnomaly]:
    """Store what was not told yet, and return it."""
    told = set(
        UsageAnomaly.objects.filter(
            customer__in={row.customer_id for row in found}, day__in={row.day for row in found}
        ).values_list("customer_id", "meter", "day")
    )
    new = [row for row in found if (row.customer_id, row.meter, row.day) not in told]
    return UsageAnomaly.objects.bulk_create(new, ignore_conflicts=True)
