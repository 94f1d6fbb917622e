"""The figures of dunning in the admin: charts with the same numbers as a table, each number a door to the list of what it counts."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString
from moneyed import Money

from billing_site.display.admin import StaffAdmin
from billing_site.display.charts import Series, bar_chart, part_chart, row_chart
from billing_site.display.figures import link, money, money_text, quantity
from billing_site.kernel.clock import now
from billing_site.kernel.errors import InvalidFields
from dunning.figures.answering import ALL
from dunning.figures.outstanding import billed_from, month_end
from dunning.figures.queries import ITEMS_PER_PAGE, NAMES, counted, figure
from dunning.figures.source import Asked, Drawing, Figure, Item, Measure, Panel, Unit, Value
from dunning.figures.sources import SOURCES
from invoicing.entities.models import LegalEntity
from invoicing.ledger.queries import currencies_booked
from invoicing.reports.asking import read_question
from invoicing.reports.tabular import CSV_TYPE, amount_text, cell_text, csv_lines

SEEN_BY = ("dunning.view_dunningcase", "invoicing.view_posting")
SPAN_DEFAULT = timedelta(days=89)
PAGES = {
    "case": "admin:dunning_dunningcase_change",
    "invoice": "admin:invoicing_invoice_change",
    "notice": "admin:dunning_notice_change",
    "customer": "admin:invoicing_customer_change",
}


@dataclass(frozen=True)
class ShownPanel:
    """A panel as the page writes it: its chart, what its colours mean, and its rows as cells.

    Columns in time have what the highest of them stands for at their top, and, where there is one of a moment, its value beneath it.
    """

    panel: Panel
    chart: SafeString
    keys: Sequence[tuple[int, str]]
    ends: tuple[str, str]
    highest: str
    slots: Sequence[str]
    rows: Sequence[tuple[str, Sequence[SafeString | str]]]
    totals: Sequence[SafeString | str]


def figure_urls(*, admin: StaffAdmin) -> list[URLPattern]:
    """Return the addresses of the figures and of the lists behind them."""

    def view(page: Callable[..., Any]) -> Any:
        def allowed(request: HttpRequest, **address: Any) -> Any:
            if not request.user.has_perms(SEEN_BY):
                raise PermissionDenied
            return page(request, admin=admin, **address)

        return admin.admin_site.admin_view(allowed)

    return [
        path("figures/", view(show_figures), name="dunning_dunningcase_figures"),
        path("figures/<slug:name>/", view(show_items), name="dunning_dunningcase_counted"),
        path("figures/<slug:name>/csv/", view(figure_file), name="dunning_dunningcase_figure_csv"),
    ]


def show_figures(request: HttpRequest, *, admin: StaffAdmin) -> HttpResponse:
    """Show all figures of a span."""
    asked, problems = _asked(request)
    figures = [figure(name=name, asked=asked) for name in NAMES]
    context = admin.page_context(
        request,
        title="Figures of dunning",
        asked=asked,
        problems=problems,
        entities=LegalEntity.objects.order_by("name"),
        currencies=currencies_booked(),
        figures=[(one, list(_shown(one, asked)), _address("figure_csv", one.name, asked)) for one in figures],
    )
    return TemplateResponse(request, "backoffice/dunning_figures.html", context, status=422 if problems else 200)


def show_items(request: HttpRequest, *, admin: StaffAdmin, name: str) -> HttpResponse | StreamingHttpResponse:
    """List what one number of a figure counts, or hand that out as a file."""
    asked, problems = _asked(request)
    if problems or name not in SOURCES:
        raise Http404("there is no such list")
    bar, measure, told = (request.GET.get(key, "").replace("\x00", "") for key in ("bar", "measure", "told"))
    is_file = request.GET.get("format") == "csv"
    number = _page_number(request)
    try:
        count, items = counted(
            name=name, asked=asked, bar=bar, measure=measure, currency=told, page=None if is_file else number
        )
        title = ALL if bar == ALL else SOURCES[name].title_of(bar)
    except (KeyError, ValueError, StopIteration) as problem:
        raise Http404("there is no such list") from problem
    if is_file:
        return _file(_item_lines(items), f"dunning-{name}-{measure}.csv")
    source = SOURCES[name]
    context = admin.page_context(
        request,
        title=source.title,
        source=source,
        asked=asked,
        bar=title,
        measure=next((one.title for one in source.measures if one.key == measure), measure),
        told=told,
        count=count,
        pages=_pages(request, number, count),
        has_amounts=any(item.amount for item in items),
        has_paid=any(item.paid is not None for item in items),
        items=[(item, reverse(PAGES[item.page], args=[item.page_id])) for item in items],
        back=f"{reverse('admin:dunning_dunningcase_figures')}?{urlencode(_query(asked))}#{name}",
        download=f"{request.get_full_path()}&format=csv",
    )
    return TemplateResponse(request, "backoffice/dunning_counted.html", context)


def _page_number(request: HttpRequest) -> int:
    """Return which page an address asks for; 1 where it says nothing that is one."""
    told = request.GET.get("page", "")
    return max(1, int(told)) if told.isascii() and told.isdecimal() and len(told) < 7 else 1


def _pages(request: HttpRequest, number: int, count: int) -> dict[str, Any] | None:
    """Return where a page of a list stands, and the addresses of those beside it; None where all rows fit on one."""
    if count <= ITEMS_PER_PAGE:
        return None

    def address(page: int) -> str:
        asked = request.GET.copy()
        asked["page"] = str(page)
        return f"?{asked.urlencode()}"

    last = -(-count // ITEMS_PER_PAGE)
    return {
        "first": min((number - 1) * ITEMS_PER_PAGE + 1, count),
        "last": min(number * ITEMS_PER_PAGE, count),
        "count": count,
        "before": address(min(number, last + 1) - 1) if number > 1 else "",
        "after": address(number + 1) if number < last else "",
    }


def figure_file(request: HttpRequest, *, admin: StaffAdmin, name: str) -> StreamingHttpResponse:
    """Hand out a figure as CSV."""
    asked, problems = _asked(request)
    if problems or name not in NAMES:
        raise Http404("there is no such figure")
    return _file(_figure_lines(figure(name=name, asked=asked)), f"dunning-{name}.csv")


def _asked(request: HttpRequest) -> tuple[Asked, dict[str, str]]:
    """Read the span, entity and currency of an address; what cannot be read is told, and the default stands for it."""
    at = now()
    today = at.date()
    problems: dict[str, str] = {}
    told = {key: request.GET.get(key, "").replace("\x00", "") for key in ("start", "end", "currency", "entity")}
    try:
        question = read_question(asked=told, today=today)
    except InvalidFields as problem:
        problems = {error.field: error.message for error in problem.errors}
        question = read_question(asked={}, today=today)
    start = question.start if told["start"] and not problems else question.end - SPAN_DEFAULT
    if told["entity"] and not LegalEntity.objects.filter(key=told["entity"]).exists():
        problems["entity"] = "there is no such legal entity"
    entity = "" if "entity" in problems else told["entity"]
    return Asked(start, question.end, at, entity, question.currency), problems


def _query(asked: Asked) -> dict[str, str]:
    known = {
        "start": str(asked.start),
        "end": str(asked.end),
        "entity": asked.entity,
        "currency": asked.currency,
    }
    return {key: value for key, value in known.items() if value}


def _address(view: str, name: str, asked: Asked, **more: str) -> str:
    return f"{reverse(f'admin:dunning_dunningcase_{view}', args=[name])}?{urlencode({**_query(asked), **more})}"


def _shown(one: Figure, asked: Asked) -> Iterator[ShownPanel]:
    for panel in one.panels:
        drawn = [measure for measure in one.measures if measure.tone]
        ends = (panel.bars[0].title, panel.bars[-1].title) if one.drawn_as is Drawing.TIME and panel.bars else ("", "")
        yield ShownPanel(
            panel=panel,
            chart=_chart(one, panel, drawn),
            keys=[(measure.tone, measure.title) for measure in drawn],
            ends=ends,
            highest=_highest(panel, drawn) if one.drawn_as is Drawing.TIME else "",
            slots=[_text(drawn[0], bar.values[drawn[0].key]).removesuffix(" days") for bar in panel.bars]
            if one.drawn_as is Drawing.TIME and len(drawn) == 1
            else [],
            rows=[
                (bar.title, [_cell(one, panel, asked, bar.key, measure, bar.values) for measure in one.measures])
                for bar in panel.bars
            ],
            totals=[_cell(one, panel, asked, ALL, measure, panel.totals) for measure in one.measures]
            if panel.totals
            else [],
        )


def _chart(one: Figure, panel: Panel, drawn: Sequence[Measure]) -> SafeString:
    series = [
        Series(
            measure.title,
            measure.tone,
            [_number(bar.values[measure.key]) for bar in panel.bars],
            [_text(measure, bar.values[measure.key]) for bar in panel.bars],
        )
        for measure in drawn
    ]
    labels = [bar.title for bar in panel.bars]
    title = f"{one.title} {panel.currency} {panel.entity_name}".strip()
    match one.drawn_as:
        case Drawing.TIME:
            return bar_chart(title=title, labels=labels, series=series)
        case Drawing.PARTS:
            return part_chart(title=title, labels=labels, series=series)
    percents = all(measure.unit is Unit.PERCENT for measure in drawn)
    return row_chart(title=title, labels=labels, series=series, most=Decimal(100) if percents else None)


def _highest(panel: Panel, drawn: Sequence[Measure]) -> str:
    """Return the value that the top of the columns stands for."""
    values = [
        (_number(bar.values[measure.key]), _text(measure, bar.values[measure.key]))
        for bar in panel.bars
        for measure in drawn
    ]
    return max(values, key=lambda value: value[0])[1] if values else ""


def _cell(one: Figure, panel: Panel, asked: Asked, bar: str, measure: Measure, values: Any) -> SafeString | str:
    value = values[measure.key]
    written: SafeString | str = money(value) if isinstance(value, Money) else _text(measure, value)
    door = _door(one, panel, asked, bar, measure) if _number(value) else ""
    return link(door, written) if door else written


def _door(one: Figure, panel: Panel, asked: Asked, bar: str, measure: Measure) -> str:
    """Return where a number leads: to the list of what it counts; a share to none, the numbers that it is made of stand beside it."""
    if one.name == "outstanding":
        return _outstanding_door(panel, asked, bar, measure)
    if measure.of is not None:
        return ""
    return _address("counted", one.name, asked, bar=bar, measure=measure.key, told=panel.currency)


def _outstanding_door(panel: Panel, asked: Asked, bar: str, measure: Measure) -> str:
    month = asked.as_of.fromisoformat(f"{bar}-01")
    until = month_end(month=month, as_of=asked.as_of)
    mine = Asked(billed_from(month=month), until, asked.at, panel.entity, panel.currency)
    match measure.key:
        case "receivable":
            return _address("counted", "ageing", mine, bar=ALL, measure="open", told=panel.currency)
        case "billed":
            return _address("counted", "billed", mine, bar=ALL, measure="billed", told=panel.currency)
    return ""


def _text(measure: Measure, value: Value) -> str:
    match value:
        case None:
            return "–"
        case Money():
            return money_text(value)
        case _ if measure.unit is Unit.PERCENT:
            return f"{value} %"
        case _ if measure.unit is Unit.DAYS:
            return f"{value} days"
    return quantity(value)


def _number(value: Value) -> Decimal:
    if isinstance(value, Money):
        return value.amount
    return Decimal(0) if value is None else Decimal(value)


def _file(rows: Iterator[list[str]], name: str) -> StreamingHttpResponse:
    response = StreamingHttpResponse(csv_lines(rows=rows), content_type=CSV_TYPE)
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _figure_lines(one: Figure) -> Iterator[list[str]]:
    yield ["Currency", "Legal entity", one.bar, *(measure.title for measure in one.measures)]
    for panel in one.panels:
        head = [panel.currency, cell_text(panel.entity_name)]
        for bar in panel.bars:
            yield [*head, cell_text(bar.title), *(_plain(bar.values[measure.key]) for measure in one.measures)]
        if panel.totals:
            yield [*head, "Total", *(_plain(panel.totals[measure.key]) for measure in one.measures)]


def _item_lines(items: Sequence[Item]) -> Iterator[list[str]]:
    yield ["When", "Customer", "What", "Currency", "Amount", "Paid"]
    for item in items:
        currency = item.amount.currency.code if item.amount else ""
        yield [
            cell_text(item.happened),
            cell_text(item.customer),
            cell_text(item.words),
            currency,
            _plain(item.amount),
            _plain(item.paid),
        ]


def _plain(value: Value) -> str:
    if isinstance(value, Money):
        return amount_text(value)
    return "" if value is None else str(value)
