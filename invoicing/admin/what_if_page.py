"""What the pages of a what-if show: the totals by currency with their charts, a page of customers, and one customer's invoices."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django.core.paginator import Page, Paginator
from django.utils.safestring import SafeString
from moneyed import Money

from billing_site.display.charts import Series, bar_chart
from billing_site.display.figures import money_text
from billing_site.kernel.digest import digest_of
from billing_site.kernel.errors import BillingError
from billing_site.kernel.money import round_money
from invoicing.catalog.models import PlanVersion
from invoicing.core.contract import DocumentLine
from invoicing.what_ifs.models import WhatIf, WhatIfFigure
from invoicing.workflows.what_if import Comparison, card_of_version, cards_in_place, compare_invoice
from invoicing.workflows.what_if_figures import (
    FROM_NOTHING,
    ORDERS,
    SIDES,
    CustomerChange,
    change_of,
    customer_changes,
    percent_of,
)

PAGE_CUSTOMERS = 50
SIDE_NAMES = {
    "": "all",
    "less": "would pay less",
    "more": "would pay more",
    "same": "the same",
    "problem": "cannot be told",
}
COLUMNS = (("name", "Customer"), ("before", "Was charged"), ("after", "Would have been"), ("effect", "Change"))


@dataclass(frozen=True)
class Card:
    """A price list of the question; `version` is its version in the catalog, `changed` says that it is another by now."""

    source: str
    plan: str
    version: PlanVersion | None
    changed: bool


@dataclass(frozen=True)
class Heading:
    """A column's title: the address that orders by it, and how it is ordered now."""

    title: str
    address: str
    sorted: str


@dataclass(frozen=True)
class WhatIfPage:
    """Everything on the page of a finished what-if, for one currency."""

    currency: str
    currencies: list[str]
    figures: dict[str, Any] | None
    side: str
    sides: list[tuple[str, str, int, str]]
    headings: list[Heading]
    customers: "Page[Any]"
    changes: list[CustomerChange]
    previous: str
    next: str
    groups: SafeString | None
    months: SafeString | None


@dataclass(frozen=True)
class LineChange:
    """A line of an invoice before and after; None on the side that does not have it."""

    was: DocumentLine | None
    now: DocumentLine | None


@dataclass(frozen=True)
class InvoiceChange:
    """One invoice as the answer keeps it, and the same computed now."""

    row: WhatIfFigure
    compared: Comparison
    lines: list[LineChange]

    @property
    def is_equal(self) -> bool:
        """Say whether computing it now gives the figure that the answer keeps."""
        now = self.compared.now
        return (now.total if now else None, self.compared.problem) == (self.row.after, self.row.problem)


def cards_of(*, asked: WhatIf) -> list[Card]:
    """Return the price lists of a what-if with their versions, and whether a draft was edited since."""
    versions = PlanVersion.objects.select_related("plan__product").in_bulk(
        [card["version"] for card in asked.cards if card["version"]]
    )
    cards = []
    for card in asked.cards:
        version = versions.get(card["version"])
        cards.append(Card(card["source"], card["plan"], version, version is not None and _changed(version, card)))
    return cards


def what_if_page(*, asked: WhatIf, parameters: Mapping[str, str]) -> WhatIfPage:
    """Return the page that an address asks for; what it does not say, or says wrongly, is as at first."""
    by_currency = {one["currency"]: one for one in asked.figures["currencies"]}
    currencies = list(by_currency)
    currency = parameters.get("currency", "")
    if currency not in by_currency:
        currency = max(currencies, key=lambda code: by_currency[code]["customers"], default="")
    side = parameters.get("side", "") if parameters.get("side", "") in SIDES else ""
    order = parameters.get("o", "").removeprefix("-")
    descending = parameters.get("o", "-effect").startswith("-")
    if order not in ORDERS:
        order, descending = "effect", True
    rows = customer_changes(asked=asked, currency=currency, side=side, order=order, descending=descending)
    figures = by_currency.get(currency)
    customers = Paginator(rows, PAGE_CUSTOMERS).get_page(parameters.get("page", "1"))

    def address(**changed: str) -> str:
        known = {"currency": currency, "side": side, "o": f"{'-' if descending else ''}{order}", **changed}
        return f"?{urlencode({name: value for name, value in known.items() if value})}"

    return WhatIfPage(
        currency=currency,
        currencies=currencies,
        figures=figures and _with_money(figures),
        side=side,
        sides=[]
        if figures is None
        else [(one, name, _count(figures, one), address(side=one)) for one, name in SIDE_NAMES.items()],
        headings=[
            Heading(
                title,
                address(
                    o=name if name == order and descending else f"-{name}" if name != "name" or name == order else name
                ),
                ("descending" if descending else "ascending") if name == order else "",
            )
            for name, title in COLUMNS
        ],
        customers=customers,
        changes=[change_of(row, currency=currency) for row in customers],
        previous=address(page=str(customers.previous_page_number())) if customers.has_previous() else "",
        next=address(page=str(customers.next_page_number())) if customers.has_next() else "",
        groups=_groups_chart(figures) if figures else None,
        months=_months_chart(figures) if figures else None,
    )


def invoice_changes(*, asked: WhatIf, customer_id: int) -> list[InvoiceChange]:
    """Return a customer's invoices, each computed now, line by line, in the order of their periods."""
    in_place = cards_in_place(asked=asked)
    rows = asked.rows.filter(customer_id=customer_id).select_related("invoice__customer")
    changes = []
    for row in rows.prefetch_related("invoice__lines__subscription__customer").order_by(
        "invoice__period_start", "invoice_id"
    ):
        compared = compare_invoice(invoice=row.invoice, in_place=in_place)
        changes.append(InvoiceChange(row, compared, list(_lines(compared))))
    return changes


def csv_rows(*, asked: WhatIf) -> Iterator[list[str]]:
    """Yield the whole answer, a row a customer and currency, headings first; amounts have the currency's decimals."""
    yield [
        "customer",
        "name",
        "currency",
        "invoices",
        "charged",
        "would_have_been",
        "change",
        "change_percent",
        "problem",
    ]
    for figures in asked.figures["currencies"]:
        currency = figures["currency"]
        for row in customer_changes(asked=asked, currency=currency).iterator():
            change = change_of(row, currency=currency)
            yield [
                _cell(change.key),
                _cell(change.name),
                currency,
                str(change.invoices),
                str(change.before.amount),
                "" if change.after is None else str(change.after.amount),
                "" if change.effect is None else str(change.effect.amount),
                "" if change.percent is None else str(change.percent),
                _cell(change.why),
            ]


def _cell(text: str) -> str:
    """Return text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _changed(version: PlanVersion, card: dict[str, Any]) -> bool:
    try:
        return digest_of(card_of_version(version=version)["document"]) != digest_of(card["document"])
    except BillingError:
        return True


def _lines(compared: Comparison) -> Iterator[LineChange]:
    now = {line.reference: line for line in compared.now.document_lines} if compared.now else {}
    for line in compared.was:
        yield LineChange(line, now.pop(line.reference, None))
    for line in now.values():
        yield LineChange(None, line)


def _money(document: dict[str, str]) -> Money:
    return round_money(Decimal(document["amount"]), document["currency"])


def _with_money(figures: dict[str, Any]) -> dict[str, Any]:
    """Return a currency's figures with money that templates can write."""
    before, effect = _money(figures["before"]), _money(figures["effect"])
    return {
        **figures,
        "before": before,
        "after": _money(figures["after"]),
        "effect": effect,
        "percent": percent_of(effect=effect, before=before),
        "from_nothing": next(one["customers"] for one in figures["groups"] if one["name"] == FROM_NOTHING),
        "left_out": {**figures["left_out"], "before": _money(figures["left_out"]["before"])},
        **{side: {**figures[side], "effect": _money(figures[side]["effect"])} for side in ("less", "more", "same")},
        "groups": [{**one, "effect": _money(one["effect"])} for one in figures["groups"]],
        "months": [
            {
                **one,
                "before": _money(one["before"]),
                "after": _money(one["after"]),
                "effect": _money(one["after"]) - _money(one["before"]),
            }
            for one in figures["months"]
        ],
    }


def _count(figures: dict[str, Any], side: str) -> int:
    if side == "problem":
        return int(figures["left_out"]["customers"])
    if side:
        return int(figures[side]["customers"])
    return int(figures["customers"]) + int(figures["left_out"]["customers"])


def _groups_chart(figures: dict[str, Any]) -> SafeString:
    groups = [one for one in figures["groups"] if one["customers"] or one["name"] != FROM_NOTHING]
    return bar_chart(
        title="How many customers would have paid how much less or more",
        labels=[one["name"] for one in groups],
        series=[
            Series(
                "",
                1,
                [Decimal(one["customers"]) for one in groups],
                [f"{one['customers']:,} customers" for one in groups],
            )
        ],
    )


def _months_chart(figures: dict[str, Any]) -> SafeString:
    months = figures["months"]
    return bar_chart(
        title="What was charged month by month, and what would have been",
        labels=[one["month"] for one in months],
        series=[
            Series(
                name,
                tone,
                [_money(one[side]).amount for one in months],
                [money_text(_money(one[side])) for one in months],
            )
            for tone, (side, name) in enumerate((("before", "charged"), ("after", "would have been")), start=1)
        ],
    )
