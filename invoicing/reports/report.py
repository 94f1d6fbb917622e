"""What a report is: columns, one section a currency, and the ties that hold it to the ledger to the cent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum

from moneyed import Money

from billing_site.kernel.money import total

Cell = str | int | date | datetime | Money | None


class ColumnKind(StrEnum):
    """How the cells of a column are written."""

    TEXT = "text"
    NUMBER = "number"
    DAY = "day"
    MOMENT = "moment"
    MONEY = "money"


@dataclass(frozen=True)
class Column:
    """One column: its name for machines, its title for people; a page leaves out an optional one where a section has nothing in it.

    `is_name` says of a column of names that they may change later: they are no figures of the report.
    """

    key: str
    title: str
    kind: ColumnKind = ColumnKind.TEXT
    is_optional: bool = False
    is_name: bool = False


class DoorKind(StrEnum):
    """What a cell can lead to."""

    CUSTOMER = "customer"
    STATEMENT = "statement"
    INVOICE = "invoice"
    ACCOUNT = "account"
    ENTRY = "entry"


@dataclass(frozen=True)
class Door:
    """What a cell is made of: a customer's or account's key, an invoice's number, the name of a journal entry."""

    kind: DoorKind
    key: str


@dataclass(frozen=True)
class Row:
    """The cells of one row by the keys of their columns, and where some of them lead."""

    cells: Mapping[str, Cell]
    doors: Mapping[str, Door] = field(default_factory=dict)


@dataclass(frozen=True)
class Tie:
    """A figure of a report and the same figure from the ledger; they are equal, or something is wrong."""

    about: str
    reported: Money
    booked: Money
    source: str

    def __post_init__(self) -> None:
        assert self.reported.currency == self.booked.currency, "a tie is within one currency"

    @property
    def holds(self) -> bool:
        """Say whether both are the same to the cent."""
        return self.reported == self.booked

    @property
    def currency(self) -> str:
        """The currency of both."""
        return str(self.reported.currency.code)

    @property
    def difference(self) -> Money:
        """What the report says beyond the ledger."""
        return self.reported - self.booked


@dataclass(frozen=True)
class Section:
    """The rows of one currency, their sums by column, and the ties."""

    currency: str
    rows: Sequence[Row]
    totals: Mapping[str, Money]
    ties: Sequence[Tie]
    title: str = ""


@dataclass(frozen=True)
class Report:
    """A whole report: what was asked, in words, and the answer."""

    name: str
    title: str
    asked: str
    columns: Sequence[Column]
    sections: Sequence[Section]
    definition: str

    @property
    def ties(self) -> list[Tie]:
        """All ties of all sections."""
        return [tie for section in self.sections for tie in section.ties]

    @property
    def is_tied(self) -> bool:
        """Say whether every figure is the ledger's."""
        return all(tie.holds for tie in self.ties)


def sums_of(*, rows: Sequence[Row], columns: Sequence[Column], currency: str) -> dict[str, Money]:
    """Return the sum of each column of money."""
    return {
        column.key: total((cell for row in rows if isinstance(cell := row.cells.get(column.key), Money)), currency)
        for column in columns
        if column.kind is ColumnKind.MONEY
    }
