"""The contract of a customer at a period, as the core sees it; a subscription only says when it is due."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Prefetch, Q, QuerySet

from billing_site.kernel.period import Period, as_utc
from invoicing.catalog.models import Price
from invoicing.catalog.rate_card import OfferedPrice, RateCard, offered_price
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
    """A contract snapshot together with the rows it was made of, by charge reference; a rate card set in place has none."""

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


# Rate cards by the key of the plan whose prices they are set in place of.
InPlace = Mapping[str, RateCard]
AS_AGREED: InPlace = {}


def contract_at(*, customer: Customer, period: Period, in_place: InPlace = AS_AGREED) -> Contract:
    """Return all charges of the subscriptions whose billing period this is (gather; S0-104 for the share).

    A charge's service period is the part of the billing period in which its subscription was in
    force, its share the exact part of the period's seconds. `in_place` asks what other prices would have made of it; raises
    InvalidInput where they cannot. Four queries, however many subscriptions.
    """
    charges: list[Charge] = []
    sources: dict[str, ContractSource] = {}
    in_force = customer.subscriptions.filter(
        Q(ended_at__isnull=True) | Q(ended_at__gt=period.start), started_at__lt=period.end
    )
    for subscription in _with_prices(in_force, customer.currency):
        ended_at = as_utc(subscription.ended_at or period.end)
        service = period.intersection(Period(as_utc(subscription.started_at), ended_at))
        assert service is not None, "the query finds subscriptions in force within the period"
        if period_at(subscription=subscription, moment=service.start) != period:
            continue
        for price, row in _offered(subscription, in_place):
            charge = Charge(
                reference=f"{subscription.key}/{price.key}",
                name=price.name,
                price=price.price,
                meter=price.meter,
                unit=price.unit,
                subscription=subscription.key,
                service_period=service,
                share=share_of(service=service, period=period),
            )
            charges.append(charge)
            if row is not None:
                sources[charge.reference] = ContractSource(subscription, row)
    snapshot = ContractSnapshot(
        customer=customer.key, currency=customer.currency, period=period, charges=tuple(charges)
    )
    return Contract(snapshot, sources)


def _subscriptions(customer: Customer) -> list[Subscription]:
    return list(customer.subscriptions.select_related("plan_version", "customer").order_by("started_at", "id"))


def _with_prices(subscriptions: "QuerySet[Subscription]", currency: str) -> "QuerySet[Subscription]":
    prices = Prefetch("plan_version__prices", _prices_in(currency), to_attr="prices_of_customer")
    related = subscriptions.select_related("plan_version__plan", "customer").prefetch_related(prices)
    return related.order_by("started_at", "id")


def _offered(subscription: Subscription, in_place: InPlace) -> Iterator[tuple[OfferedPrice, Price | None]]:
    """Yield the prices of a subscription, with their rows where they are its own."""
    version = subscription.plan_version
    card = in_place.get(version.plan.key)
    if card is None:
        for row in version.prices_of_customer:  # type: ignore[attr-defined]
            yield offered_price(row=row), row
    else:
        currency = subscription.customer.currency
        for price in card.prices_for(currency=currency, cadence=Cadence(version.cadence)):
            yield price, None


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
