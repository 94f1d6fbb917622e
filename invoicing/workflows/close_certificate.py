"""The certificate of a closed month: what the books were, with digests by which anybody can tell that they still are."""

import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import product
from typing import Any

from billing_site.kernel.errors import InvalidInput
from invoicing.closing.models import MonthClose
from invoicing.closing.queries import Month
from invoicing.entities.models import FIRST
from invoicing.entities.operations import entity_by_key
from invoicing.evidence.anchors import series_heads
from invoicing.evidence.models import EvidenceBlock
from invoicing.ledger.queries import (
    JournalFigures,
    currencies_booked_in,
    entities_booked,
    journal_figures,
    movements_in,
)
from invoicing.reports.asking import Question
from invoicing.reports.catalogue import REPORTS, ReportKind
from invoicing.reports.exports.export import ONE_CURRENCY, ONE_ENTITY, account_names, export_settings
from invoicing.reports.figures import figures_digest
from invoicing.reports.models import BookkeepingSystem
from invoicing.reports.report import Report
from invoicing.reports.tabular import amount_text, report_as_csv

VERSION = 1
# A statement is of one customer; every posting of the general ledger is in the journal, whose digest covers it.
LEFT_OUT = ("statement", "general-ledger")
# These follow contracts, which may be agreed for a time that is over: they are kept as they were, and not computed again.
OF_CONTRACTS = ("mrr", "mrr-by-customer")


def month_reports(*, month: Month) -> Iterator[Report]:
    """Yield each report of a month, or as of its last day."""
    for kind in REPORTS:
        if kind.name not in LEFT_OUT:
            yield _answered(kind, month)


def reports_of_entities(*, month: Month) -> Iterator[tuple[str, Report]]:
    """Yield (key, report) for each legal entity where several have books: their ties hold for each of them, too."""
    entities = entities_booked()
    for entity in entities if len(entities) > 1 else ():
        question = question_of(month=month, entity=entity)
        for kind in REPORTS:
            if kind.name not in LEFT_OUT and "legal_entity" in kind.asks:
                yield entity, kind.answer(question=question)


def certificate_of(
    *,
    month: Month,
    at: datetime,
    actor: str,
    reason: str,
    reports: Sequence[Report],
    checklist: list[dict[str, Any]],
    checklist_digest: str,
) -> dict[str, Any]:
    """Return the certificate of a month as it is; asked while the books are locked."""
    head = EvidenceBlock.objects.order_by("-number").first()
    return {
        "version": VERSION,
        "month": str(month),
        "zone": "UTC",
        "closed_at": at.astimezone(UTC).isoformat(timespec="microseconds"),
        "closed_by": actor,
        "reason": reason,
        "closed_before": MonthClose.objects.filter(month=month.first_day).count(),
        "checklist": checklist,
        "checklist_digest": checklist_digest,
        "journal": journal_document(figures=journal_figures(span=month.span)),
        "accounts": accounts_document(month=month),
        "books": books_document(month=month),
        "reports": {report.name: _report_document(report) for report in reports},
        "exports": _exports(month),
        "series": series_heads(),
        "evidence": {"block": head.number, "digest": head.digest, "rows": head.last_row} if head else None,
    }


def journal_document(*, figures: JournalFigures) -> dict[str, Any]:
    """Return what a certificate says of the journal of its month."""
    return {
        "entries": figures.entries,
        "postings": figures.postings,
        "debited": {code: amount_text(amount) for code, amount in figures.debited.items()},
        "digest": figures.digest,
    }


def books_document(*, month: Month) -> list[dict[str, Any]]:
    """Return the same of each legal entity whose books have something by the end of a month: a journal with a digest of its own, and its accounts."""
    return [
        {
            "legal_entity": entity,
            "journal": journal_document(figures=journal_figures(span=month.span, entity=entity)),
            "accounts": accounts,
        }
        for entity in entities_booked()
        if (accounts := accounts_document(month=month, entity=entity))
    ]


def accounts_document(*, month: Month, entity: str = "") -> list[dict[str, str]]:
    """Return what each account had before a month, what moved in it, and what it had after; in the books of one legal entity where it is given."""
    return [
        {
            "account": one.account,
            "currency": one.opening.currency.code,
            **{name: amount_text(getattr(one, name)) for name in ("opening", "debit", "credit", "closing")},
        }
        for one in movements_in(span=month.span, entity=entity)
    ]


def figures_again(*, month: Month) -> dict[str, str]:
    """Return the digest of each report of a month as it would be computed today; of those that follow from the books."""
    return {
        kind.name: figures_digest(report=_answered(kind, month))
        for kind in REPORTS
        if kind.name not in (*LEFT_OUT, *OF_CONTRACTS)
    }


def file_digest(*, text: str) -> str:
    """Return the SHA-256 of a file's text."""
    return hashlib.sha256(text.encode()).hexdigest()


def _exports(month: Month) -> dict[str, Any]:
    """Return for each system what its files are made with: currencies and names of accounts; or why there are none."""
    settings = export_settings()
    found = currencies_booked_in(span=month.span)
    made: dict[str, Any] = {
        "settings": {
            "consultant_number": settings.datev.consultant_number,
            "client_number": settings.datev.client_number,
            "fiscal_month": settings.datev.fiscal_month,
            "xero_tax_rate": settings.xero_tax_rate,
            "title": settings.title,
            "client_numbers": dict(settings.client_numbers),
        }
    }
    booked = entities_booked(span=month.span)
    for system in BookkeepingSystem.values:
        currencies = found if system in ONE_CURRENCY else [""]
        # What the first one has alone is called as it always was.
        entities = booked if system in ONE_ENTITY and booked not in ([], [FIRST]) else [""]
        names: dict[str, str] = {}
        try:
            for currency, entity in product(currencies, entities):
                question = question_of(month=month, currency=currency, entity=entity)
                names |= account_names(form=system, question=question, settings=settings)
                made[system] = {"currencies": currencies, "entities": entities, "accounts": names}
        except InvalidInput as problem:
            made[system] = {"refused": problem.message}
    return made


def question_of(*, month: Month, currency: str = "", entity: str = "") -> Question:
    """Return what a report or export of a month is asked, of one legal entity where its key is given."""
    seller = entity_by_key(key=entity) if entity else None
    return Question(as_of=month.last_day, start=month.first_day, end=month.last_day, currency=currency, entity=seller)


def _answered(kind: ReportKind, month: Month) -> Report:
    return kind.answer(question=question_of(month=month))


def _report_document(report: Report) -> dict[str, Any]:
    follows_books = report.name not in OF_CONTRACTS
    return {
        "file": file_digest(text=report_as_csv(report=report)),
        "ties": report.is_tied,
        **({"figures": figures_digest(report=report)} if follows_books else {}),
    }
