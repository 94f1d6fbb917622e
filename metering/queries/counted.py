"""What was counted in a period, hour by hour."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from billing_site.kernel.period import Period
from metering.core.aggregation import Hour, closing_levels, quantity_of


@dataclass(frozen=True)
class Counted:
    """What was counted in a period: its hours, the levels at its start, and the distinct values of each hour.

    `through` is the number up to which events were counted.
    """

    aggregation: str
    period: Period
    hours: tuple[Hour, ...]
    through: int
    opening: Mapping[str | None, Decimal] = field(default_factory=dict)
    values: tuple[tuple[datetime, str | None, Any], ...] = ()

    @property
    def quantity(self) -> Decimal:
        """The quantity of the whole period over all groupings."""
        return quantity_of(
            aggregation=self.aggregation,
            hours=self.hours,
            period=self.period,
            opening=self.opening,
            distinct=len({value for _, _, value in self.values}),
        )

    @property
    def event_count(self) -> int:
        """The number of events that count."""
        return sum(hour.event_count for hour in self.hours)

    def split(self, spans: Sequence[Period]) -> Iterator["Counted"]:
        """Yield the parts of spans that follow each other, hold whole hours, and together hold all that was counted."""
        levels, place = self.opening, 0
        values: dict[datetime, list[tuple[datetime, str | None, Any]]] = {}
        for value in self.values:
            values.setdefault(value[0], []).append(value)
        for span in spans:
            first = place
            while place < len(self.hours) and self.hours[place].start < span.end:
                assert self.hours[place].start >= span.start, "an hour lies before the span that should hold it"
                place += 1
            hours = self.hours[first:place]
            starts = {hour.start for hour in hours}
            yield Counted(
                aggregation=self.aggregation,
                period=span,
                hours=hours,
                through=self.through,
                opening=levels,
                values=tuple(value for start in starts for value in values.get(start, ())),
            )
            levels = closing_levels(hours=hours, opening=levels)
        assert place == len(self.hours), "an hour lies in no span"

    def of_groupings(self, groupings: Sequence[str | None]) -> "Counted":
        """Return the part of some groupings."""
        return Counted(
            aggregation=self.aggregation,
            period=self.period,
            hours=tuple(hour for hour in self.hours if hour.grouping in groupings),
            through=self.through,
            opening={name: level for name, level in self.opening.items() if name in groupings},
            values=tuple(value for value in self.values if value[1] in groupings),
        )
