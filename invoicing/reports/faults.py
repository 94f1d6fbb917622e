"""Reports that do not tie to the ledger, over all that ever happened, and every document that the books know otherwise: for `verify`."""

from collections.abc import Iterator
from datetime import date

from invoicing.ledger.queries import days_booked
from invoicing.reports.asking import YEAR_LAST, Question
from invoicing.reports.catalogue import REPORTS
from invoicing.reports.receivables import receivable_differences

NAMED_MAX = 100
LAST_DAY = date(YEAR_LAST, 12, 31)
# Their ties are of the invoices of a span, where the others' are balances at its end.
OF_ALL_MONTHS = ("mrr", "tax", "ec-sales-list")
# The same ties once more.
LEFT_OUT = ("mrr-by-customer",)


def report_faults() -> Iterator[tuple[str, str]]:
    """Yield each figure of a report that is not the ledger's, and the documents and entries that say different things."""
    days = days_booked()
    if days is None:
        return
    at_the_end = Question(as_of=LAST_DAY, start=LAST_DAY, end=LAST_DAY)
    all_months = Question(as_of=LAST_DAY, start=days[0], end=days[1])
    for kind in REPORTS:
        if kind.name in LEFT_OUT:
            continue
        for tie in kind.answer(question=all_months if kind.name in OF_ALL_MONTHS else at_the_end).ties:
            if not tie.holds:
                message = f"{tie.about} {tie.reported.amount} {tie.currency}, {tie.source} {tie.booked.amount}"
                yield kind.title.lower(), message
    yield from receivable_differences(limit=NAMED_MAX)
