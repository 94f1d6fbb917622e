"""Billing, told again: who agreed to what from when to when, and what happened, become the lines of every period."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction
from itertools import groupby, pairwise
from typing import Any
from zoneinfo import ZoneInfo

from tests.invoicing.reference.adjusting import bounded
from tests.invoicing.reference.dates import boundaries, part_of
from tests.invoicing.reference.discounts import Redeemed
from tests.invoicing.reference.own_prices import OwnPrice, divided
from tests.invoicing.reference.pricing import amount_by_values, amount_of, to_minor_units
from tests.metering.reference import Fact, Rule, counting, property_of, quantity, value_of

DECIMALS = {"USD": 2, "EUR": 2, "JPY": 0, "KWD": 3}
FOR_EVER = datetime.fromisoformat("9999-01-01T00:00:00Z")


@dataclass(frozen=True)
class Stretch:
    """A plan, as it stands in a catalog file, in force for so many seats; only an `active` stretch is charged."""

    start: datetime
    end: datetime
    plan: Mapping[str, Any]
    seats: int = 1
    kind: str = "active"


@dataclass(frozen=True)
class Agreement:
    """What a customer agreed to, stretch after stretch without gap or overlap.

    `ended_at` and `trial_ends_at` are what was agreed at first, whatever came of it. An add-on has a `parent`, and its
    billing periods are `counted_from` where that one's are.
    """

    key: str
    anchor: str
    stretches: tuple[Stretch, ...]
    ended_at: datetime | None = None
    trial_ends_at: datetime | None = None
    own_prices: tuple[OwnPrice, ...] = ()
    parent: str = ""
    counted_from: datetime | None = None

    @property
    def started_at(self) -> datetime:
        """When the first stretch begins."""
        return self.stretches[0].start


@dataclass(frozen=True)
class Account:
    """A customer with all its agreements."""

    customer: str
    currency: str
    timezone: str
    agreements: tuple[Agreement, ...]
    redeemed: tuple[Redeemed, ...] = ()


@dataclass(frozen=True, order=True)
class Line:
    """What is owed for one price in the part of a billing period in which it was in force.

    What changes the bill beyond its charges is a line without a plan, of quantity 1; its price says what it is.
    """

    agreement: str
    period_start: datetime
    period_end: datetime
    service_start: datetime
    service_end: datetime
    plan: str
    price: str
    quantity: Fraction
    amount: Fraction


def an_agreement(
    key: str, plan: Mapping[str, Any], start: datetime, end: datetime | None = None, *, anchor: str = "calendar"
) -> Agreement:
    """One plan from the start to the end."""
    return Agreement(key, anchor, (Stretch(start, end or FOR_EVER, plan),), end)


def lines_of(account: Account, rules: Mapping[str, Rule], facts: Sequence[Fact], *, until: datetime) -> list[Line]:
    """All charges of the billing periods that ended by `until`, in the order of a contract, and what bounds them."""
    return [
        line
        for agreement in account.agreements
        for start, end, stretches in periods_of(agreement, account.timezone, until=until)
        if end <= until
        for line in _lines(account, agreement, rules, facts, start, end, stretches)
    ]


def periods_of(
    agreement: Agreement, timezone: str, *, until: datetime
) -> Iterator[tuple[datetime, datetime, list[Stretch]]]:
    """The billing periods that begin by a moment, each with the stretches of the agreement that are billed in it, cut to it.

    Stretches of one cadence that follow each other count their periods from the first of them. Where the cadence
    changes within a period, the old one is billed to the end of its period, for what was in service; where it comes
    back within a calendar period, that is the same period.
    """
    billed: dict[tuple[datetime, datetime], list[Stretch]] = {}
    for cadence, group in groupby(agreement.stretches, key=lambda stretch: stretch.plan["cadence"]):
        run = list(group)
        since = agreement.counted_from or run[0].start
        for start, end in pairwise(boundaries(since, agreement.anchor, cadence, timezone)):
            if start > until or run[-1].end <= start:
                break
            if end <= run[0].start:
                continue
            within = [_cut(stretch, start, end) for stretch in run if stretch.start < end and start < stretch.end]
            billed.setdefault((start, end), []).extend(within)
    for (start, end), stretches in billed.items():
        yield start, end, stretches


def _cut(stretch: Stretch, start: datetime, end: datetime) -> Stretch:
    return replace(stretch, start=max(stretch.start, start), end=min(stretch.end, end))


def _lines(
    account: Account,
    agreement: Agreement,
    rules: Mapping[str, Rule],
    facts: Sequence[Fact],
    start: datetime,
    end: datetime,
    stretches: Sequence[Stretch],
) -> Iterator[Line]:
    shares = shares_of(stretches, start, end, account.timezone)
    decimals = DECIMALS[account.currency]
    before: dict[str, list[Fraction]] = defaultdict(list)
    for service in services_of(stretches):
        plan = stretches[service[0]].plan
        begins, ends = stretches[service[0]].start, stretches[service[-1]].end
        charged = Fraction(0)
        for price in plan["prices"]:
            if price["currency"] != account.currency:
                continue
            for part in parts_of(stretches, service, agreement.own_prices, price, start, end, account.timezone):
                if price["meter"] is None:
                    used = [Fraction(1)] * part.seats
                    exact = fee_of(part)
                else:
                    rule = rules[price["meter"]]
                    used = pieces_of(rule, facts, account.customer, part.start, part.end)
                    carried = before[price["meter"]] if plan.get("tiers_on_change") == "carry" else []
                    if part.price["model"] == "matrix":
                        valued = valued_pieces_of(rule, facts, account.customer, part.start, part.end)
                        exact = amount_by_values(part.price, valued, share=part.share)
                    else:
                        exact = amount_of(part.price, used, share=part.share, carried=tuple(carried))
                    before[price["meter"]] += used
                amount = to_minor_units(exact, decimals)
                charged += amount
                total = sum(used, Fraction(0))
                yield Line(agreement.key, start, end, part.start, part.end, plan["key"], price["key"], total, amount)
        share = sum((shares[number] for number in service), Fraction(0))
        spend = plan.get("spend", ())
        for kind, amount in bounded(spend, charged, currency=account.currency, decimals=decimals, share=share):
            yield Line(agreement.key, start, end, begins, ends, "", kind, Fraction(1), amount)


@dataclass(frozen=True)
class Part:
    """A part of a service in which one price held, for one number of seats if it is a fee."""

    start: datetime
    end: datetime
    price: Mapping[str, Any]
    share: Fraction
    seats: int


def fee_of(part: Part) -> Fraction:
    """What a fee comes to in a part of a period: once for each seat."""
    return sum((amount_of(part.price, [Fraction(1)], share=part.share) for _ in range(part.seats)), Fraction(0))


def parts_of(
    stretches: Sequence[Stretch],
    service: Sequence[int],
    said: Sequence[OwnPrice],
    price: Mapping[str, Any],
    start: datetime,
    end: datetime,
    timezone: str,
) -> Iterator[Part]:
    """The parts of a service for one of its prices; where a price of its own begins or ends, the period is divided."""
    cuts = [
        (number, replace(stretch, start=first, end=last), holds)
        for number, stretch in enumerate(stretches)
        for first, last, holds in divided(said, stretch.plan["key"], price, stretch.start, stretch.end)
    ]
    shares = shares_of([stretch for _, stretch, _ in cuts], start, end, timezone)
    parts = [
        Part(stretch.start, stretch.end, holds, share, stretch.seats)
        for (number, stretch, holds), share in zip(cuts, shares, strict=True)
        if number in service
    ]
    if price["meter"] is None:
        yield from parts
        return
    for _, same in groupby(parts, key=lambda part: part.price):
        together = list(same)
        share = sum((part.share for part in together), Fraction(0))
        yield replace(together[0], end=together[-1].end, share=share)


def services_of(stretches: Sequence[Stretch]) -> list[list[int]]:
    """Numbers of charged stretches that follow each other under one plan: one service of its meters."""
    services: list[list[int]] = []
    for number, stretch in enumerate(stretches):
        if stretch.kind != "active":
            continue
        before = stretches[number - 1]
        goes_on = before.end == stretch.start and before.plan is stretch.plan
        if services and services[-1][-1] == number - 1 and goes_on:
            services[-1].append(number)
        else:
            services.append([number])
    return services


def shares_of(stretches: Sequence[Stretch], start: datetime, end: datetime, timezone: str) -> list[Fraction]:
    """Which part of the period's fees each stretch owes, if it is charged; the plan at its beginning says how."""
    charged = [number for number, stretch in enumerate(stretches) if stretch.kind == "active"]
    way = stretches[0].plan.get("proration", "second")
    if way == "none":
        return [
            Fraction(1 if number == charged[0] else 0) if charged else Fraction(0) for number in range(len(stretches))
        ]
    if way == "day":
        zone = ZoneInfo(timezone)
        days = (end.astimezone(zone).date() - start.astimezone(zone).date()).days
        return [
            Fraction((stretch.end.astimezone(zone).date() - stretch.start.astimezone(zone).date()).days, days)
            for stretch in stretches
        ]
    return [part_of(stretch.start, stretch.end, start, end) for stretch in stretches]


def pieces_of(rule: Rule, facts: Sequence[Fact], customer: str, start: datetime, end: datetime) -> list[Fraction]:
    """What each event adds, in the order of time; where events do not simply add up, what they make together."""
    counted = counting(rule, facts, {}, customer)
    if rule.aggregation not in ("sum", "count"):
        return [quantity(rule, counted, start, end)]
    return [value for fact in counted if start <= fact.at < end and (value := value_of(rule, fact)) is not None]


def valued_pieces_of(
    rule: Rule, facts: Sequence[Fact], customer: str, start: datetime, end: datetime
) -> list[tuple[Fraction, dict[str, str | None]]]:
    """What each event adds, with its values of the meter's dimensions."""
    return [
        (value, {name: property_of(fact, name) for name in rule.dimensions})
        for fact in counting(rule, facts, {}, customer)
        if start <= fact.at < end and (value := value_of(rule, fact)) is not None
    ]
