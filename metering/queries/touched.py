"""Whose usage changed since somebody looked last: read from the numbers that were drawn since, nothing older."""

from collections.abc import Mapping
from dataclasses import dataclass

from django.db import connection

from metering.models import MeterBackdating

_TOUCHED = """
    SELECT customer_id, max(number) FROM (
        SELECT customer_id, id AS number FROM metering_usageevent WHERE id > %(after)s AND id <= %(through)s
        UNION ALL
        SELECT customer_id, number FROM metering_eventcancellation WHERE number > %(after)s AND number <= %(through)s
    ) AS drawn GROUP BY customer_id
"""


@dataclass(frozen=True)
class Touched:
    """The last number drawn for each customer's usage, and the last by which a meter was dated back, which touches everybody."""

    customers: Mapping[str, int]
    everybody: int

    def number_of(self, *, customer_id: str) -> int:
        """Return the number from which on a customer's usage is known as it is; 0 where nothing touched it."""
        return max(self.customers.get(customer_id, 0), self.everybody)


def customers_touched(*, after: int, through: int) -> Touched:
    """Return whose events were accepted, cancelled or amended under the numbers `(after, through]`."""
    with connection.cursor() as cursor:
        cursor.execute(_TOUCHED, {"after": after, "through": through})
        customers = dict(cursor.fetchall())
    backdated = MeterBackdating.objects.filter(number__gt=after, number__lte=through)
    everybody = backdated.order_by("-number").values_list("number", flat=True).first()
    return Touched(customers=customers, everybody=everybody or 0)
