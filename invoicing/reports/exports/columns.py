"""The journal in the columns that Xero's manual journals and QuickBooks Online's journal entries are imported from.

Sources: https://help.xero.com/nz/ManualJournalsImport (rows of one narration and date are one journal, a debit is positive) and
https://quickbooks.intuit.com/learn-support/en-au/help-article/import-export-files/import-journal-entries-quickbooks-online/L4tQBwbs7_AU_en_AU
(rows of one number are one entry, accounts by name, a name beside receivables).
"""

from collections.abc import Iterable, Iterator, Mapping

from invoicing.reports.exports.journal import JournalRecord
from invoicing.reports.tabular import amount_text, csv_lines, safe_text

XERO_HEADINGS = (
    "*Narration", "*Date", "Description", "*AccountCode", "*TaxRate", "*Amount",
    "TrackingName1", "TrackingOption1", "TrackingName2", "TrackingOption2",
)  # fmt: skip
QUICKBOOKS_HEADINGS = (
    "JournalNo", "JournalDate", "Currency", "Memo", "AccountName", "Debits", "Credits", "Description", "Name",
)  # fmt: skip


def journal_as_xero(*, records: Iterable[JournalRecord], codes: Mapping[str, str], tax_rate: str) -> Iterator[str]:
    """Yield the lines of the file; `tax_rate` is the name of the organisation's rate without tax."""

    def rows() -> Iterator[list[str]]:
        yield list(XERO_HEADINGS)
        for record in records:
            for line in record.lines:
                yield [
                    safe_text(record.title),
                    f"{record.day:%d/%m/%Y}",
                    safe_text(record.description),
                    codes[line.account],
                    tax_rate,
                    amount_text(line.amount),
                    *[""] * 4,
                ]

    yield from csv_lines(rows=rows())


def journal_as_quickbooks(*, records: Iterable[JournalRecord], codes: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines of the file; the number of an entry is ours, its reference stands in the memo."""

    def rows() -> Iterator[list[str]]:
        yield list(QUICKBOOKS_HEADINGS)
        for record in records:
            for line in record.lines:
                amount = amount_text(abs(line.amount))
                is_debit = line.amount.amount > 0
                yield [
                    f"J{record.number}",
                    f"{record.day:%m/%d/%Y}",
                    record.currency,
                    safe_text(record.title),
                    codes[line.account],
                    amount if is_debit else "",
                    "" if is_debit else amount,
                    safe_text(record.description),
                    safe_text(record.customer),
                ]

    yield from csv_lines(rows=rows())
