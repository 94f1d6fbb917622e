"""The events that no window holds, by type and reason: how many, since when, and what may be done about them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db import connection

from billing_site.kernel.among import as_array
from metering.models import Meter, UnappliedReason

# Nobody needs the exact number of so many, and counting them would cost more the worse it is.
COUNTED_MAX = 10_000


@dataclass(frozen=True)
class UnappliedKind:
    """Events of one type that are in no window for one reason; beyond 10,000 they are not counted."""

    event_type: str
    reason: UnappliedReason
    event_count: int
    first_received_at: datetime
    last_received_at: datetime
    customers: tuple[str, ...]
    meters: tuple[Meter, ...]

    @property
    def is_more(self) -> bool:
        """Say whether there are more than were counted."""
        return self.event_count > COUNTED_MAX

    @property
    def count_text(self) -> str:
        """Write the number, or that there are more."""
        return f"{COUNTED_MAX:,}+" if self.is_more else f"{self.event_count:,}"

    @property
    def label(self) -> str:
        """The reason as a sentence."""
        return str(self.reason.label)


def unapplied_before(*, moment: datetime) -> list[UnappliedKind]:
    """Return what is listed of events that happened before a moment, whenever they came; by type and reason, as `unapplied_kinds`."""
    found = []
    with connection.cursor() as cursor:
        for kind in unapplied_kinds():
            cursor.execute(
                """
                SELECT count(DISTINCT number) FROM (
                    SELECT number FROM metering_unappliedevent
                    WHERE event_type = %s AND reason = %s AND timestamp < %s ORDER BY timestamp LIMIT %s
                ) AS oldest
                """,
                [kind.event_type, kind.reason.value, moment, COUNTED_MAX + 1],
            )
            [count] = cursor.fetchone()
            if count:
                found.append(replace(kind, event_count=count))
    return found


def unapplied_kinds() -> list[UnappliedKind]:
    """Return what is listed, by type and reason; costs as much as there are kinds, however many events there are."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH RECURSIVE kinds AS (
                (SELECT event_type, reason FROM metering_unappliedevent ORDER BY event_type, reason LIMIT 1)
                UNION ALL
                SELECT following.event_type, following.reason
                FROM kinds CROSS JOIN LATERAL (
                    SELECT u.event_type, u.reason FROM metering_unappliedevent u
                    WHERE (u.event_type, u.reason) > (kinds.event_type, kinds.reason)
                    ORDER BY u.event_type, u.reason LIMIT 1
                ) AS following
            )
            SELECT kinds.event_type, kinds.reason,
                   (SELECT count(DISTINCT number) FROM (
                        SELECT u.number FROM metering_unappliedevent u
                        WHERE u.event_type = kinds.event_type AND u.reason = kinds.reason ORDER BY u.number LIMIT %s
                    ) AS oldest),
                   first.received_at, last.received_at,
                   (SELECT array_agg(DISTINCT customer_id) FROM (
                        SELECT u.customer_id FROM metering_unappliedevent u
                        WHERE u.event_type = kinds.event_type AND u.reason = kinds.reason ORDER BY u.number DESC LIMIT 50
                    ) AS newest)
            FROM kinds
            CROSS JOIN LATERAL (SELECT u.received_at FROM metering_unappliedevent u
                WHERE u.event_type = kinds.event_type AND u.reason = kinds.reason ORDER BY u.number LIMIT 1) AS first
            CROSS JOIN LATERAL (SELECT u.received_at FROM metering_unappliedevent u
                WHERE u.event_type = kinds.event_type AND u.reason = kinds.reason ORDER BY u.number DESC LIMIT 1) AS last
            ORDER BY first.received_at
            """,
            [COUNTED_MAX + 1],
        )
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    meters: dict[str, list[Meter]] = {}
    for meter in Meter.objects.filter(event_type__in={row[0] for row in rows}).order_by("key"):
        meters.setdefault(meter.event_type, []).append(meter)
    return [
        UnappliedKind(
            event_type=event_type,
            reason=UnappliedReason(reason),
            event_count=count,
            first_received_at=first,
            last_received_at=last,
            customers=tuple(customers),
            meters=tuple(meters.get(event_type, [])),
        )
        for event_type, reason, count, first, last, customers in rows
    ]


@dataclass(frozen=True)
class UnappliedInPeriod:
    """How many events of a type one customer has in a period that no window holds, and why; counted up to 10,000."""

    customer_id: str
    event_type: str
    reason: UnappliedReason
    event_count: int


def unapplied_in_periods(*, periods: Sequence[tuple[str, datetime, datetime]]) -> list[UnappliedInPeriod]:
    """Return what is listed of customers, each once, in `[start, end)`, in one query; what filters leave out is left out on purpose."""
    keys, starts, ends = (as_array(one) for one in zip(*periods, strict=True))
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT asked.customer_id, found.event_type, found.reason, count(DISTINCT found.number)
            FROM unnest(%s::text[], %s::timestamptz[], %s::timestamptz[]) AS asked(customer_id, start, "end")
            CROSS JOIN LATERAL (
                SELECT u.event_type, u.reason, u.number FROM metering_unappliedevent u
                WHERE u.customer_id = asked.customer_id AND u.timestamp >= asked.start AND u.timestamp < asked."end"
                  AND u.reason <> %s
                ORDER BY u.number DESC LIMIT %s
            ) AS found
            GROUP BY 1, 2, 3 ORDER BY 1, 4 DESC, 2, 3
            """,
            [keys, starts, ends, UnappliedReason.FILTERED_OUT.value, COUNTED_MAX],
        )
        return [
            UnappliedInPeriod(customer, event_type, UnappliedReason(reason), count)
            for customer, event_type, reason, count in cursor.fetchall()
        ]
