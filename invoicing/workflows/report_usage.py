"""Let Stripe's meters hear of a subscription's usage, and Stripe charge for it, from an hour on; and let it end."""

from datetime import datetime, timedelta

from django.db import transaction

from billing_site.kernel.errors import Conflict, InvalidInput, NotFound
from billing_site.kernel.history import save_with_reason
from billing_site.kernel.period import HOUR, as_utc, hour_of
from billing_site.kernel.reasons import checked_reason
from invoicing.customers.models import SettlementChannel
from invoicing.customers.operations import lock_customer
from invoicing.payments.meters import find_meter
from invoicing.subscriptions.metered_at_stripe import (
    ADDITIVE,
    MeterReporting,
    ReportingMode,
    refuse_settled_twice,
)
from invoicing.subscriptions.models import Subscription, SubscriptionPhase
from metering.models import Meter

# Of the 35 days that Stripe takes one is left for sending.
REACH = timedelta(days=34)


def begin_reporting(
    *,
    subscription: Subscription,
    meter: Meter,
    mode: str,
    event_name: str,
    starts_at: datetime,
    at: datetime,
    actor: str,
    reason: str,
) -> MeterReporting:
    """Report what a meter counts for a subscription's customer to Stripe's meter of this event name, from a whole hour on.

    Stripe's meter is looked at first (S4-006). Call it outside of a transaction. Raises InvalidInput, Conflict (the customer does not pay
    through Stripe, a plan of it prices the meter here, it is reported already), GatewayUnavailable, GatewayRefused.
    """
    reason = checked_reason(reason=reason)
    _check(subscription, meter, mode, starts_at, at=at)
    remote = find_meter(event_name=event_name)
    if remote is None:
        raise InvalidInput(f"Stripe has no active meter for events named {event_name}", field="event_name")
    if remote.mistake:
        raise InvalidInput(f"Stripe's meter would not count our reports: {remote.mistake}", field="event_name")
    with transaction.atomic(durable=True):
        customer = lock_customer(customer_id=subscription.customer_id)
        reporting = MeterReporting(
            subscription=subscription,
            customer=customer,
            meter=meter,
            mode=mode,
            event_name=event_name,
            stripe_meter_id=remote.id,
            starts_at=as_utc(starts_at),
            looked_until=as_utc(starts_at),
        )
        _refuse_taken(reporting)
        phases = SubscriptionPhase.objects.filter(subscription__customer=customer).select_related("plan_version__plan")
        refuse_settled_twice(reportings=[reporting], phases=list(phases), field="meter")
        save_with_reason(reporting, actor=actor, reason=reason)
    return reporting


@transaction.atomic
def end_reporting(*, reporting_id: int, ends_at: datetime, at: datetime, actor: str, reason: str) -> MeterReporting:
    """Report no usage from a whole hour on; what was before it is still corrected. Raises NotFound, InvalidInput, Conflict for one that ended."""
    reason = checked_reason(reason=reason)
    reporting = MeterReporting.objects.select_for_update(no_key=True).filter(pk=reporting_id).first()
    if reporting is None:
        raise NotFound("there is no such reporting", field="reporting")
    if reporting.ends_at is not None:
        raise Conflict(f"it ends at {reporting.ends_at:%Y-%m-%d %H:%M} UTC already", field="ends_at")
    if ends_at != hour_of(ends_at) or ends_at < at or ends_at <= reporting.starts_at:
        raise InvalidInput("it ends with a whole hour (UTC) that is still to come", field="ends_at")
    reporting.ends_at = as_utc(ends_at)
    save_with_reason(reporting, actor=actor, reason=reason, fields=["ends_at"])
    return reporting


def next_hour(*, at: datetime) -> datetime:
    """Return the first whole hour that is still to come."""
    return hour_of(at) + HOUR


def _check(subscription: Subscription, meter: Meter, mode: str, starts_at: datetime, *, at: datetime) -> None:
    if mode not in ReportingMode.values:
        raise InvalidInput(f"is one of {', '.join(ReportingMode.values)}", field="mode")
    if meter.aggregation not in ADDITIVE:
        raise InvalidInput(
            f"{meter.key} makes {meter.get_aggregation_display()} of its events: only a sum or a count can be told piece by piece",
            field="meter",
        )
    if starts_at != hour_of(starts_at):
        raise InvalidInput("begins with a whole hour (UTC)", field="starts_at")
    if starts_at < subscription.started_at or (subscription.ended_at and starts_at >= subscription.ended_at):
        raise InvalidInput("the subscription is not in force then", field="starts_at")
    if starts_at < hour_of(at) - REACH:
        raise InvalidInput("Stripe takes usage of the past 35 days only", field="starts_at")
    payer = subscription.customer.payer
    if payer.settlement_channel != SettlementChannel.STRIPE:
        raise Conflict(f"{payer.key} does not pay through Stripe", field="subscription")


def _refuse_taken(reporting: MeterReporting) -> None:
    others = MeterReporting.objects.filter(customer=reporting.customer).exclude(ends_at__lte=reporting.starts_at)
    if others.filter(meter=reporting.meter).exists():
        raise Conflict("this meter is reported for the customer already", field="meter")
    if others.filter(event_name=reporting.event_name).exists():
        raise Conflict("another meter of the customer is reported under this event name", field="event_name")
