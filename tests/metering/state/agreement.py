"""Compare everything that the product says about usage with the reference, in one place for all tests."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

from django.db import connection

from billing_site.kernel.period import Period
from metering.core.decoding import decode_json
from metering.models import EventCancellation, Meter, MeterBackdating, UsageWindow
from metering.queries import MeterUsage, billing_usage, usage_as_known, usage_report
from tests.metering import reference
from tests.metering.reference import Fact, Rule


@dataclass
class World:
    """What is stored, as the reference sees it: read event by event, nothing aggregated."""

    facts: list[Fact]
    cancelled: dict[int, int]
    rules: dict[str, Rule]
    cursors: dict[str, int] = field(default_factory=dict)

    def counting(self, meter: str, customer: str, *, through: int = reference.EVERYTHING) -> list[Fact]:
        return reference.counting(self.rules[meter], self.facts, self.cancelled, customer, through=through)


def read_world() -> World:
    """Read every event, cancellation and meter as it stands in the tables."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, customer_id, idempotency_key, event_type, timestamp, quantity, namespace_id, properties::text"
            " FROM metering_usageevent ORDER BY id"
        )
        facts = [
            Fact(
                number, customer, key, kind, at.astimezone(UTC), Fraction(amount), space, decode_json(members.encode())
            )
            for number, customer, key, kind, at, amount, space, members in cursor.fetchall()
        ]
    moves: dict[int, list[tuple[int, datetime]]] = {}
    for number, meter, before in MeterBackdating.objects.order_by("number").values_list(
        "number", "meter_id", "effective_before"
    ):
        moves.setdefault(meter, []).append((number, before))
    meters = list(Meter.objects.all())
    return World(
        facts=facts,
        cancelled=dict(EventCancellation.objects.values_list("event_number", "number")),
        rules={
            meter.key: Rule(
                event_type=meter.event_type,
                aggregation=meter.aggregation,
                value_property=meter.value_property,
                filters=meter.filters,
                dimensions=tuple(meter.dimensions),
                effective_from=meter.effective_from,
                moves=tuple(moves.get(meter.pk, ())),
            )
            for meter in meters
        },
        cursors={meter.key: meter.rolled_up_to for meter in meters},
    )


def display_differences(
    world: World,
    *,
    meters: Iterable[str],
    customers: Iterable[str],
    periods: Iterable[Period],
    questions: Sequence[tuple[str, str | None]],
) -> list[str]:
    """Ask for usage as it is now, in each granularity and grouping; returns a sentence for each wrong answer."""
    wrong = []
    customers, periods = list(customers), list(periods)
    for meter in meters:
        rule = world.rules[meter]
        for customer in customers:
            counted = world.counting(meter, customer)
            for period in periods:
                total = reference.quantity(rule, counted, period.start, period.end)
                for granularity, group_by in questions:
                    report = usage_report(
                        meter_key=meter,
                        customer_id=customer,
                        period=period,
                        granularity=granularity,  # type: ignore[arg-type]
                        group_by=group_by,
                    )
                    wanted = reference.shown(rule, counted, period.start, period.end, granularity, group_by)
                    told = [
                        reference.Shown(
                            window.start, window.end, window.group, Fraction(window.value), window.event_count
                        )
                        for window in report.windows
                    ]
                    question = f"{meter} of {customer} in {period} by {granularity} and {group_by}"
                    if Fraction(report.total) != total:
                        wrong.append(f"{question}: the total is {report.total}, not {_text(total)}")
                    if told != wanted:
                        wrong.append(f"{question}: {_lines(told)}, not {_lines(wanted)}")
    return wrong


def billing_differences(
    world: World, *, customers: Iterable[str], periods: Iterable[Period]
) -> tuple[list[str], dict[tuple[str, str, Period], MeterUsage]]:
    """Compare what is billed, and its recount from raw events, with the reference as known at the cursor."""
    wrong, billed = [], {}
    meters = sorted(world.rules)
    for customer in customers:
        for period in periods:
            usage = billing_usage(customer_id=customer, meter_keys=meters, period=period)
            for meter, said in usage.items():
                billed[meter, customer, period] = said
                assert said.known_through == world.cursors[meter], "billing counts up to the cursor"
                wrong += recount_differences(world, meter=meter, customer=customer, period=period, said=said)
    return wrong, billed


def recount_differences(world: World, *, meter: str, customer: str, period: Period, said: MeterUsage) -> list[str]:
    """Compare a billed figure with its recount and with the reference, as known then."""
    rule = world.rules[meter]
    counted = world.counting(meter, customer, through=said.known_through)
    wanted = reference.quantity(rule, counted, period.start, period.end)
    events = sum(period.start <= fact.at < period.end for fact in counted)
    question = f"{meter} of {customer} in {period}, known through {said.known_through}"
    again = usage_as_known(meter_key=meter, customer_id=customer, period=period, known_through=said.known_through)
    wrong = []
    if Fraction(said.quantity) != wanted or said.event_count != events:
        wrong.append(f"{question}: billed {said.quantity} of {said.event_count}, not {_text(wanted)} of {events}")
    if (again.quantity, again.event_count, again.window_count, again.windows_digest) != (
        said.quantity,
        said.event_count,
        said.window_count,
        said.windows_digest,
    ):
        wrong.append(f"{question}: billed {said}, recounted {again}")
    return wrong


def window_differences(world: World) -> list[str]:
    """Compare each stored window that is a plain number with the reference as known at its meter's cursor."""
    wanted: dict[tuple[str, str, datetime, str], tuple[Fraction, int]] = {}
    for meter, rule in world.rules.items():
        for customer in {fact.customer for fact in world.facts}:
            parts: dict[tuple[datetime, str], list[Fact]] = {}
            for fact in world.counting(meter, customer, through=world.cursors[meter]):
                hour = fact.at.replace(minute=0, second=0, microsecond=0)
                parts.setdefault((hour, _grouping(rule, fact)), []).append(fact)
            for (hour, grouping), facts in parts.items():
                wanted[meter, customer, hour, grouping] = (_window_value(rule, facts), len(facts))
    stored = {
        (key, customer, start.astimezone(UTC), grouping): (Fraction(value), count)
        for key, customer, start, grouping, value, count in UsageWindow.objects.values_list(
            "meter__key", "customer_id", "start", "grouping", "value", "event_count"
        )
        if count or value
    }
    return [
        f"window {place}: stored {_pair(stored.get(place))}, counted {_pair(wanted.get(place))}"
        for place in sorted(stored.keys() | wanted.keys(), key=str)
        if stored.get(place) != wanted.get(place)
    ]


def _window_value(rule: Rule, facts: Sequence[Fact]) -> Fraction:
    first, last = facts[0].at, facts[-1].at
    values = [value for fact in facts if (value := reference.value_of(rule, fact)) is not None]
    if rule.aggregation == "average":
        return sum(values, Fraction(0))
    if rule.aggregation == "time_weighted_sum":
        return sum(
            (
                value
                * (
                    (following.at - fact.at).days * 86_400_000_000
                    + (following.at - fact.at).seconds * 1_000_000
                    + (following.at - fact.at).microseconds
                )
                for value, fact, following in zip(values, facts, facts[1:], strict=False)
            ),
            Fraction(0),
        )
    end = first.replace(minute=0, second=0, microsecond=0) + reference.HOUR
    assert last < end
    return reference.quantity(rule, facts, first.replace(minute=0, second=0, microsecond=0), end)


def _grouping(rule: Rule, fact: Fact) -> str:
    if not rule.dimensions:
        return ""
    return json.dumps(
        [reference.shortened(reference.property_of(fact, name)) for name in rule.dimensions], ensure_ascii=False
    )


def _text(value: Fraction) -> str:
    return f"{Decimal(value.numerator) / Decimal(value.denominator)}"


def _pair(pair: tuple[Fraction, int] | None) -> str:
    return "nothing" if pair is None else f"{_text(pair[0])} of {pair[1]}"


def _lines(windows: Sequence[reference.Shown]) -> str:
    return "[" + ", ".join(f"{w.start:%d %H:%M} {w.group} {_text(w.value)} of {w.events}" for w in windows) + "]"
