"""Usage, told again by somebody who never saw the product's SQL: event by event, in fractions, without windows.

Written from metering/README.md alone. It keeps lists, sorts them, and adds; it is slow and it is meant to be. What
it shares with the product is the alphabet (names of aggregations), not one line of code.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

EVERYTHING = 2**63 - 1
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Fact:
    """An accepted event; `number` is its place in the order of acceptance."""

    number: int
    customer: str
    key: str
    event_type: str
    at: datetime
    quantity: Fraction
    namespace: str = ""
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Rule:
    """A meter. `moves` are (number, from when it counted before that number), the oldest first."""

    event_type: str
    aggregation: str = "sum"
    value_property: str = ""
    filters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    dimensions: tuple[str, ...] = ()
    effective_from: datetime | None = None
    moves: tuple[tuple[int, datetime], ...] = ()

    def since(self, through: int) -> datetime | None:
        """From when the meter counted, as was known through a number."""
        for number, before in self.moves:
            if number > through:
                return before
        return self.effective_from


@dataclass(frozen=True)
class Shown:
    """One window of an answer."""

    start: datetime
    end: datetime
    group: str | None
    value: Fraction
    events: int


def text_of(value: Any) -> str | None:
    """A JSON value as the text that people would compare: strings bare, numbers without exponent."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Decimal):
        written = format(value, "f")
        return written.lstrip("-") if value == 0 else written
    assert isinstance(value, list | dict)
    return json.dumps(value)


def property_of(fact: Fact, name: str) -> str | None:
    """A property, or the namespace, as text; None where the event lacks it."""
    if name == "namespace_id":
        return fact.namespace or None
    return text_of(fact.properties.get(name))


def shortened(value: str | None) -> str | None:
    """The value of a dimension as a window keeps it: what is too long for an index is told apart by its MD5."""
    if value is None or len(value) <= 132:
        return value
    return value[:100] + hashlib.md5(value.encode(), usedforsecurity=False).hexdigest()


def number_in(text: str | None) -> Fraction | None:
    """A number from 0 on, with 1 to 26 digits before the point and at most 12 that matter after it."""
    if text is None:
        return None
    whole, point, part = text.partition(".")
    digits = set("0123456789")
    if not 1 <= len(whole) <= 26 or set(whole) - digits or set(part) - digits:
        return None
    if point and (not part or len(part.rstrip("0")) > 12):
        return None
    return Fraction(text)


def value_of(rule: Rule, fact: Fact) -> Fraction | None:
    """What one event says to a meter; None where the meter cannot read it."""
    if rule.aggregation == "count":
        return Fraction(1)
    if rule.aggregation == "unique_count":
        return None if property_of(fact, rule.value_property) is None else Fraction(1)
    if not rule.value_property:
        return fact.quantity
    return number_in(text_of(fact.properties.get(rule.value_property)))


def passes(rule: Rule, fact: Fact) -> bool:
    """Whether the filters let an event through."""
    return all(property_of(fact, name) in wanted for name, wanted in rule.filters.items())


def counting(
    rule: Rule, facts: Iterable[Fact], cancelled: Mapping[int, int], customer: str, *, through: int = EVERYTHING
) -> list[Fact]:
    """The customer's events that count, as was known through a number, in the order of time, then of acceptance.

    `cancelled` is the number of the cancellation by the number of the event.
    """
    since = rule.since(through)
    found = [
        fact
        for fact in facts
        if fact.customer == customer
        and fact.event_type == rule.event_type
        and fact.number <= through
        and not (fact.number in cancelled and cancelled[fact.number] <= through)
        and (since is None or fact.at >= since)
        and passes(rule, fact)
        and value_of(rule, fact) is not None
    ]
    return sorted(found, key=lambda fact: (fact.at, fact.number))


def rounded(value: Fraction) -> Fraction:
    """Half away from zero, to 12 decimals."""
    assert value >= 0
    return Fraction(math.floor(value * 10**12 + Fraction(1, 2)), 10**12)


def quantity(rule: Rule, counted: Sequence[Fact], start: datetime, end: datetime) -> Fraction:
    """What a meter makes of events in their order for the time [start, end)."""
    if rule.aggregation == "time_weighted_sum":
        return rounded(sum((_held(rule, facts, start, end) for facts in _kept_apart(rule, counted)), Fraction(0)))
    inside = [fact for fact in counted if start <= fact.at < end]
    values = [value for fact in inside if (value := value_of(rule, fact)) is not None]
    if not values:
        return Fraction(0)
    if rule.aggregation == "unique_count":
        return Fraction(len({property_of(fact, rule.value_property) for fact in inside}))
    simple: dict[str, Callable[[], Fraction]] = {
        "sum": lambda: sum(values, Fraction(0)),
        "count": lambda: Fraction(len(values)),
        "max": lambda: max(values),
        "min": lambda: min(values),
        "latest": lambda: _latest(rule, inside),
        "average": lambda: rounded(sum(values, Fraction(0)) / len(values)),
    }
    return simple[rule.aggregation]()


def _kept_apart(rule: Rule, counted: Sequence[Fact]) -> list[list[Fact]]:
    parts: dict[tuple[str | None, ...], list[Fact]] = {}
    for fact in counted:
        parts.setdefault(tuple(property_of(fact, name) for name in rule.dimensions), []).append(fact)
    return list(parts.values())


def _latest(rule: Rule, counted: Sequence[Fact]) -> Fraction:
    """The last event of each grouping; of several groupings the latest, and of equally late ones the greatest value."""
    lasts = [facts[-1] for facts in _kept_apart(rule, counted)]
    return max((last.at, value) for last in lasts if (value := value_of(rule, last)) is not None)[1]


def _held(rule: Rule, counted: Sequence[Fact], start: datetime, end: datetime) -> Fraction:
    """Level times hours: each level is held until the next event, the last one until the end."""
    total = Fraction(0)
    for fact, following in zip(counted, [*counted[1:], None], strict=True):
        begins, ends = max(fact.at, start), min(following.at if following else end, end)
        level = value_of(rule, fact)
        if begins < ends and level is not None:
            total += level * Fraction((ends - begins) // timedelta(microseconds=1), 3_600_000_000)
    return total


def span_starts(start: datetime, end: datetime, granularity: str) -> list[datetime]:
    """The bounds of UTC hours, days or months within [start, end), both ends included."""
    bounds, moment = [start], start.replace(minute=0, second=0, microsecond=0)
    while moment < end:
        whole = {"hour": True, "day": moment.hour == 0, "month": moment.hour == 0 and moment.day == 1}[granularity]
        if whole and moment > start:
            bounds.append(moment)
        moment += HOUR
    return [*bounds, end]


def shown(
    rule: Rule, counted: Sequence[Fact], start: datetime, end: datetime, granularity: str, group_by: str | None = None
) -> list[Shown]:
    """The windows of a report: of each group what the meter makes of the group's events alone; empty ones left out."""
    groups: dict[str | None, list[Fact]] = {}
    for fact in counted:
        group = property_of(fact, group_by) if group_by else None
        groups.setdefault(shortened(group) if group_by in rule.dimensions else group, []).append(fact)
    bounds = span_starts(start, end, granularity)
    found = []
    for group, facts in groups.items():
        for first, last in pairwise(bounds):
            events = sum(first <= fact.at < last for fact in facts)
            value = quantity(rule, facts, first, last)
            if events or value:
                found.append(Shown(first, last, group, value, events))
    return sorted(found, key=lambda one: (one.start, one.group is None, one.group or ""))


def moved_back(rule: Rule, *, number: int, effective_from: datetime) -> Rule:
    """The meter after a backdating."""
    assert rule.effective_from is not None
    return replace(rule, effective_from=effective_from, moves=(*rule.moves, (number, rule.effective_from)))
