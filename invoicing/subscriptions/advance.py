"""Fees in advance as contracts have them: what is held of a subscription, what an invoice settles, and what it takes for the next period."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal

from billing_site.kernel.period import Period
from invoicing.core.adjustments.advance import AdvanceCredit, InAdvance, InvoicedInAdvance
from invoicing.core.advance import AdvancePeriod, periods_in_advance
from invoicing.core.contract import AdjustmentKind, Charge, Term
from invoicing.core.phases import Timeline, periods_begun
from invoicing.customers.models import Customer
from invoicing.subscriptions.agreements import Agreements, advance_reference
from invoicing.subscriptions.charges import charges_of_price, priced_parts
from invoicing.subscriptions.models import Subscription
from invoicing.subscriptions.timelines import timeline_of


def opening_periods(
    *, agreements: Agreements, subscription: Subscription, timeline: Timeline, until: datetime
) -> Iterator[Period]:
    """Yield the periods, ended by `until`, of the invoices that are made only to take fees before service begins."""
    if not agreements.has_fees_in_advance(subscription=subscription):
        return
    for coming in periods_in_advance(timeline=timeline, until=until):
        if coming.is_opening and coming.rides_on.end <= until and _fees(agreements, subscription, timeline, coming):
            yield coming.rides_on


def advance_terms(
    *, agreements: Agreements, customer: Customer, period: Period, bill: Sequence[Charge | Term]
) -> list[Term]:
    """Return what fees in advance do on the invoice of a period; `bill` are its charges and the terms before them.

    What is held of a subscription is settled where it is charged; the rest goes towards its next fees, or once it has ended off
    what else its customer owes.
    """
    settling: list[Term] = []
    coming: list[Term] = []
    credits: list[tuple[Subscription, Decimal]] = []
    charged = {line.subscription for line in bill}
    for subscription in agreements.of_customer(customer=customer):
        held = agreements.held_in_advance(subscription=subscription, before=period)
        if not held and not agreements.has_fees_in_advance(subscription=subscription):
            continue
        timeline = timeline_of(subscription=subscription)
        settled: Term | None = None
        if held and subscription.key in charged:
            about = tuple(line.reference for line in bill if _is_owed(line, subscription))
            reference = advance_reference(subscription=subscription, kind=AdjustmentKind.INVOICED_IN_ADVANCE)
            settled = InvoicedInAdvance(reference, subscription.key, period, about, held=held)
            settling.append(settled)
        if fees := _fees_riding_on(agreements, subscription, timeline, period):
            coming.append(
                InAdvance(
                    advance_reference(subscription=subscription, kind=AdjustmentKind.IN_ADVANCE),
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
    return terms


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
) -> tuple[Charge, ...]:
    if not agreements.has_fees_in_advance(subscription=subscription):
        return ()
    for coming in periods_in_advance(timeline=timeline, until=period.end):
        if coming.rides_on == period:
            return _fees(agreements, subscription, timeline, coming)
    return ()


def _fees(
    agreements: Agreements, subscription: Subscription, timeline: Timeline, coming: AdvancePeriod
) -> tuple[Charge, ...]:
    """Return the fees of a coming period that are in advance, as agreed today."""
    versions = {row.plan_version_id: row.plan_version for row in subscription.phases.all()}
    fees: list[Charge] = []
    for service in coming.services:
        version = versions[service.plan]
        for price, _ in agreements.prices_of(version=version, currency=subscription.customer.currency):
            if not price.in_advance:
                continue
            overrides = agreements.overrides_of(subscription=subscription, plan_id=version.plan_id, price_key=price.key)
            parts = priced_parts(timeline=timeline, period=coming.period, service=service, overrides=overrides)
            taken = {fee.reference for fee in fees}
            fees += charges_of_price(subscription, price, parts, taken=taken)
    return tuple(fees)
