"""Billing, told again: who agreed to what from when to when, and what happened, become the lines of every period."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from itertools import pairwise
from typing import Any

from tests.invoicing.reference.dates import boundaries, part_of
from tests.invoicing.reference.pricing import amount_of, to_minor_units
from tests.metering.reference import Fact, Rule, counting, quantity, value_of

DECIMALS = {"USD": 2, "EUR": 2, "JPY": 0, "KWD": 3}


@dataclass(frozen=True)
class Agreement:
    """A plan, as it stands in a catalog file, in force for a customer."""

    key: str
    plan: Mapping[str, Any]
    started_at: datetime
    ended_at: datetime | None
    anchor: str


@dataclass(frozen=True)
class Account:
    """A customer with all its agreements."""

    customer: str
    currency: str
    timezone: str
    agreements: tuple[Agreement, ...]


@dataclass(frozen=True, order=True)
class Line:
    """What is owed for one price in the part of a billing period in which it was in force."""

    agreement: str
    price: str
    period_start: datetime
    period_end: datetime
    service_start: datetime
    service_end: datetime
    quantity: Fraction
    amount: Fraction


def lines_of(
    account: Account,
    rules: Mapping[str, Rule],
    facts: Sequence[Fact],
    *,
    since: datetime | None = None,
    until: datetime,
) -> list[Line]:
    """All lines of the billing periods that ended after `since` and by `until`."""
    return sorted(
        line
        for agreement in account.agreements
        for start, end in periods_of(agreement, account.timezone, until=until)
        if since is None or end > since
        for line in _lines(account, agreement, rules, facts, start, end)
    )


def periods_of(agreement: Agreement, timezone: str, *, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The billing periods in which an agreement was in force and that have ended."""
    for start, end in pairwise(boundaries(agreement.started_at, agreement.anchor, agreement.plan["cadence"], timezone)):
        if end > until or (agreement.ended_at is not None and agreement.ended_at <= start):
            return
        yield start, end


def _lines(
    account: Account,
    agreement: Agreement,
    rules: Mapping[str, Rule],
    facts: Sequence[Fact],
    start: datetime,
    end: datetime,
) -> Iterator[Line]:
    service_start = max(start, agreement.started_at)
    service_end = end if agreement.ended_at is None else min(end, agreement.ended_at)
    share = part_of(service_start, service_end, start, end)
    for price in agreement.plan["prices"]:
        if price["currency"] != account.currency:
            continue
        pieces = [Fraction(1)]
        if price["meter"] is not None:
            pieces = pieces_of(rules[price["meter"]], facts, account.customer, service_start, service_end)
        amount = to_minor_units(amount_of(price, pieces, share=share), DECIMALS[account.currency])
        used = sum(pieces, Fraction(0))
        yield Line(agreement.key, price["key"], start, end, service_start, service_end, used, amount)


def pieces_of(rule: Rule, facts: Sequence[Fact], customer: str, start: datetime, end: datetime) -> list[Fraction]:
    """What each event adds, in the order of time; where events do not simply add up, what they make together."""
    counted = counting(rule, facts, {}, customer)
    if rule.aggregation not in ("sum", "count"):
        return [quantity(rule, counted, start, end)]
    return [value for fact in counted if start <= fact.at < end and (value := value_of(rule, fact)) is not None]
