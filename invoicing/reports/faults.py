"""Reports that do not tie to the ledger: `verify` asks for them all as of the end of time, and for every document that the books know otherwise."""

from collections.abc import Iterator
from datetime import date

from invoicing.reports.asking import YEAR_LAST, Question
from invoicing.reports.catalogue import REPORTS
from invoicing.reports.receivables import receivable_differences

NAMED_MAX = 100
LAST_DAY = date(YEAR_LAST, 12, 31)


def report_faults() -> Iterator[tuple[str, str]]:
    """Yield each figure of a report that is not the ledger's, and the documents and entries that say different things."""
    everything = Question(as_of=LAST_DAY, start=LAST_DAY, end=LAST_DAY)
    for kind in REPORTS:
        for tie in kind.answer(question=everything).ties:
            if not tie.holds:
                message = f"{tie.about} {tie.reported.amount} {tie.currency}, {tie.source} {tie.booked.amount}"
                yield kind.title.lower(), message
    yield from receivable_differences(limit=NAMED_MAX)
