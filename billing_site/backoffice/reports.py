"""The pages of the reports: asked for by a form, shown with their ties, printed, or downloaded as CSV and XLSX."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from moneyed import Money

from billing_site.display import figures
from billing_site.kernel.clock import now
from billing_site.kernel.errors import InvalidFields
from invoicing.customers.models import Customer
from invoicing.entities.queries import choices_of_entities
from invoicing.ledger.models import Account, JournalEntry
from invoicing.ledger.queries import currencies_booked
from invoicing.reports.asking import Question, read_question
from invoicing.reports.catalogue import BY_NAME, REPORTS, ReportKind
from invoicing.reports.report import Cell, Column, ColumnKind, Door, DoorKind, Report, Row, Section, Tie
from invoicing.reports.tabular import CSV_TYPE, XLSX_TYPE, report_as_csv, report_as_xlsx

VIEW = "invoicing.view_posting"
# So many rows of a section stand on the page; a download has them all, and sums are over all of them.
ROWS_SHOWN_MAX = 500
# In wider tables amounts stand without their currency, which their heading says.
COLUMNS_WITH_CURRENCY_MAX = 8
# What a customer owes; less than nothing is the customer's.
OWED_COLUMN = "open"
_CSS = {
    ColumnKind.MONEY: "bo-num",
    ColumnKind.NUMBER: "bo-num",
    ColumnKind.DAY: "bo-nowrap",
    ColumnKind.MOMENT: "bo-nowrap",
    ColumnKind.TEXT: "bo-break",
}
FIELDS = ("as_of", "start", "end", "customer_id", "account", "legal_entity", "currency")


@dataclass(frozen=True)
class ShownCell:
    """What stands in a cell, and how it is set."""

    text: SafeString | str
    css: str


@dataclass(frozen=True)
class ShownSection:
    """A section as the page writes it."""

    section: Section
    columns: list[Column]
    rows: list[list[ShownCell]]
    totals: list[ShownCell]
    more: int

    @property
    def ties(self) -> list[Tie]:
        """Its ties."""
        return list(self.section.ties)


def report_urls(*, site: AdminSite) -> list[URLPattern]:
    """Return one address for each report of the catalogue."""

    def page(name: str) -> Any:
        return site.admin_view(lambda request: show_report(request, site=site, kind=BY_NAME[name]))

    return [path(f"reports/{kind.name}/", page(kind.name), name=_view_name(kind.name)) for kind in REPORTS]


def show_report(request: HttpRequest, *, site: AdminSite, kind: ReportKind) -> HttpResponse:
    """Show a report as it was asked for, or hand it out as a file."""
    if not request.user.has_perm(VIEW):
        raise PermissionDenied
    asked = {name: request.GET.get(name, "") for name in kind.asks}
    question: Question | None = None
    problems: dict[str, str] = {}
    try:
        question = read_question(asked=asked, today=now().date())
    except InvalidFields as problem:
        problems = {error.field: error.message for error in problem.errors}
    report = kind.answer(question=question) if question else None
    if report and request.GET.get("format") in ("csv", "xlsx"):
        return _download(report, request.GET["format"])
    context = {
        **site.each_context(request),
        "title": kind.title,
        "kind": kind,
        "report": report,
        "fields": _fields(kind, asked, question, problems),
        "sections": [_shown(report, section, question) for section in report.sections] if report and question else [],
        "downloads": {name: f"?{urlencode({**asked, 'format': name})}" for name in ("csv", "xlsx")},
    }
    return TemplateResponse(request, "backoffice/report.html", context, status=422 if problems else 200)


def _view_name(name: str) -> str:
    return f"backoffice_{name.replace('-', '_')}"


def _download(report: Report, form: str) -> HttpResponse:
    if form == "csv":
        response = HttpResponse(report_as_csv(report=report), content_type=CSV_TYPE)
    else:
        response = HttpResponse(report_as_xlsx(report=report), content_type=XLSX_TYPE)
    response["Content-Disposition"] = f'attachment; filename="{report.name}.{form}"'
    return response


def _fields(
    kind: ReportKind, asked: dict[str, str], question: Question | None, problems: dict[str, str]
) -> Iterator[dict[str, Any]]:
    """Yield the fields of the form: what was typed, or what is meant where nothing was."""
    titles = {
        "as_of": "As of the end of (UTC)",
        "start": "From (UTC)",
        "end": "To the end of (UTC)",
        "customer_id": "Customer's key",
        "account": "Account",
        "legal_entity": "Books of",
        "currency": "Currency",
    }
    for name in FIELDS:
        if name not in kind.asks:
            continue
        meant = asked[name] or (
            "" if question is None or name not in ("as_of", "start", "end") else str(getattr(question, name))
        )
        choices: list[tuple[str, str]] = []
        if name == "currency":
            choices = [("", "all"), *((code, code) for code in currencies_booked())]
        elif name == "account":
            rows = Account.objects.order_by("code").values_list("code", "name")
            choices = [("", "1200 Receivable"), *((code, f"{code} {title}") for code, title in rows)]
        elif name == "legal_entity":
            choices = choices_of_entities(all_of_them="all legal entities")
            if not choices and not problems.get(name):
                # There is one: nobody is asked.
                continue
        yield {
            "name": name,
            "title": titles[name],
            "value": meant,
            "is_day": name in ("as_of", "start", "end"),
            "choices": choices,
            "problem": problems.get(name, ""),
        }


def _shown(report: Report, section: Section, question: Question) -> ShownSection:
    rows = list(section.rows[:ROWS_SHOWN_MAX])
    doors = _addresses(rows, section.currency, question)
    columns = [
        one
        for one in report.columns
        if not one.is_optional or any(row.cells.get(one.key) is not None for row in section.rows)
    ]
    bare = len(columns) > COLUMNS_WITH_CURRENCY_MAX
    first, *others = columns
    totals = [ShownCell(_written(section.totals.get(column.key), bare=bare), "bo-num") for column in others]
    return ShownSection(
        section=section,
        columns=columns,
        rows=[[_cell(row, column, doors, bare=bare) for column in columns] for row in rows],
        totals=[ShownCell("Total", _CSS[first.kind]), *totals],
        more=len(section.rows) - len(rows),
    )


def _cell(row: Row, column: Column, doors: dict[Door, str], *, bare: bool) -> ShownCell:
    value = row.cells.get(column.key)
    if column.key == OWED_COLUMN and isinstance(value, Money) and value.amount < 0:
        written: SafeString | str = figures.balance(value)
    else:
        written = _written(value, bare=bare)
    door = row.doors.get(column.key)
    address = doors.get(door, "") if door and written else ""
    css = "bo-nowrap" if column.key.endswith("_id") else _CSS[column.kind]
    return ShownCell(figures.link(address, written) if address else written, css)


def _written(value: Cell, *, bare: bool) -> SafeString | str:
    match value:
        case None:
            return ""
        case Money() if bare:
            # The heading of the section says in which currency all of its amounts are.
            return format_html(
                '<span class="bo-money">{}</span>', figures.figure_text(value.amount, value.currency.code)
            )
        case Money():
            return figures.money(value)
        case datetime():
            return figures.moment(value)
        case date():
            return figures.day(value)
        case int():
            return figures.quantity(value)
        case _:
            return value


def _addresses(rows: list[Row], currency: str, question: Question) -> dict[Door, str]:
    """Return where the doors of some rows lead; what the addresses need is read at once."""
    doors = {door for row in rows for door in row.doors.values()}
    customers = dict(
        Customer.objects.filter(key__in=[door.key for door in doors if door.kind is DoorKind.CUSTOMER]).values_list(
            "key", "pk"
        )
    )
    named = {door.key for door in doors if door.kind is DoorKind.ENTRY}
    references = {name.partition("/")[2] for name in named}
    entries = {
        f"{kind}/{reference}": pk
        for kind, reference, pk in JournalEntry.objects.filter(reference__in=references).values_list(
            "kind", "reference", "pk"
        )
    }
    addresses = {}
    for door in doors:
        match door.kind:
            case DoorKind.CUSTOMER if door.key in customers:
                addresses[door] = reverse("admin:invoicing_customer_change", args=[customers[door.key]])
            case DoorKind.ENTRY if door.key in entries:
                addresses[door] = reverse("admin:invoicing_journalentry_change", args=[entries[door.key]])
            case DoorKind.INVOICE:
                addresses[door] = reverse("admin:invoicing_invoice_by_number", args=[door.key])
            case DoorKind.ACCOUNT:
                asked = {"account": door.key, "currency": currency, **_span_of(question)}
                if question.books:
                    asked["legal_entity"] = question.books
                addresses[door] = f"{reverse('admin:backoffice_general_ledger')}?{urlencode(asked)}"
            case DoorKind.STATEMENT:
                asked = {
                    "customer_id": door.key,
                    "start": str(question.as_of.replace(day=1)),
                    "end": str(question.as_of),
                }
                addresses[door] = f"{reverse('admin:backoffice_statement')}?{urlencode(asked)}"
    return addresses


def _span_of(question: Question) -> dict[str, str]:
    """Return the span in which a figure of this report came to be: the asked one, or the month of the day."""
    if question.as_of < question.start or question.as_of > question.end:
        return {"start": str(question.as_of.replace(day=1)), "end": str(question.as_of)}
    return {"start": str(question.start), "end": str(question.end)}
