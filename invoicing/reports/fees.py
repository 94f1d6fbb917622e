"""The flat fees of contracts in time: each phase's, at the plan's price or the customer's own, times its seats."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from fractions import Fraction

from billing_site.kernel.period import as_utc
from invoicing.catalog.rate_card import OfferedPrice
from invoicing.core.contract import Cadence, Price, PriceModel
from invoicing.core.overrides import Override
from invoicing.core.phases import PhaseKind
from invoicing.core.recurring import PERIODS_A_MONTH, FeeInForce
from invoicing.customers.models import Customer
from invoicing.subscriptions.agreements import Agreements, agreements_of
from invoicing.subscriptions.models import Subscription, SubscriptionPhase

CUSTOMERS_AT_ONCE = 1_000


def fees_in_force(*, customers: Sequence[Customer]) -> dict[int, list[FeeInForce]]:
    """Return every flat fee that these customers ever agreed to, by customer; none for those without any."""
    found: dict[int, list[FeeInForce]] = {}
    for first in range(0, len(customers), CUSTOMERS_AT_ONCE):
        some = customers[first : first + CUSTOMERS_AT_ONCE]
        agreements = agreements_of(customers=some)
        for customer in some:
            fees = [
                fee
                for subscription in agreements.of_customer(customer=customer)
                for phase in subscription.known_phases()
                if phase.kind == PhaseKind.ACTIVE
                for fee in _fees_of(agreements, subscription, phase)
            ]
            if fees:
                found[customer.pk] = fees
    return found


def _fees_of(agreements: Agreements, subscription: Subscription, phase: SubscriptionPhase) -> Iterator[FeeInForce]:
    version = phase.plan_version
    for offered, row in agreements.prices_of(version=version, currency=subscription.customer.currency):
        if row.model != PriceModel.FLAT:
            continue
        overrides = agreements.overrides_of(subscription=subscription, plan_id=version.plan_id, price_key=offered.key)
        for starts_at, ends_at, price in _stretches(phase, offered, overrides):
            if price.model is not PriceModel.FLAT:
                continue
            assert price.unit_amount is not None, "a flat price has an amount"
            yield FeeInForce(
                customer=subscription.customer_id,
                subscription=subscription.pk,
                price_key=offered.key,
                starts_at=starts_at,
                ends_at=ends_at,
                period_amount=Fraction(price.unit_amount) * phase.quantity,
                periods_a_month=PERIODS_A_MONTH[Cadence(version.cadence)],
            )


def _stretches(
    phase: SubscriptionPhase, offered: OfferedPrice, overrides: Sequence[Override]
) -> Iterator[tuple[datetime, datetime | None, Price]]:
    """Yield a phase in stretches, each with the price that holds in it."""
    begins = as_utc(phase.starts_at)
    ends = None if phase.ends_at is None else as_utc(phase.ends_at)
    for override in overrides:
        starts_at = max(override.starts_at, begins)
        ends_at = _earlier(override.ends_at, ends)
        if ends_at is not None and starts_at >= ends_at:
            continue
        if starts_at > begins:
            yield begins, starts_at, offered.price
        yield starts_at, ends_at, override.price
        if ends_at is None:
            return
        begins = ends_at
    if ends is None or begins < ends:
        yield begins, ends, offered.price


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((moment for moment in (one, other) if moment is not None), default=None)
