"""The journal as a table of its postings: CSV of any length, or a workbook as long as a sheet may be."""

import io
from collections.abc import Iterable, Iterator
from datetime import UTC
from decimal import Decimal

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell

from billing_site.kernel.errors import InvalidInput
from invoicing.reports.exports.journal import JournalRecord
from invoicing.reports.tabular import amount_text, csv_lines, safe_text, text_cell

HEADINGS = (
    "Entry", "Booked (UTC)", "Happened (UTC)", "Written down (UTC)", "Kind", "Reference", "Description", "Customer", "Account", "Account name",
    "Currency", "Debit", "Credit",
)  # fmt: skip
# Where a file has the postings of several legal entities, each says in whose books it stands, beside its account.
ENTITY, ENTITY_PLACE = "Legal entity", 10
# The rows of a sheet of Excel, less its headings.
SHEET_ROWS_MAX = 1_048_575


def journal_as_csv(*, records: Iterable[JournalRecord], of_several: bool = False) -> Iterator[str]:
    """Yield the lines of the file; `of_several` legal entities, each says in whose books it stands."""
    yield from csv_lines(rows=_rows(records, of_several))


def journal_as_xlsx(*, records: Iterable[JournalRecord], of_several: bool = False) -> bytes:
    """Return the workbook, as above; raises InvalidInput where the span has more postings than a sheet has rows."""
    book = Workbook(write_only=True)
    sheet = book.create_sheet("Journal")
    sheet.freeze_panes = "A2"
    for count, row in enumerate(_rows(records, of_several)):
        if count > SHEET_ROWS_MAX:
            raise InvalidInput("has more postings than a sheet has rows: take CSV, or a shorter span", field="end")
        numbers = row[-2:] if count else ()
        texts = row[:-2] if count else row
        cells = [text_cell(sheet, text) for text in texts]
        sheet.append([*cells, *(WriteOnlyCell(sheet, Decimal(number)) if number else None for number in numbers)])
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _rows(records: Iterable[JournalRecord], of_several: bool) -> Iterator[list[str]]:
    yield [*HEADINGS[:ENTITY_PLACE], *([ENTITY] if of_several else []), *HEADINGS[ENTITY_PLACE:]]
    for record in records:
        for line in record.lines:
            amount = amount_text(abs(line.amount))
            is_debit = line.amount.amount > 0
            yield [
                str(record.number),
                record.booked_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
                record.occurred_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
                record.recorded_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
                record.kind_name,
                safe_text(record.reference),
                safe_text(record.description),
                safe_text(record.customer),
                line.account,
                line.account_name,
                *([line.entity] if of_several else []),
                record.currency,
                amount if is_debit else "",
                "" if is_debit else amount,
            ]
