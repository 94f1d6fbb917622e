"""What dating a meter back would count: how many events, and the quantity of each customer, before anybody does it."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import connection, transaction

from billing_site.kernel.errors import InvalidInput
from billing_site.kernel.period import Period, as_utc
from metering.counting import HAS_VALUE, PASSES_FILTERS, not_cancelled
from metering.models import THE_BEGINNING, Meter
from metering.queries.control import PAIRS
from metering.queries.hours import counted_as_known
from metering.queries.usage import meter_by_key

EVERYTHING = 2**63 - 1
CUSTOMERS_MAX = 50


@dataclass(frozen=True)
class CustomerQuantity:
    """What a customer used between the new effective date and the present one, and how many events say so."""

    customer_id: str
    event_count: int
    quantity: Decimal


@dataclass(frozen=True)
class BackdatingPreview:
    """The effect of dating a meter back: all events, and the customers with the most of them."""

    meter: Meter
    period: Period
    event_count: int
    customer_count: int
    customers: tuple[CustomerQuantity, ...]


def preview_backdating(*, meter_key: str, effective_from: datetime) -> BackdatingPreview:
    """Count what `backdate_meter` would let in; nothing stays. Raises NotFound, InvalidInput for a date not earlier."""
    meter = meter_by_key(key=meter_key)
    effective_from = max(as_utc(effective_from), THE_BEGINNING)
    present = as_utc(meter.effective_from)
    if effective_from >= present:
        raise InvalidInput(
            f"must be earlier than {present:%Y-%m-%d %H:%M} UTC, from when it counts now",
            field="effective_from",
            code="out_of_range",
        )
    period = Period(effective_from, present)
    counts = _event_counts(meter, period)
    most = sorted(counts, key=lambda row: (-row[1], row[0]))[:CUSTOMERS_MAX]
    return BackdatingPreview(
        meter=meter,
        period=period,
        event_count=sum(count for _, count in counts),
        customer_count=len(counts),
        customers=tuple(_quantities(meter, period, most)),
    )


def _event_counts(meter: Meter, period: Period) -> list[tuple[str, int]]:
    """Return how many events of each customer would count, along the index of customer, type and time."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH RECURSIVE {PAIRS}
            SELECT pairs.customer_id, counted.event_count
            FROM pairs CROSS JOIN LATERAL (
                SELECT count(*) AS event_count FROM metering_usageevent e JOIN metering_meter m ON m.id = %(meter)s
                WHERE e.customer_id = pairs.customer_id AND e.event_type = pairs.event_type
                  AND e.timestamp >= %(start)s AND e.timestamp < %(end)s
                  AND {HAS_VALUE} AND {PASSES_FILTERS} AND {not_cancelled(str(EVERYTHING))}
            ) AS counted
            WHERE pairs.event_type = %(type)s AND counted.event_count > 0
            """,
            {"meter": meter.pk, "type": meter.event_type, "start": period.start, "end": period.end},
        )
        return cursor.fetchall()


def _quantities(meter: Meter, period: Period, customers: list[tuple[str, int]]) -> list[CustomerQuantity]:
    """Date the meter back, count raw events as the aggregation does, and take it back."""
    with transaction.atomic():
        Meter.objects.filter(pk=meter.pk).update(effective_from=period.start)
        found = [
            CustomerQuantity(
                customer_id,
                event_count,
                counted_as_known(meter=meter, customer_id=customer_id, period=period, through=EVERYTHING).quantity,
            )
            for customer_id, event_count in customers
        ]
        transaction.set_rollback(True)
    return found
