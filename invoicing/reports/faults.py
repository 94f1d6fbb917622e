"""Reports that do not tie to the ledger, over all that ever happened, and every document that the books know otherwise: for `verify`."""

from collections.abc import Iterator
from datetime import date

from invoicing.entities.models import LegalEntity
from invoicing.ledger.queries import days_booked, entities_booked
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
    """Yield each figure of a report that is not the ledger's, over all legal entities and for each, and the documents and entries that say different things."""
    days = days_booked()
    if days is None:
        return
    booked = LegalEntity.objects.filter(key__in=entities_booked()).order_by("pk")
    # One that is alone has the books of all.
    for entity in (None, *booked) if len(booked) > 1 else (None,):
        at_the_end = Question(as_of=LAST_DAY, start=LAST_DAY, end=LAST_DAY, entity=entity)
        all_months = Question(as_of=LAST_DAY, start=days[0], end=days[1], entity=entity)
        for kind in REPORTS:
            if kind.name in LEFT_OUT or (entity and "legal_entity" not in kind.asks):
                continue
            for tie in kind.answer(question=all_months if kind.name in OF_ALL_MONTHS else at_the_end).ties:
                if not tie.holds:
                    of = f" of {entity.key}" if entity else ""
                    message = f"{tie.about} {tie.reported.amount} {tie.currency}, {tie.source} {tie.booked.amount}"
                    yield f"{kind.title.lower()}{of}", message
    yield from receivable_differences(limit=NAMED_MAX)
