"""Usage that was accepted and counted, and that no invoice holds or will hold: who, how much, and why.

Every counted event is on a line that knew it, in a period that a subscription prices and that is still
to be billed, settled by Stripe, which hears of it, or here. A plan need not price every meter of an event: one that counts calls may stand
beside one that charges their tokens. Events that no meter counts are metering's to list (`unmatched_events`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from django.db import connection

from billing_site.kernel.among import as_array
from invoicing.invoices.consumers import consumer_of
from invoicing.workflows.late_changes import LateChange, counted_late_changes, missing_quantity
from metering.counting import COUNTED_VALUE, IS_COUNTED


class UnbilledReason(StrEnum):
    """Why usage is on no invoice; the value is the sentence that people read."""

    UNKNOWN_CUSTOMER = "there is no such customer"
    NO_SUBSCRIPTION = "no subscription was in force"
    TRIAL = "the subscription was in its trial"
    PAUSED = "the subscription was paused"
    NOT_PRICED = "no plan in force has a price for any meter of these events in the customer's currency"
    LATE = "it came after its invoice was rated"


@dataclass(frozen=True)
class UnbilledUsage:
    """What one meter counted for one customer without anybody being charged; `first_at` is exact to the hour."""

    customer_id: str
    meter: str
    quantity: Decimal
    event_count: int
    first_at: datetime
    reason: UnbilledReason


def unbilled_usage(*, at: datetime) -> list[UnbilledUsage]:
    """Return the usage before `at` that nobody is charged for, by customer, meter and reason.

    Late is what nobody has settled yet: a change that was decided is on an invoice, on the next one, or given up.
    Sees what is rolled up. Costs as much as there is unbilled usage: what a subscription prices is not read.
    """
    rows = [*uncharged_usage(at=at), *_late(at)]
    return sorted(rows, key=lambda row: (row.customer_id, row.meter, list(UnbilledReason).index(row.reason)))


def uncharged_usage(*, at: datetime) -> list[UnbilledUsage]:
    """Return the usage before `at` that no subscription charges for: all that is unbilled but what is late."""
    return _uncharged(_ALL_PAIRS, _OF_ALL, {"at": at})


def uncharged_in_periods(*, periods: Sequence[tuple[str, datetime, datetime]]) -> list[UnbilledUsage]:
    """Return the same of some customers (keys, each once), of each in `[start, end)`; only their windows are read."""
    assert len({key for key, _, _ in periods}) == len(periods), "each customer is asked for once"
    keys, starts, ends = (as_array(one) for one in zip(*periods, strict=True))
    return _uncharged(_PAIRS_OF_SOME, _OF_SOME, {"keys": keys, "starts": starts, "ends": ends})


def _uncharged(pairs: str, of_whom: str, asked: Mapping[str, Any]) -> list[UnbilledUsage]:
    with connection.cursor() as cursor:
        cursor.execute(pairs + _unbilled(of_whom), asked)
        return [
            UnbilledUsage(customer_id, meter, quantity, int(event_count), first_at, UnbilledReason[reason])
            for customer_id, meter, quantity, event_count, first_at, reason in cursor.fetchall()
        ]


def _late(at: datetime) -> list[UnbilledUsage]:
    """Return the late changes that nobody has settled; the quantity is the difference of two counts, so it may be negative."""
    groups: dict[tuple[str, str], list[LateChange]] = {}
    for change in counted_late_changes(at=at).changes:
        groups.setdefault((consumer_of(line=change.line), change.line.meter_key), []).append(change)
    return [
        UnbilledUsage(
            customer_id=customer,
            meter=meter,
            quantity=missing_quantity(changes),
            event_count=sum(change.events_added + change.events_cancelled for change in changes),
            first_at=min(change.first_hour for change in changes),
            reason=UnbilledReason.LATE,
        )
        for (customer, meter), changes in groups.items()
    ]


# What is charged is a set of spans of time for each customer and meter; the gaps between them are looked up in the
# windows. An hour that a gap cuts is counted from its events. The pairs are found by jumping through the index.
_ALL_PAIRS = """
    WITH RECURSIVE found_pairs AS (
        (SELECT meter_id, customer_id FROM metering_usagewindow ORDER BY meter_id, customer_id LIMIT 1)
        UNION ALL
        SELECT following.meter_id, following.customer_id
        FROM found_pairs CROSS JOIN LATERAL (
            SELECT w.meter_id, w.customer_id FROM metering_usagewindow w
            WHERE (w.meter_id, w.customer_id) > (found_pairs.meter_id, found_pairs.customer_id)
            ORDER BY w.meter_id, w.customer_id LIMIT 1
        ) AS following
    ), pairs AS (
        SELECT meter_id, customer_id, tstzmultirange(tstzrange(NULL, %(at)s)) AS asked FROM found_pairs
    )
"""
_PAIRS_OF_SOME = """
    WITH asked AS (
        SELECT * FROM unnest(%(keys)s::text[], %(starts)s::timestamptz[], %(ends)s::timestamptz[])
            AS one(customer_id, starts_at, ends_at)
    ), pairs AS (
        SELECT m.id AS meter_id, customer_id, tstzmultirange(tstzrange(starts_at, ends_at)) AS asked
        FROM metering_meter m CROSS JOIN asked
    )
"""
# Whose agreements are read, `customer_id`: everybody's, or those of who is asked for alone.
_OF_ALL = "customer_id IS NOT NULL"
_OF_SOME = "customer_id IN (SELECT id FROM invoicing_customer WHERE key = ANY(%(keys)s::text[]))"


def _unbilled(of_whom: str) -> str:
    return f"""
    , in_force AS (
        SELECT customer_id, range_agg(tstzrange(started_at, ended_at)) AS spans
        FROM invoicing_subscription WHERE {of_whom} GROUP BY customer_id
    ), priced_by_kind AS (
        SELECT s.customer_id, m.event_type,
               range_agg(tstzrange(f.starts_at, f.ends_at)) FILTER (WHERE f.kind = 'active') AS active,
               range_agg(tstzrange(f.starts_at, f.ends_at)) FILTER (WHERE f.kind = 'trial') AS trial,
               range_agg(tstzrange(f.starts_at, f.ends_at)) FILTER (WHERE f.kind = 'paused') AS paused
        FROM invoicing_subscription s
        JOIN invoicing_subscriptionphase f ON f.subscription_id = s.id
        JOIN invoicing_customer c ON c.id = s.customer_id
        JOIN invoicing_price p ON p.plan_version_id = f.plan_version_id AND p.currency = c.currency
        JOIN metering_meter m ON m.id = p.meter_id
        WHERE s.{of_whom}
        GROUP BY s.customer_id, m.event_type
    ), priced AS (
        SELECT customer_id, event_type, COALESCE(active, '{{}}') AS active,
               COALESCE(trial, '{{}}') - COALESCE(active, '{{}}') AS trial,
               COALESCE(paused, '{{}}') - COALESCE(active, '{{}}') - COALESCE(trial, '{{}}') AS paused
        FROM priced_by_kind
    ), settled AS (
        SELECT r.customer_id, m.event_type, range_agg(tstzrange(r.starts_at, r.ends_at)) AS spans
        FROM invoicing_meterreporting r JOIN metering_meter m ON m.id = r.meter_id
        WHERE r.{of_whom}
        GROUP BY r.customer_id, m.event_type
    ), uncharged AS (
        SELECT pairs.meter_id, pairs.customer_id, gaps.reason, unnest(gaps.spans) AS span
        FROM pairs
        JOIN metering_meter m ON m.id = pairs.meter_id
        LEFT JOIN invoicing_customer c ON c.key = pairs.customer_id
        LEFT JOIN in_force ON in_force.customer_id = c.id
        LEFT JOIN priced ON priced.customer_id = c.id AND priced.event_type = m.event_type
        LEFT JOIN settled ON settled.customer_id = c.id AND settled.event_type = m.event_type
        CROSS JOIN LATERAL (
            SELECT CASE WHEN c.id IS NULL THEN 'UNKNOWN_CUSTOMER' ELSE 'NO_SUBSCRIPTION' END AS reason,
                   pairs.asked - COALESCE(in_force.spans, '{{}}') AS spans
            UNION ALL
            SELECT 'NOT_PRICED',
                   pairs.asked * in_force.spans
                   - COALESCE(priced.active, '{{}}') - COALESCE(priced.trial, '{{}}') - COALESCE(priced.paused, '{{}}')
                   - COALESCE(settled.spans, '{{}}')
            UNION ALL
            SELECT 'TRIAL', pairs.asked * priced.trial
            UNION ALL
            SELECT 'PAUSED', pairs.asked * priced.paused
        ) AS gaps
    )
    SELECT u.customer_id, m.key, sum(found.quantity), sum(found.event_count), min(found.first_at), u.reason
    FROM uncharged u
    JOIN metering_meter m ON m.id = u.meter_id
    -- Looked up for each gap, whatever the planner takes their number for: it knows nothing of ranges, and would read all windows.
    CROSS JOIN LATERAL (
        SELECT start, customer_id, value, event_count FROM metering_usagewindow
        WHERE meter_id = u.meter_id AND customer_id = u.customer_id
          AND start > COALESCE(lower(u.span), '-infinity') - interval '1 hour'
          AND start < COALESCE(upper(u.span), 'infinity')
        OFFSET 0
    ) AS w
    CROSS JOIN LATERAL (
        SELECT w.value AS quantity, w.event_count, w.start AS first_at
        WHERE u.span @> tstzrange(w.start, w.start + interval '1 hour')
        UNION ALL
        SELECT sum({COUNTED_VALUE}), count(*), min(e.timestamp)
        FROM metering_usageevent e
        WHERE NOT u.span @> tstzrange(w.start, w.start + interval '1 hour')
          AND e.customer_id = w.customer_id AND e.event_type = m.event_type AND e.id <= m.rolled_up_to
          AND e.timestamp >= w.start AND e.timestamp < w.start + interval '1 hour'
          AND u.span @> e.timestamp AND {IS_COUNTED}
        HAVING count(*) > 0
    ) AS found
    GROUP BY u.customer_id, m.key, u.reason
    ORDER BY 1, 2, 6
"""
