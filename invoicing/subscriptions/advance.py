"""Fees in advance as contracts have them: what is held of a subscription, what an invoice settles, and what it takes for the next period."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from billing_site.kernel.money import total
from billing_site.kernel.period import Period
from invoicing.core.adjustments.advance import AdvanceCredit, InAdvance, InvoicedInAdvance
from invoicing.core.advance import AdvancePeriod, periods_in_advance
from invoicing.core.contract import AdjustmentKind, Charge, Term
from invoicing.core.phases import Timeline, periods_begun
from invoicing.core.rating import rate_charge
from invoicing.customers.models import Customer
from invoicing.subscriptions.agreements import Agreements, advance_reference
from invoicing.subscriptions.charges import charges_of_price, priced_parts
from invoicing.subscriptions.models import Subscription
from invoicing.subscriptions.timelines import timeline_of

NOTHING = Decimal(0)
DAY = timedelta(days=1)


def opening_periods(
    *, agreements: Agreements, subscription: Subscription, timeline: Timeline, until: datetime
) -> Iterator[Period]:
    """Yield the periods, ended by `until`, of the invoices that are made only to take fees before service begins."""
    if not agreements.has_fees_in_advance(subscription=subscription):
        return
    for coming in periods_in_advance(timeline=timeline, until=until):
        if coming.is_opening and coming.rides_on.end <= until and _fees(agreements, subscription, timeline, coming):
            yield _rides_on(agreements, subscription, coming)


@dataclass(frozen=True)
class AdvanceTerms:
    """What fees in advance do on an invoice, and the key of the plan whose fees a term takes, where they are of one."""

    terms: list[Term]
    plans: dict[str, str]


def advance_terms(
    *,
    agreements: Agreements,
    customer: Customer,
    period: Period,
    bill: Sequence[Charge | Term],
    prepaid: Collection[str] = (),
) -> AdvanceTerms:
    """Return what fees in advance do on the invoice of a period.

    `bill` are its charges and the terms before them, `prepaid` those of the charges that are fees in advance.

    What is held of a subscription is settled where it is charged; the rest goes towards its next fees, or once it has ended off
    what else its customer owes.
    """
    settling: list[Term] = []
    coming: list[Term] = []
    credits: list[tuple[Subscription, Decimal]] = []
    plans: dict[str, str] = {}
    charged = {line.subscription for line in bill}
    for subscription in agreements.of_customer(customer=customer):
        held = agreements.held_in_advance(subscription=subscription, before=period)
        if not held and not agreements.has_fees_in_advance(subscription=subscription):
            continue
        timeline = timeline_of(subscription=subscription)
        by_plan = _fees_riding_on(agreements, subscription, timeline, period)
        fees = tuple(fee for _, fee in by_plan)
        later = agreements.settled_after(subscription=subscription, period=period)
        if later and not agreements.took_in_advance(subscription=subscription, period=period):
            # What was settled by invoices of later periods, when another invoice stood here, is not there a second time.
            held = max(min(held, held - later + _sum_of_fees(fees, customer.currency)), NOTHING)
        settled: Term | None = None
        if held and subscription.key in charged:
            owed = (line.reference for line in bill if _is_owed(line, subscription))
            about = tuple(sorted(owed, key=lambda one: one not in prepaid))
            reference = advance_reference(subscription=subscription, kind=AdjustmentKind.INVOICED_IN_ADVANCE)
            settled = InvoicedInAdvance(reference, subscription.key, period, about, held=held)
            settling.append(settled)
        if fees:
            reference = advance_reference(subscription=subscription, kind=AdjustmentKind.IN_ADVANCE)
            if len({plan for plan, _ in by_plan}) == 1:
                plans[reference] = by_plan[0][0]
            coming.append(
                InAdvance(
                    reference,
                    subscription.key,
                    Period(min(fee.service_period.start for fee in fees), max(fee.service_period.end for fee in fees)),
                    () if settled is None else (settled.reference,),
                    held=held,
                    fees=fees,
                    timezone=customer.timezone,
                )
            )
        elif held and settled is None and _is_over(subscription, timeline, period):
            credits.append((subscription, held))
    terms = [*settling, *coming]
    for subscription, held in credits:
        reference = advance_reference(subscription=subscription, kind=AdjustmentKind.ADVANCE_CREDIT)
        about = tuple(line.reference for line in [*bill, *terms])
        terms.append(AdvanceCredit(reference, subscription.key, period, about, held=held))
    return AdvanceTerms(terms, plans)


def _sum_of_fees(fees: Sequence[Charge], currency: str) -> Decimal:
    lines = (rate_charge(charge=fee, usage=None, currency=currency) for fee in fees)
    return total((line.amount for line in lines), currency).amount


def _is_owed(line: Charge | Term, subscription: Subscription) -> bool:
    if line.subscription != subscription.key:
        return False
    # A commitment is money in advance itself: what was taken for fees does not pay for it.
    return isinstance(line, Charge) or line.kind is not AdjustmentKind.COMMITMENT_BASE


def _is_over(subscription: Subscription, timeline: Timeline, period: Period) -> bool:
    """Say whether nothing of a subscription will be billed in this period or a later one."""
    ended_at = subscription.ended_at
    if ended_at is None or ended_at > period.end:
        return False
    last = max((_rank(each) for _, each in periods_begun(timeline=timeline, until=ended_at)), default=None)
    return last is None or last < _rank(period)


def _rank(period: Period) -> tuple[datetime, datetime]:
    return period.end, period.start


def _fees_riding_on(
    agreements: Agreements, subscription: Subscription, timeline: Timeline, period: Period
) -> list[tuple[str, Charge]]:
    if not agreements.has_fees_in_advance(subscription=subscription):
        return []
    # Two periods ride on one invoice where a plan with other billing periods was in force for a while.
    riding = [
        coming
        for coming in periods_in_advance(timeline=timeline, until=period.end)
        if _rides_on(agreements, subscription, coming) == period
    ]
    return _fees(agreements, subscription, timeline, *riding)


def _rides_on(agreements: Agreements, subscription: Subscription, coming: AdvancePeriod) -> Period:
    """Return the period on whose invoice the fees of a coming one ride.

    Where another subscription had the invoice of the opening period issued before this one was there, it is the last day before
    service begins, or so many days as no invoice stands for yet. Once the coming period is issued in arrears, there is none.
    """
    customer, rides_on = subscription.customer, coming.rides_on
    if not coming.is_opening:
        return rides_on
    if agreements.is_issued(customer=customer, period=coming.period) and not agreements.settled_after(
        subscription=subscription, period=rides_on
    ):
        return rides_on
    days = 0
    while agreements.is_issued(customer=customer, period=rides_on) and not agreements.took_in_advance(
        subscription=subscription, period=rides_on
    ):
        days += 1
        rides_on = Period(coming.rides_on.end - days * DAY, coming.rides_on.end)
    return rides_on


def _fees(
    agreements: Agreements, subscription: Subscription, timeline: Timeline, *riding: AdvancePeriod
) -> list[tuple[str, Charge]]:
    """Return the fees of coming periods that are in advance, as agreed today, each with the key of its plan."""
    versions = {row.plan_version_id: row.plan_version for row in subscription.known_phases()}
    fees: list[tuple[str, Charge]] = []
    for period, service in ((coming.period, service) for coming in riding for service in coming.services):
        version = versions[service.plan]
        for price, _ in agreements.prices_of(version=version, currency=subscription.customer.currency):
            if not price.in_advance:
                continue
            overrides = agreements.overrides_of(subscription=subscription, plan_id=version.plan_id, price_key=price.key)
            parts = priced_parts(timeline=timeline, period=period, service=service, overrides=overrides)
            taken = {fee.reference for _, fee in fees}
            fees += ((version.plan.key, fee) for fee in charges_of_price(subscription, price, parts, taken=taken))
    return fees
