"""The figures of dunning: all of them at once, one of them, and what one number of it counts."""

from collections.abc import Callable
from dataclasses import replace

from moneyed import Money

from dunning.figures.answering import Rows, figure_of, items_of
from dunning.figures.outstanding import outstanding_figure
from dunning.figures.risk import RECURRING, risk_figure, risk_items
from dunning.figures.source import Asked, Figure, Item, Panel
from dunning.figures.sources import AGEING, RISK, SOURCES
from invoicing.core.posting import RECEIVABLE
from invoicing.ledger.queries import balance_of
from invoicing.reports.asking import midnight_after
from invoicing.reports.report import Tie

# So many rows of a list stand on a page; its file has them all.
ITEMS_PER_PAGE = 200


def ageing_figure(*, asked: Asked) -> Figure:
    """Return what is open by the days that it is overdue, tied to the receivable account: of all legal entities, or of the one that is asked for."""
    figure = figure_of(source=AGEING, asked=asked)
    booked = balance_of(account=RECEIVABLE, before=midnight_after(day=asked.as_of), entity=asked.entity)
    return replace(figure, panels=[replace(panel, tie=_tie(panel, booked)) for panel in figure.panels])


BUILT: dict[str, Callable[..., Figure]] = {
    "outstanding": outstanding_figure,
    "ageing": ageing_figure,
    "risk": risk_figure,
}
# In the order of the page.
NAMES = ("recovery", "outstanding", "ageing", "risk", "cases", "mails", "promises")


def figure(*, name: str, asked: Asked) -> Figure:
    """Return one figure; raises KeyError for a name that there is not."""
    build = BUILT.get(name)
    return build(asked=asked) if build else figure_of(source=SOURCES[name], asked=asked)


def counted(
    *, name: str, asked: Asked, bar: str, measure: str, currency: str, page: int | None = 1
) -> tuple[int, list[Item]]:
    """Return how many things a number counts, and those of a page, None for all; past the last page there are none. Raises KeyError for a figure or column that there is not."""
    if name == RISK.name and measure == RECURRING.key:
        found = risk_items(asked=asked, bar=bar, currency=currency)
        return len(found), found if page is None else found[(page - 1) * ITEMS_PER_PAGE : page * ITEMS_PER_PAGE]
    rows = Rows() if page is None else Rows((page - 1) * ITEMS_PER_PAGE, ITEMS_PER_PAGE)
    return items_of(source=SOURCES[name], asked=asked, bar=bar, measure=measure, currency=currency, rows=rows)


def _tie(panel: Panel, booked: dict[str, Money]) -> Tie:
    reported = panel.totals["open"]
    assert isinstance(reported, Money), "it is a sum of money"
    return Tie("open", reported, booked.get(panel.currency, reported * 0), f"account {RECEIVABLE} Receivable")
