"""The discounts of a contract as the core sees them: which coupons reduce which lines of a billing period."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from billing_site.kernel.period import Period, as_utc
from invoicing.catalog.coupon import Coupon, CouponDuration
from invoicing.core import phases as core
from invoicing.core.adjustments.discounts import Discount as DiscountTerm
from invoicing.core.contract import Term
from invoicing.subscriptions.discount import Discount


@dataclass(frozen=True)
class Reducible:
    """A line that a coupon may reduce: whose it is and, of a charge, of which plan and price."""

    reference: str
    subscription: str
    plan: str = ""
    price: str = ""


# The key of the plan of a version, and the keys of its prices in the customer's currency.
Sold = Callable[[int], tuple[str, Collection[str]]]


def discount_terms(
    *,
    discounts: Sequence[Discount],
    lines: Sequence[Reducible],
    timelines: Mapping[int, core.Timeline],
    sold: Sold,
    period: Period,
) -> Iterator[Term]:
    """Yield what the discounts of a customer make of one billing period, in the order in which they apply.

    `lines` are the charges and the terms before discounts, `timelines` the customer's subscriptions by number. The order: smaller position
    first, then percentages before amounts, then the older. A coupon for some billing periods counts those in which something of what it is
    for is charged, from the one that holds the moment of its redemption.
    """
    for discount in sorted(discounts, key=_order):
        coupon = discount.coupon
        about = tuple(line.reference for line in lines if _applies(discount, coupon, line))
        if about and _covers(discount, timelines, sold, period):
            yield DiscountTerm(
                # No key of a subscription has a colon at its first place.
                reference=f":discount/{discount.pk}",
                subscription="" if discount.subscription is None else discount.subscription.key,
                service_period=period,
                about=about,
                name=f"{coupon.name} ({coupon.code})" if coupon.name != coupon.code else coupon.code,
                rate=None if coupon.percent_off is None else coupon.percent_off / Decimal(100),
                amount_off=coupon.amount_off,
                minimum_amount=coupon.minimum_amount,
            )


def _order(discount: Discount) -> tuple[int, bool, int]:
    return discount.coupon.position, discount.coupon.percent_off is None, discount.pk


def _applies(discount: Discount, coupon: Coupon, line: Reducible) -> bool:
    if discount.subscription is not None and discount.subscription.key != line.subscription:
        return False
    return (not coupon.plans or line.plan in coupon.plans) and (not coupon.prices or line.price in coupon.prices)


def _covers(discount: Discount, timelines: Mapping[int, core.Timeline], sold: Sold, period: Period) -> bool:
    redeemed_at = as_utc(discount.redeemed_at)
    if period.end <= redeemed_at or (discount.ended_at is not None and period.start >= as_utc(discount.ended_at)):
        return False
    if discount.coupon.duration == CouponDuration.FOREVER:
        return True
    counted = 1 if discount.coupon.duration == CouponDuration.ONCE else discount.coupon.periods
    assert counted is not None, "a repeating coupon says how often"
    earlier = {
        past
        for number, timeline in timelines.items()
        if discount.subscription_id in (None, number)
        for _, past in core.periods_charged(timeline=timeline, until=period.end)
        if past.end > redeemed_at and (past.end, past.start) < (period.end, period.start)
        if _is_charged(discount.coupon, timeline, sold, past)
    }
    return len(earlier) < counted


def _is_charged(coupon: Coupon, timeline: core.Timeline, sold: Sold, period: Period) -> bool:
    """Whether something of what a coupon is for is charged in a billing period."""
    if not coupon.plans and not coupon.prices:
        return True
    services = core.services_in(timeline=timeline, period=period)
    return any(
        (not coupon.plans or plan in coupon.plans) and (not coupon.prices or not set(coupon.prices).isdisjoint(prices))
        for plan, prices in (sold(service.plan) for service in services)
    )
