"""Answer a figure, and list what one of its numbers counts: one query each, however many cases there are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import connection
from moneyed import Money

from billing_site.kernel.money import round_money, total
from dunning.core.figures import share
from dunning.figures.source import Asked, Bar, Figure, Item, Measure, Panel, Source, Unit, Value

# Where bars are added up, the row of the sums is called so in the addresses of lists.
ALL = "all"
_ASKED = "(%(entity)s = '' OR entity = %(entity)s) AND (%(currency)s = '' OR currency = %(currency)s)"


@dataclass(frozen=True)
class Rows:
    """Which rows of a list: so many after so many; None: all that follow."""

    offset: int = 0
    limit: int | None = None


def figure_of(*, source: Source, asked: Asked) -> Figure:
    """Return a figure, in each currency that it is about."""
    counted = [measure for measure in source.measures if measure.of is None]
    currency = "currency" if source.is_by_currency else "''"
    values = ", ".join(measure.value for measure in counted)
    rows = fetched(
        f"""
        WITH found AS ({source.statement})
        SELECT {currency} AS told, coalesce(bar, '{ALL}') AS bar, {values} FROM found WHERE {_ASKED}
         GROUP BY GROUPING SETS ((1, found.bar), (1)) ORDER BY 1, 2
        """,
        asked.values,
    )
    panels: dict[str, dict[str, Mapping[str, Value]]] = {}
    for code, bar, *numbers in rows:
        panels.setdefault(code, {})[bar] = _values(source.measures, counted, numbers, code)
    return Figure(
        name=source.name,
        title=source.title,
        definition=source.definition,
        empty=source.empty,
        bar=source.bar,
        measures=source.measures,
        panels=[_panel(source, asked, code, bars) for code, bars in panels.items() if len(bars) > 1],
        drawn_as=source.drawn_as,
    )


def items_of(
    *, source: Source, asked: Asked, bar: str, measure: str, currency: str, rows: Rows
) -> tuple[int, list[Item]]:
    """Return how many things a number of a figure counts, and some of them, newest first.

    Raises KeyError for a column that the figure does not have.
    """
    which = {one.key: one.which for one in source.measures if one.of is None}[measure]
    found = fetched(
        f"""
        WITH found AS ({source.statement}),
             counted AS (SELECT * FROM found
                          WHERE {_ASKED} AND (%(bar)s = '{ALL}' OR bar = %(bar)s) AND (%(told)s = '' OR currency = %(told)s) AND ({which}))
        SELECT whole.number, happened, customer_id, customer, page, page_id, words, currency, amount, paid
          FROM (SELECT count(*) AS number FROM counted) whole
          LEFT JOIN (SELECT * FROM counted ORDER BY happened DESC, page_id DESC OFFSET %(offset)s LIMIT %(limit)s) part ON TRUE
         ORDER BY happened DESC, page_id DESC
        """,
        {**asked.values, "bar": bar, "told": currency, "offset": rows.offset, "limit": rows.limit},
    )
    items = [
        Item(
            happened,
            customer_id,
            customer,
            page,
            page_id,
            words,
            _money(amount, code),
            _money(paid, code),
        )
        for _, happened, customer_id, customer, page, page_id, words, code, amount, paid in found
        if page_id is not None
    ]
    return found[0][0], items


def fetched(statement: str, values: Mapping[str, Any]) -> Sequence[tuple[Any, ...]]:
    """Return the rows of a statement."""
    with connection.cursor() as cursor:
        cursor.execute(statement, dict(values))
        return cursor.fetchall()


def _money(amount: Decimal | None, code: str) -> Money | None:
    return None if amount is None else round_money(amount, code)


def _values(
    measures: Sequence[Measure], counted: Sequence[Measure], numbers: Sequence[Any], code: str
) -> dict[str, Value]:
    found: dict[str, Value] = {
        measure.key: round_money(number or Decimal(0), code) if measure.unit is Unit.MONEY else number
        for measure, number in zip(counted, numbers, strict=True)
    }
    for measure in measures:
        if measure.of is not None:
            part, whole = (_number(found[key]) for key in measure.of)
            found[measure.key] = share(part=part, whole=whole)
    return found


def _number(value: Value) -> Decimal | int:
    assert value is not None, "what is shared is counted"
    return value.amount if isinstance(value, Money) else value


def _panel(source: Source, asked: Asked, code: str, found: dict[str, Mapping[str, Value]]) -> Panel:
    totals = found.pop(ALL)
    nothing = {
        measure.key: None if measure.of else total((), code) if measure.unit is Unit.MONEY else 0
        for measure in source.measures
    }
    keys = sorted({*found, *source.fixed(asked)})
    bars = [Bar(key, source.title_of(key), found.get(key, nothing)) for key in keys]
    return Panel(currency=code, bars=bars, totals=totals)
