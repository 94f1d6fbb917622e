"""The contract of a customer at a period, as the core sees it; a subscription only says when it is due."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Prefetch, Q, QuerySet

from billing_site.kernel.period import Period, as_utc
from invoicing.catalog.mapping import core_price
from invoicing.catalog.models import Price
from invoicing.core.contract import Cadence, Charge, ContractSnapshot
from invoicing.core.cycle import billing_periods, calendar_anchor, period_containing, share_of
from invoicing.customers.models import Customer
from invoicing.subscriptions.models import Anchor, Subscription


@dataclass(frozen=True)
class ContractSource:
    """Where a charge of a snapshot comes from: the rows behind its reference."""

    subscription: Subscription
    price: Price


@dataclass(frozen=True)
class Contract:
    """A contract snapshot together with the rows it was made of, by charge reference."""

    snapshot: ContractSnapshot
    sources: dict[str, ContractSource]


def periods_of(*, subscription: Subscription, until: datetime) -> Iterator[Period]:
    """Yield the billing periods of a subscription that have ended by `until`, from its start on.

    With a calendar anchor the first period is a whole calendar period although service begins
    within it; the charges carry the share that was in service.
    """
    for period in _all_periods(subscription, until=until):
        if period.end > until or (subscription.ended_at is not None and subscription.ended_at <= period.start):
            return
        yield period


def period_at(*, subscription: Subscription, moment: datetime) -> Period | None:
    """Return the billing period in which the subscription is in force at the moment, or None."""
    if moment < subscription.started_at or (subscription.ended_at is not None and subscription.ended_at <= moment):
        return None
    anchor, cadence, timezone = _terms(subscription)
    return period_containing(anchor=anchor, cadence=cadence, timezone=timezone, moment=moment)


def periods_due(*, customer: Customer, until: datetime) -> list[Period]:
    """Return the billing periods of all subscriptions of a customer that have ended by `until`, in order."""
    subscriptions = _subscriptions(customer)
    return sorted({period for item in subscriptions for period in periods_of(subscription=item, until=until)})


def periods_running(*, customer: Customer, moment: datetime) -> list[Period]:
    """Return the distinct billing periods that are running at the moment."""
    running = (period_at(subscription=item, moment=moment) for item in _subscriptions(customer))
    return sorted({period for period in running if period is not None})


def contract_at(*, customer: Customer, period: Period) -> Contract:
    """Return all charges of the subscriptions whose billing period this is (gather; S0-104 for the share).

    A charge's service period is the part of the billing period in which its subscription was in
    force, its share the exact part of the period's seconds. Four queries, however many subscriptions.
    """
    charges: list[Charge] = []
    sources: dict[str, ContractSource] = {}
    in_force = customer.subscriptions.filter(
        Q(ended_at__isnull=True) | Q(ended_at__gt=period.start), started_at__lt=period.end
    )
    prices = Prefetch("plan_version__prices", _prices_in(customer.currency), to_attr="prices_of_customer")
    for subscription in in_force.select_related("plan_version").prefetch_related(prices).order_by("started_at", "id"):
        ended_at = as_utc(subscription.ended_at or period.end)
        service = period.intersection(Period(as_utc(subscription.started_at), ended_at))
        assert service is not None, "the query finds subscriptions in force within the period"
        if period_at(subscription=subscription, moment=service.start) != period:
            continue
        for price in subscription.plan_version.prices_of_customer:  # type: ignore[attr-defined]
            charge = Charge(
                reference=f"{subscription.key}/{price.key}",
                name=price.name,
                price=core_price(price=price),
                meter=price.meter.key if price.meter else None,
                unit=price.meter.unit if price.meter else "",
                subscription=subscription.key,
                service_period=service,
                share=share_of(service=service, period=period),
            )
            charges.append(charge)
            sources[charge.reference] = ContractSource(subscription, price)
    snapshot = ContractSnapshot(
        customer=customer.key, currency=customer.currency, period=period, charges=tuple(charges)
    )
    return Contract(snapshot, sources)


def _subscriptions(customer: Customer) -> list[Subscription]:
    return list(customer.subscriptions.select_related("plan_version", "customer").order_by("started_at", "id"))


def _prices_in(currency: str) -> "QuerySet[Price]":
    prices = Price.objects.filter(currency=currency).select_related("meter")
    return prices.prefetch_related("tiers").order_by("position", "id")


def _all_periods(subscription: Subscription, *, until: datetime) -> Iterator[Period]:
    """Yield the periods from the start of the subscription to the one that holds `until`."""
    anchor, cadence, timezone = _terms(subscription)
    return billing_periods(anchor=anchor, cadence=cadence, timezone=timezone, until=until)


def _terms(subscription: Subscription) -> tuple[datetime, Cadence, str]:
    timezone = subscription.customer.timezone
    cadence = Cadence(subscription.plan_version.cadence)
    anchor = as_utc(subscription.started_at)
    if subscription.anchor == Anchor.CALENDAR:
        anchor = calendar_anchor(start=anchor, cadence=cadence, timezone=timezone)
    return anchor, cadence, timezone
