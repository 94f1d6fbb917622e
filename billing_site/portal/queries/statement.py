"""A customer's statement of a year: what was charged and paid, what is owed after each, and what is on account; the figures of the books."""

from dataclasses import dataclass
from datetime import UTC, date, datetime

from moneyed import Money

from billing_site.portal.words import document_text
from invoicing.customers.models import Customer
from invoicing.reports.asking import Question
from invoicing.reports.report import Row, Section
from invoicing.reports.statement import LESS_ON_ACCOUNT, statement_report

MONTHS = 12


@dataclass(frozen=True)
class StatementRow:
    """A document with what it changed, or a balance; what is owed and on account after it (None: nothing ever was)."""

    day: date
    document: str
    amount: Money
    owed: Money
    on_account: Money | None


@dataclass(frozen=True)
class CurrencyStatement:
    """What happened in one currency, the oldest first, with what was owed before and is owed after it."""

    currency: str
    rows: tuple[StatementRow, ...]
    owed: Money
    on_account: Money
    rest: Money


@dataclass(frozen=True)
class StatementPage:
    """Everything on the page."""

    start: date
    end: date
    sections: tuple[CurrencyStatement, ...]


def statement_page(*, customer: Customer, at: datetime) -> StatementPage:
    """Return a customer's statement of this month and the eleven before it, until today (UTC), as the books have it."""
    end = at.astimezone(UTC).date()
    year, month = divmod(end.year * 12 + end.month - MONTHS, 12)
    start = date(year, month + 1, 1)
    report = statement_report(question=Question(as_of=end, start=start, end=end, customer=customer))
    return StatementPage(start, end, tuple(_section(one) for one in report.sections))


def _section(section: Section) -> CurrencyStatement:
    owed, on_account = section.totals["balance"], section.totals["on_account"]
    # The last line of the report stands above the others here.
    rows = [row for row in section.rows if row.cells["document"] != LESS_ON_ACCOUNT]
    return CurrencyStatement(section.currency, tuple(_row(row) for row in rows), owed, on_account, owed - on_account)


def _row(row: Row) -> StatementRow:
    day, owed = row.cells["day"], _money(row, "balance")
    assert isinstance(day, date) and owed is not None, "each row of a statement is of a day, and says what is owed"
    paid = _money(row, "paid")
    changes = (_money(row, "charged"), -paid if paid is not None else None, _money(row, "put"))
    return StatementRow(
        day=day,
        document=document_text(document=str(row.cells["document"])),
        amount=next((one for one in changes if one is not None), owed),
        owed=owed,
        on_account=_money(row, "on_account"),
    )


def _money(row: Row, key: str) -> Money | None:
    cell = row.cells.get(key)
    return cell if isinstance(cell, Money) else None
