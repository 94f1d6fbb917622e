"""How many events of a period were small, middling or great, and what they add up to: counted from raw events, as known."""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from django.db import connection

from billing_site.kernel.period import Period
from metering.archiving.absent import ARCHIVED_CANCELLED, ARCHIVED_SPANS, EventsArchived, purged_months_of
from metering.counting import COUNTED_VALUE, known_through
from metering.queries.usage import meter_by_key


@dataclass(frozen=True)
class Sizes:
    """Number and sum of the events below, between and above two sizes; an event at a size is between them."""

    below_count: int
    below_quantity: Decimal
    between_count: int
    between_quantity: Decimal
    above_count: int
    above_quantity: Decimal


def sizes_as_known(
    *, meter_key: str, customer_id: str, period: Period, through: int, lower: Fraction | None, upper: Fraction | None
) -> Sizes:
    """Divide the events that a meter counts in a period by two sizes, as they were known through a number.

    Windows hold sums only, so raw events are read; the number makes it the same for ever. None is no size. Raises
    NotFound, and EventsArchived where raw events are purged.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _SIZES,
            {
                "meter": meter_by_key(key=meter_key).pk,
                "customer": customer_id,
                "start": period.start,
                "end": period.end,
                "span_starts": [period.start],
                "span_ends": [period.end],
                "through": through,
                "carries": False,
                "lower": None if lower is None else lower.numerator,
                "lower_parts": 1 if lower is None else lower.denominator,
                "upper": None if upper is None else upper.numerator,
                "upper_parts": 1 if upper is None else upper.denominator,
            },
        )
        is_archived, *figures = cursor.fetchone()
    if is_archived:
        raise EventsArchived(purged_months_of(period=period))
    return Sizes(*figures)


# A size is a fraction, compared without dividing: value × denominator with numerator.
_SIZES = f"""
    WITH counted AS (
        SELECT value, CASE WHEN value * %(lower_parts)s::numeric < %(lower)s::numeric THEN 'below'
                           WHEN value * %(upper_parts)s::numeric > %(upper)s::numeric THEN 'above'
                           ELSE 'between' END AS size
        FROM (
            SELECT {COUNTED_VALUE} AS value
            FROM metering_usageevent e JOIN metering_meter m ON m.event_type = e.event_type
            WHERE m.id = %(meter)s AND e.customer_id = %(customer)s
              AND e.timestamp >= %(start)s AND e.timestamp < %(end)s AND {known_through("%(through)s")}
        ) AS known
    )
    SELECT EXISTS ({ARCHIVED_SPANS}) OR EXISTS ({ARCHIVED_CANCELLED}),
           count(*) FILTER (WHERE size = 'below'), COALESCE(sum(value) FILTER (WHERE size = 'below'), 0),
           count(*) FILTER (WHERE size = 'between'), COALESCE(sum(value) FILTER (WHERE size = 'between'), 0),
           count(*) FILTER (WHERE size = 'above'), COALESCE(sum(value) FILTER (WHERE size = 'above'), 0)
    FROM counted
"""
