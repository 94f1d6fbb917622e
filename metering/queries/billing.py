"""What is billed: only what is in windows, so that it can be counted again for ever as it was known."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from billing_site.kernel.digest import digest_of
from billing_site.kernel.errors import NotFound
from billing_site.kernel.money import EXACT, plain
from billing_site.kernel.period import Period
from metering.core.aggregation import ADDS_UP, Hour
from metering.models import Meter
from metering.queries.counted import Counted
from metering.queries.hours import counted_for_billing


@dataclass(frozen=True)
class Groups:
    """What a meter counted, apart by the values of its dimensions; None is a value that events lack."""

    dimensions: tuple[str, ...]
    quantities: tuple[tuple[tuple[str | None, ...], Decimal], ...]

    def by(self, names: Sequence[str]) -> dict[tuple[str | None, ...], Decimal]:
        """Return the quantity by the values of some of the dimensions, in the order in which they are named."""
        places = [self.dimensions.index(name) for name in names]
        sums: dict[tuple[str | None, ...], Decimal] = {}
        for values, quantity in self.quantities:
            group = tuple(values[place] for place in places)
            sums[group] = EXACT.add(sums.get(group, Decimal(0)), quantity)
        return sums


@dataclass(frozen=True)
class MeterUsage:
    """What a meter counted in a period, from the events up to number `known_through`.

    `windows_digest` is SHA-256 over the canonical rows of the hours, [start, value, event_count, ...].
    `groups` are there where the meter has dimensions and its parts add up to the whole.
    """

    quantity: Decimal
    window_count: int
    event_count: int
    windows_digest: str
    known_through: int
    groups: Groups | None = None
    # Whose it is and when, for what is asked of the same events later.
    meter: str = field(default="", compare=False, repr=False)
    customer_id: str = field(default="", compare=False, repr=False)
    period: Period | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Asked:
    """One meter of one customer in one period, of which billing asks what was counted."""

    customer_id: str
    meter_key: str
    period: Period


def billing_usage(*, customer_id: str, meter_keys: Sequence[str], period: Period) -> dict[str, MeterUsage]:
    """Return what each meter counted in the period, as of its cursor; events after it do not count.

    Roll up first. A bound within an hour is exact: that hour is read from its events up to the
    cursor. Raises NotFound on the field `meter`.
    """
    found = billing_usages(asked=[Asked(customer_id, key, period) for key in meter_keys])
    return {one.meter_key: usage for one, usage in found.items()}


def billing_usages(*, asked: Collection[Asked]) -> dict[Asked, MeterUsage]:
    """Return the same for many customers: whole hours of all of them in two queries, what needs raw events in one more each."""
    meters = {meter.key: meter for meter in Meter.objects.filter(key__in={one.meter_key for one in asked})}
    for one in asked:
        if one.meter_key not in meters:
            raise NotFound(f"there is no meter {one.meter_key!r}", field="meter")
    spans = [(meters[one.meter_key], one.customer_id, one.period) for one in asked]
    counted = counted_for_billing(spans=spans)
    return {
        one: usage_of(counted=those, meter=meters[one.meter_key], customer_id=one.customer_id)
        for one, those in zip(asked, counted, strict=True)
    }


def no_usage() -> MeterUsage:
    """Return the usage of a time in which nothing can have been used yet."""
    return MeterUsage(Decimal(0), 0, 0, digest_of([]), 0)


def usage_of(*, counted: Counted, meter: Meter, customer_id: str) -> MeterUsage:
    """Sum what was counted in a period, each hour and grouping once, and seal it with a digest."""
    rows = [_row(hour) for hour in counted.hours]
    levels = [
        ["opening", grouping, plain(level)] for grouping, level in sorted(counted.opening.items(), key=str) if level
    ]
    return MeterUsage(
        quantity=counted.quantity,
        window_count=len(rows),
        event_count=counted.event_count,
        windows_digest=digest_of([*levels, *rows]),
        known_through=counted.through,
        groups=_groups(counted, meter.dimensions) if meter.dimensions and meter.aggregation in ADDS_UP else None,
        meter=meter.key,
        customer_id=customer_id,
        period=counted.period,
    )


def _groups(counted: Counted, dimensions: Sequence[str]) -> Groups:
    sums: dict[str, Decimal] = {}
    for hour in counted.hours:
        assert hour.grouping, "hours of a meter with dimensions have a grouping"
        sums[hour.grouping] = EXACT.add(sums.get(hour.grouping, Decimal(0)), hour.value)
    return Groups(tuple(dimensions), tuple((tuple(json.loads(grouping)), sums[grouping]) for grouping in sorted(sums)))


def _row(hour: Hour) -> list[Any]:
    """Return an hour as its digest covers it; what a plain sum does not have is left out."""
    row: list[Any] = [_text(hour.start), plain(hour.value), hour.event_count]
    if hour.grouping or hour.last_value is not None:
        row.append(hour.grouping)
    if hour.first_at is not None and hour.last_at is not None and hour.last_value is not None:
        row += [_text(hour.first_at), _text(hour.last_at), plain(hour.last_value)]
    return row


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()
