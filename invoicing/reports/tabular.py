"""Reports as files: CSV and XLSX, each with its ties below the figures; texts are texts, whatever a spreadsheet would make of them."""

import csv
import io
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal

from moneyed import Money
from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.styles import Font

from billing_site.kernel.money import exponent
from invoicing.reports.report import Cell, ColumnKind, Report, Section

CSV_TYPE = "text/csv; charset=utf-8"
XLSX_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
# A text that begins so is run as a formula by spreadsheets (OWASP, CSV injection).
FORMULA_BEGINNINGS = ("=", "+", "-", "@", "\t", "\r")


def report_as_csv(*, report: Report) -> str:
    """Return a report as CSV: a line of titles, the rows of every currency with their sums, then the ties."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(["Currency", *(column.title for column in report.columns)])
    for section in report.sections:
        for row in section.rows:
            writer.writerow([section.currency, *(cell_text(row.cells.get(column.key)) for column in report.columns)])
        writer.writerow([section.currency, *map(cell_text, _total_cells(report, section))])
    for tie in report.ties:
        writer.writerow(
            [
                tie.currency,
                *map(cell_text, _tie_cells(tie.about, tie.source)),
                cell_text(tie.reported),
                cell_text(tie.booked),
            ]
        )
    return out.getvalue()


def report_as_xlsx(*, report: Report) -> bytes:
    """Return a report as a workbook of one sheet: what it is, the figures as numbers, the ties, the definition."""
    book = Workbook(write_only=True)
    sheet = book.create_sheet(report.title[:31].translate(str.maketrans("", "", "[]:*?/\\'")) or "Report")
    sheet.freeze_panes = "A4"
    for index, column in enumerate(report.columns, start=2):
        sheet.column_dimensions[chr(ord("A") + index - 1)].width = 34 if column.kind is ColumnKind.TEXT else 18

    def cells(values: list[Cell], *, bold: bool = False) -> list[WriteOnlyCell]:
        return [_xlsx_cell(sheet, value, bold=bold) for value in values]

    sheet.append(cells([report.title], bold=True))
    sheet.append(cells([report.asked]))
    sheet.append(cells(["Currency", *(column.title for column in report.columns)], bold=True))
    for section in report.sections:
        for row in section.rows:
            sheet.append(cells([section.currency, *(row.cells.get(column.key) for column in report.columns)]))
        sheet.append(cells([section.currency, *_total_cells(report, section)], bold=True))
    sheet.append([])
    for tie in report.ties:
        verdict = "ties" if tie.holds else "DIFFERS"
        sheet.append(cells([tie.currency, verdict, *_tie_cells(tie.about, tie.source), tie.reported, tie.booked]))
    sheet.append(cells([report.definition]))
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def safe_text(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(FORMULA_BEGINNINGS) else text


def amount_text(amount: Money) -> str:
    """Write rounded money as a plain number with the decimals of its currency."""
    return format(amount.amount, f".{exponent(amount.currency.code)}f")


def csv_lines(*, rows: Iterator[list[str]]) -> Iterator[str]:
    """Yield rows as lines of CSV, one at a time, so that a file of any length takes no memory."""
    for row in rows:
        out = io.StringIO()
        csv.writer(out, lineterminator="\r\n").writerow(row)
        yield out.getvalue()


def text_cell(sheet: object, text: str) -> WriteOnlyCell:
    """Return a cell of a workbook that holds a text, and never a formula, whatever it begins with."""
    cell = WriteOnlyCell(sheet, value=_printable(text))
    cell.data_type = "s"
    return cell


def _total_cells(report: Report, section: Section) -> list[Cell]:
    first, *others = report.columns
    return ["Total", *(section.totals.get(column.key) for column in others)] if first else []


def _tie_cells(about: str, source: str) -> list[Cell]:
    return [f"Tie: {about} = {source}"]


def cell_text(cell: Cell) -> str:
    """Write a cell as plain text: amounts and moments as machines read them."""
    match cell:
        case None:
            return ""
        case Money():
            return amount_text(cell)
        case datetime():
            return cell.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case date():
            return cell.isoformat()
        case str():
            return safe_text(cell)
        case _:
            return str(cell)


def _xlsx_cell(sheet: object, value: Cell, *, bold: bool) -> WriteOnlyCell:
    match value:
        case Money():
            cell = WriteOnlyCell(sheet, value=Decimal(amount_text(value)))
            places = exponent(value.currency.code)
            cell.number_format = "#,##0" + (f".{'0' * places}" if places else "")
        case datetime():
            cell = WriteOnlyCell(sheet, value=value.astimezone(UTC).replace(tzinfo=None))
            cell.number_format = "yyyy-mm-dd hh:mm:ss"
        case date():
            cell = WriteOnlyCell(sheet, value=value)
            cell.number_format = "yyyy-mm-dd"
        case str():
            cell = text_cell(sheet, value)
        case _:
            cell = WriteOnlyCell(sheet, value=value)
    if bold:
        cell.font = Font(bold=True)
    return cell


def _printable(text: str) -> str:
    """Return a text without the control characters that a workbook cannot hold."""
    return "".join(letter for letter in text if letter in "\t\n\r" or ord(letter) >= 32)[:32_767]
