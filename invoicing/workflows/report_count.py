"""Take a count of a running period as somebody else keeps it: the period's usage becomes that count, by one event of the difference (S1-100)."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import count as numbers

from django.db import connection, transaction

from billing_site.kernel.errors import Conflict, InvalidInput, NotFound
from billing_site.kernel.money import plain
from billing_site.kernel.period import Period
from invoicing.customers.queries import customer_by_key
from invoicing.subscriptions.metered_at_stripe import MeterReporting
from invoicing.subscriptions.models import Subscription
from invoicing.subscriptions.snapshot import period_at, with_phases
from metering.core.parsing import Event
from metering.ingest import accept_events, dedup_key
from metering.models import KnownKey, Meter, UsageEvent
from metering.partitions import open_present_month
from metering.queries.usage import usage_between


@dataclass(frozen=True)
class ReportedCount:
    """What the period's count is now, and the event that made up the difference ("" where there was none)."""

    meter: str
    period: Period
    total: Decimal
    added: Decimal
    idempotency_key: str


def report_count(
    *, customer_key: str, subscription_key: str, total: Decimal, meter_key: str, at: datetime
) -> ReportedCount:
    """Let a subscription's running period count `total`: the same again changes nothing, a larger one adds the difference.

    Without `meter_key` it is the only meter that the subscription is charged for, here or by Stripe. Raises NotFound, InvalidInput where the
    meter is not clear or does not sum, Conflict where the subscription is not in force, and (code `count_is_smaller`) where more is counted
    already: less is a correction of events.
    """
    customer = customer_by_key(key=customer_key, field="tenant_id")
    subscription = with_phases(Subscription.objects.filter(customer=customer, key=subscription_key)).first()
    if subscription is None:
        raise NotFound(f"there is no subscription {subscription_key!r} of this tenant", field="subscription_id")
    meter = _meter(subscription, meter_key, at=at)
    period = period_at(subscription=subscription, moment=at)
    if period is None:
        raise Conflict("the subscription is not in force at this moment", field="subscription_id")
    # Its partition is made before the ingest lock is shared: with it, two would wait for each other.
    open_present_month()
    with transaction.atomic():
        # Two reports of one customer and meter follow each other.
        with connection.cursor() as cursor:
            name = f"count of {meter.key} of {customer.key}"
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [name])
        before = usage_between(meter_key=meter.key, customer_id=customer.key, period=period)
        if total < before:
            raise Conflict(
                f"{plain(before)} are counted already since {period.start:%Y-%m-%d %H:%M} UTC: cancel or amend the events that were too"
                " much (POST /api/v1/events/corrections)",
                field="query_count",
                code="count_is_smaller",
            )
        added, key = total - before, ""
        if added:
            key = _free_key(
                customer.key, f"count:{subscription.key}:{meter.key}:{period.start:%Y%m%dT%H%M}:{plain(total)}"
            )
            receipt = accept_events(events=[_event(customer.key, meter, added, key, at=at)])
            assert receipt.accepted == 1, "a key that nobody has is accepted"
    return ReportedCount(meter=meter.key, period=period, total=total, added=added, idempotency_key=key)


def _meter(subscription: Subscription, meter_key: str, *, at: datetime) -> Meter:
    """Return the meter that is named, or the only one that it can be; one whose events add up."""
    charged = Meter.objects.filter(
        pk__in=[
            price.meter_id
            for phase in subscription.phases.all()
            if phase.starts_at <= at and (phase.ends_at is None or at < phase.ends_at)
            for price in phase.plan_version.prices.all()
            if price.meter_id is not None
        ]
        + list(
            MeterReporting.objects.filter(subscription=subscription, starts_at__lte=at)
            .exclude(ends_at__lte=at)
            .values_list("meter", flat=True)
        )
    ).order_by("key")
    found = [meter for meter in charged if meter_key in ("", meter.key)]
    if len(found) != 1:
        known = ", ".join(meter.key for meter in charged) or "none"
        raise InvalidInput(f"name one of the meters that the subscription is charged for: {known}", field="meter")
    if found[0].aggregation != "sum" or found[0].filters:
        raise InvalidInput(f"{found[0].key} does not sum all events of its type: send single events", field="meter")
    return found[0]


def _event(customer_key: str, meter: Meter, quantity: Decimal, key: str, *, at: datetime) -> Event:
    return Event(
        event_id=key,
        idempotency_key=key,
        event_type=meter.event_type,
        timestamp=at,
        customer_id=customer_key,
        quantity=quantity,
        namespace_id="",
        properties={meter.value_property: plain(quantity)} if meter.value_property else {},
    )


def _free_key(customer_key: str, root: str) -> str:
    """Return the key of a count; one that was reported before, and corrected away since, gets the next."""
    for number in numbers(1):
        key = root if number == 1 else f"{root}~{number}"
        digest = dedup_key(customer_id=customer_key, idempotency_key=key)
        if not any(model.objects.filter(dedup_key=digest).exists() for model in (UsageEvent, KnownKey)):
            return key
    raise AssertionError("there is always a next number")
