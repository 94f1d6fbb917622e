"""What a figure is: a list of things that happened or stand open, counted and added up by row, column and currency in one query.

The list and the figure are one statement, so that a number and the list behind it never say different things.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from moneyed import Money

from invoicing.reports.asking import midnight, midnight_after
from invoicing.reports.report import Tie

Value = Money | Decimal | int | None


class Unit(StrEnum):
    """What a column counts in."""

    COUNT = "count"
    MONEY = "money"
    PERCENT = "percent"
    DAYS = "days"


class Drawing(StrEnum):
    """How it is drawn: a bar beside another in each row, one bar of parts in each row, or columns in time."""

    ROWS = "rows"
    PARTS = "parts"
    TIME = "time"


@dataclass(frozen=True)
class Asked:
    """What is asked: a span of days (UTC), a legal entity and a currency ("": all), and the moment at which it is asked."""

    start: date
    end: date
    at: datetime
    entity: str = ""
    currency: str = ""

    @property
    def as_of(self) -> date:
        """The day at whose end what stands open is read: the last of the span, or today."""
        return min(self.end, self.at.astimezone(UTC).date())

    @property
    def values(self) -> dict[str, Any]:
        """As the statements name it."""
        return {
            "start": midnight(day=self.start),
            "before": midnight_after(day=self.end),
            "as_of": self.as_of,
            "as_of_before": midnight_after(day=self.as_of),
            "at": self.at,
            "entity": self.entity,
            "currency": self.currency,
        }


@dataclass(frozen=True)
class Measure:
    """One column: an aggregate over the rows of the statement, and which of them its number counts; `of` names two columns whose share it is.

    `tone` is its place in the palette where it is drawn (0: it is not).
    """

    key: str
    title: str
    unit: Unit = Unit.COUNT
    value: str = "count(*)"
    which: str = "TRUE"
    of: tuple[str, str] | None = None
    tone: int = 0


@dataclass(frozen=True)
class Source:
    """A figure as it is made: the statement yields a row for each thing that is counted.

    Its columns: bar, currency, entity, customer_id, customer, happened, page (case, invoice, notice, customer), page_id, words, amount,
    paid, mark. `title_of` names a bar, `fixed` are the bars that stand there even where nothing is in them.
    """

    name: str
    title: str
    definition: str
    empty: str
    bar: str
    statement: str
    measures: Sequence[Measure]
    title_of: Callable[[str], str]
    fixed: Callable[[Asked], Sequence[str]] = lambda _: ()
    is_by_currency: bool = True
    drawn_as: Drawing = Drawing.ROWS


@dataclass(frozen=True)
class Bar:
    """One row of a figure: its key in the address of its list, its title, and its values by the keys of the measures."""

    key: str
    title: str
    values: Mapping[str, Value]


@dataclass(frozen=True)
class Panel:
    """A figure in one currency ("" where it has none), and of one legal entity, by its key, where it is told apart."""

    currency: str
    bars: Sequence[Bar]
    totals: Mapping[str, Value]
    tie: Tie | None = None
    entity: str = ""
    entity_name: str = ""


@dataclass(frozen=True)
class Figure:
    """A figure as it was asked for."""

    name: str
    title: str
    definition: str
    empty: str
    bar: str
    measures: Sequence[Measure]
    panels: Sequence[Panel]
    drawn_as: Drawing


@dataclass(frozen=True)
class Item:
    """One thing that a number counts, and where it is shown."""

    happened: datetime
    customer_id: int
    customer: str
    page: str
    page_id: int
    words: str
    amount: Money | None
    paid: Money | None
