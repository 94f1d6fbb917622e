"""The contract of a customer at a period, as the core sees it; a subscription only says when it is due."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from django.db.models import Prefetch, QuerySet

from billing_site.kernel.period import Period
from invoicing.catalog.models import PlanVersion, Price
from invoicing.catalog.rate_card import OfferedPrice, RateCard
from invoicing.catalog.spend import SpendEntry
from invoicing.core import phases as core
from invoicing.core.adjustments.spend import MaximumSpend, MinimumSpend, SpendBound
from invoicing.core.contract import AdjustmentKind, Cadence, Charge, ContractSnapshot, Term
from invoicing.core.phases import PlanService, TiersOnChange, services_in
from invoicing.customers.models import Customer
from invoicing.subscriptions.advance import advance_terms, opening_periods
from invoicing.subscriptions.agreements import IN_ADVANCE, Agreements, agreements_of, billed_to
from invoicing.subscriptions.charges import charges_of_price, priced_parts, reference_of
from invoicing.subscriptions.committed import commitment_terms
from invoicing.subscriptions.discounts import Reducible, discount_terms
from invoicing.subscriptions.models import Subscription, SubscriptionPhase
from invoicing.subscriptions.progressive import progressive_terms
from invoicing.subscriptions.timelines import timeline_of


@dataclass(frozen=True)
class ContractSource:
    """Where a charge of a snapshot comes from: the rows behind its reference."""

    subscription: Subscription
    price: Price


@dataclass(frozen=True)
class Contract:
    """A contract snapshot together with the rows it was made of, by charge reference; a rate card set in place has none. `plans` are the keys of plans."""

    snapshot: ContractSnapshot
    sources: dict[str, ContractSource]
    plans: dict[str, str]


def with_phases(subscriptions: "QuerySet[Subscription]") -> "QuerySet[Subscription]":
    """Return the subscriptions with their customer, phases and plan versions: two queries, however many there are."""
    phases = SubscriptionPhase.objects.select_related("plan_version__plan").order_by("starts_at")
    found = subscriptions.select_related("customer__billed_to", "parent__customer")
    return found.prefetch_related(Prefetch("phases", phases), Prefetch("parent__phases", phases))


def periods_of(*, subscription: Subscription, until: datetime) -> Iterator[Period]:
    """Yield the billing periods that have ended by `until` and in which the subscription is charged.

    With a calendar anchor the first period is a whole calendar period although service begins
    within it; the charges carry the share that was in service.
    """
    for _, period in core.periods_charged(timeline=timeline_of(subscription=subscription), until=until):
        yield period


def period_at(*, subscription: Subscription, moment: datetime) -> Period | None:
    """Return the billing period in which the subscription is in force at the moment, or None."""
    return core.period_at(timeline=timeline_of(subscription=subscription), moment=moment)


def periods_due(*, customer: Customer, until: datetime) -> list[Period]:
    """Return the billing periods of all subscriptions of a customer that have ended by `until`, and those of opening invoices, in order."""
    return periods_agreed(agreements=agreements_of(customers=[customer]), customer=customer, until=until)


def periods_agreed(*, agreements: Agreements, customer: Customer, until: datetime) -> list[Period]:
    """Return the same for one of many customers whose agreements were read at once."""
    found: set[Period] = set()
    for subscription in agreements.of_customer(customer=customer):
        timeline = timeline_of(subscription=subscription)
        found.update(period for _, period in core.periods_charged(timeline=timeline, until=until))
        found.update(opening_periods(agreements=agreements, subscription=subscription, timeline=timeline, until=until))
    return sorted(found)


def opening_periods_of(*, subscription: Subscription, until: datetime) -> list[Period]:
    """Return the periods, ended by `until`, of the invoices that only take the first fees in advance of a subscription and its add-ons."""
    payer = subscription.customer.payer
    agreements = agreements_of(customers=[payer])
    return [
        period
        for row in agreements.of_customer(customer=payer)
        if subscription.pk in (row.pk, row.parent_id)
        for period in opening_periods(
            agreements=agreements, subscription=row, timeline=timeline_of(subscription=row), until=until
        )
    ]


def periods_running(*, customer: Customer, moment: datetime) -> list[Period]:
    """Return the distinct billing periods that are running at the moment."""
    running = (period_at(subscription=item, moment=moment) for item in _subscriptions(customer))
    return sorted({period for period in running if period is not None})


def period_before(*, customer: Customer, period: Period, at: datetime) -> Period | None:
    """Return the charged billing period, of a cadence in which this one is billed at `at`, that ended when it began."""
    timelines = [timeline_of(subscription=item) for item in _subscriptions(customer)]
    running = [
        core.phase_at(phases=timeline.phases, moment=at)
        for timeline in timelines
        if core.period_at(timeline=timeline, moment=at) == period
    ]
    cadences = {phase.cadence for phase in running if phase is not None}
    for timeline in timelines:
        for cadence, past in core.periods_charged(timeline=timeline, until=period.start):
            if cadence in cadences and past.end == period.start:
                return past
    return None


# Rate cards by the key of the plan whose prices they are set in place of.
InPlace = Mapping[str, RateCard]
AS_AGREED: InPlace = {}


def contract_at(*, customer: Customer, period: Period, in_place: InPlace = AS_AGREED) -> Contract:
    """Return all charges of the phases whose billing period this is (gather; S0-104 for the share).

    A charge's service period is the part of the billing period in which its phase, or neighbouring phases of one
    plan version, were charged; its share the exact part of the period, as the plan prorates. `in_place` asks what other
    prices would have made of it; raises InvalidInput where they cannot. A constant number of queries, however many subscriptions.
    """
    return contract_agreed(
        agreements=agreements_of(customers=[customer]), customer=customer, period=period, in_place=in_place
    )


def contract_agreed(
    *, agreements: Agreements, customer: Customer, period: Period, in_place: InPlace = AS_AGREED
) -> Contract:
    """Return the same contract for one of many customers whose agreements were read at once: no query."""
    charges: list[Charge] = []
    terms: list[Term] = []
    sources: dict[str, ContractSource] = {}
    services = [
        (subscription, timeline, service)
        for subscription in agreements.of_customer(customer=customer)
        if subscription.started_at < period.end
        and (subscription.ended_at is None or subscription.ended_at > period.start)
        for timeline in (_timeline_in_place(subscription, in_place),)
        for service in services_in(timeline=timeline, period=period)
    ]
    versions = {
        row.plan_version_id: row.plan_version for subscription, _, _ in services for row in subscription.known_phases()
    }
    cards = _cards_by_number(versions, in_place)
    references: set[str] = set()
    reducible: list[Reducible] = []
    prepaid: set[str] = set()
    charged: dict[tuple[int, str], list[Period]] = {}
    for subscription, timeline, service in services:
        plan_id = versions[service.plan].plan_id if service.plan in versions else _plan_in_place(service.plan)
        card = cards.get(service.plan)
        offered = (
            agreements.prices_of(version=versions[service.plan], currency=customer.currency)
            if card is None
            else _prices_of_card(card, versions.get(service.plan), customer.currency)
        )
        first = len(charges)
        for price, row in offered:
            overrides = agreements.overrides_of(subscription=subscription, plan_id=plan_id, price_key=price.key)
            parts = priced_parts(timeline=timeline, period=period, service=service, overrides=overrides)
            for charge in charges_of_price(subscription, price, parts, taken=references):
                if charge.meter is not None:
                    earlier = charged.setdefault((subscription.pk, charge.meter), [])
                    charge = _carried_on(charge, price.tiers_on_change, earlier)
                    earlier.append(charge.service_period)
                charges.append(charge)
                references.add(charge.reference)
                plan = versions[service.plan].plan.key if card is None else card.plan
                reducible.append(Reducible(charge.reference, subscription.key, plan, price.key))
                if price.in_advance:
                    prepaid.add(charge.reference)
                if row is not None:
                    sources[charge.reference] = ContractSource(subscription, row)
        spend = (
            agreements.spend_of(version=versions[service.plan], currency=customer.currency)
            if card is None
            else card.spend_in(currency=customer.currency)
        )
        if spend is not None:
            about = tuple(charge.reference for charge in charges[first:])
            terms += _spend_bounds(subscription, service, spend, about, taken=references)
            references.update(term.reference for term in terms)
    committed: list[Term] = []
    for subscription in dict.fromkeys(subscription for subscription, *_ in services):
        if tranches := agreements.tranches_of(subscription=subscription):
            bill: list[Charge | Term] = [*charges, *terms]
            about = tuple(line.reference for line in bill if line.subscription == subscription.key)
            committed += commitment_terms(
                subscription=subscription,
                tranches=tranches,
                period=period,
                about=about,
                computed=agreements.computed_of(customer=customer),
            )
    discounts = agreements.discounts_of(customer=customer)
    if discounts:
        terms += discount_terms(
            discounts=discounts,
            lines=[
                *reducible,
                # What lifts a service to its minimum belongs to no price; what cuts it is off its charges already.
                *(Reducible(term.reference, term.subscription) for term in terms if isinstance(term, MinimumSpend)),
            ],
            timelines={row.pk: timeline_of(subscription=row) for row in agreements.of_customer(customer=customer)},
            sold=lambda number: agreements.sold_as(customer=customer, plan_version_id=number),
            period=period,
        )
    terms += committed
    plans = {line.reference: line.plan for line in reducible}
    if not in_place:
        # What other prices would have made of a period is asked without what was taken for it, or for the next one.
        advance = advance_terms(
            agreements=agreements, customer=customer, period=period, bill=[*charges, *terms], prepaid=prepaid
        )
        terms += advance.terms
        plans |= advance.plans
        whole: list[Charge | Term] = [*charges, *terms]
        terms += progressive_terms(
            invoiced=agreements.progressive.get(customer.pk, ()),
            period=period,
            computed=agreements.computed_of(customer=customer),
            about=tuple(line.reference for line in whole),
            is_to_come=lambda other: (
                not agreements.is_issued(customer=customer, period=other)
                and other in periods_agreed(agreements=agreements, customer=customer, until=other.end)
            ),
        )
    snapshot = ContractSnapshot(
        customer=customer.key,
        currency=customer.currency,
        period=period,
        charges=tuple(charges),
        terms=tuple(terms),
        consumers={
            row.key: row.customer.key
            for row in agreements.of_customer(customer=customer)
            if row.customer_id != customer.pk
        },
    )
    return Contract(snapshot, sources, plans)


def without_fees_in_advance(*, contract: Contract) -> Contract:
    """Return what a period itself costs: without what was invoiced of it before, or is taken for the next one."""
    before = (*IN_ADVANCE, AdjustmentKind.INVOICED_PROGRESSIVELY)
    terms = tuple(term for term in contract.snapshot.terms if term.kind not in before)
    return replace(contract, snapshot=replace(contract.snapshot, terms=terms))


def _spend_bounds(
    subscription: Subscription,
    service: PlanService,
    spend: SpendEntry,
    about: tuple[str, ...],
    *,
    taken: Collection[str],
) -> Iterator[SpendBound]:
    """Yield the minimum and the maximum of one service; the maximum sees what the minimum made of the charges."""
    for family, bound in ((MinimumSpend, spend.minimum), (MaximumSpend, spend.maximum)):
        if bound is not None:
            # The colon keeps it apart from prices, whose keys have none.
            term = family(
                reference=reference_of(f"{subscription.key}/:{family.kind.value}", service.period, taken),
                subscription=subscription.key,
                service_period=service.period,
                about=about,
                bound=bound,
                share=service.share,
            )
            yield term
            about = (*about, term.reference)


def _carried_on(charge: Charge, tiers_on_change: TiersOnChange, earlier: Sequence[Period]) -> Charge:
    """Let a charge go on from what its meter counted in earlier services of the period, where its plan says so."""
    if tiers_on_change is TiersOnChange.RESET or charge.price.need is not None:
        return charge
    spans = sorted({span for span in earlier if span.end <= charge.service_period.start})
    return replace(charge, carries=tuple(spans))


def _subscriptions(customer: Customer) -> list[Subscription]:
    return list(with_phases(billed_to(customers=[customer.pk])).order_by("started_at", "id"))


def _timeline_in_place(subscription: Subscription, in_place: InPlace) -> core.Timeline:
    """Return the phases with rate cards in place: all versions of such a plan become one, prorated as the card says.

    A change from one of these versions to another is none any more: the period is not split there. Phases that are
    billed by other periods than the card stay as they are, and are refused where they are charged.
    """
    agreed = timeline_of(subscription=subscription)
    if not in_place:
        return agreed
    cards = {
        row.plan_version_id: (row.plan_version, in_place.get(row.plan_version.plan.key))
        for row in subscription.known_phases()
    }
    if not any(card for _, card in cards.values()):
        return agreed
    phases = []
    for phase in agreed.phases:
        version, card = cards[phase.plan]
        if card is not None and card.cadence is phase.cadence:
            phase = replace(phase, plan=_in_place_of(version.plan_id), proration=card.proration)
        phases.append(phase)
    return replace(agreed, phases=core.joined(phases))


def _cards_by_number(versions: Mapping[int, PlanVersion], in_place: InPlace) -> dict[int, RateCard]:
    """Return the rate cards in place by what stands for their plan in a timeline, and by each version that it leaves there."""
    cards = {}
    for number, version in versions.items():
        if (card := in_place.get(version.plan.key)) is not None:
            cards[_in_place_of(version.plan_id)] = cards[number] = card
    return cards


def _in_place_of(plan_id: int) -> int:
    """Return what stands for all versions of a plan in a timeline with its rate card in place: no version has this id."""
    return -plan_id


def _plan_in_place(number: int) -> int:
    """Return the plan that a number stands for in a timeline with its rate card in place."""
    assert number < 0, "a number is a version or stands for a plan"
    return -number


def _prices_of_card(
    card: RateCard, left: PlanVersion | None, currency: str
) -> tuple[tuple[OfferedPrice, Price | None], ...]:
    """Return the prices of a rate card, which have no rows; `left` is a version that is billed by other periods, and refused."""
    cadence = card.cadence if left is None else Cadence(left.cadence)
    return tuple((price, None) for price in card.prices_for(currency=currency, cadence=cadence))
