"""Closed months that are not what their certificates say: the month, and what differs."""

from collections.abc import Iterator
from typing import Any

from django.db.models import F

from billing_site.kernel.digest import digest_of
from invoicing.closing.models import MonthClose
from invoicing.closing.queries import Month, closes_in_force
from invoicing.evidence.anchors import series_faults
from invoicing.evidence.models import EvidenceBlock
from invoicing.ledger.models import JournalEntry
from invoicing.ledger.queries import books_open_from, journal_figures
from invoicing.workflows.close_certificate import accounts_document, figures_again, file_digest, journal_document

Fault = tuple[str, str]


def close_faults() -> Iterator[Fault]:
    """Yield each difference between a closed month and its certificate: its own digest, kept reports, journal, balances, seals."""
    for close in MonthClose.objects.order_by("id").prefetch_related("reports"):
        for fault in (*_of_itself(close), *_of_heads(close.certificate)):
            yield _subject(close), fault
    in_force = list(closes_in_force())
    for close in in_force:
        for fault in _of_books(close):
            yield _subject(close), fault
    opened = Month(in_force[0].month).span.end if in_force else None
    if books_open_from() != opened:
        yield "the books", f"they are open from {books_open_from()}, the newest closed month says {opened}"
    yield from _entries_out_of_place()


def closed_report_faults() -> Iterator[Fault]:
    """Yield each report of a closed month that computed again says other figures than when the month was closed."""
    for close in closes_in_force().order_by("month"):
        told = close.certificate["reports"]
        for name, digest in figures_again(month=Month(close.month)).items():
            if name in told and told[name].get("figures") != digest:
                yield _subject(close), f"the report {name} says other figures than when it was closed"


def _of_itself(close: MonthClose) -> Iterator[str]:
    document = close.certificate
    if digest_of(document) != close.digest:
        yield "its certificate is not the one whose digest it has"
    row = (f"{close.month:%Y-%m}", close.actor, close.reason)
    if (document["month"], document["closed_by"], document["reason"]) != row:
        yield "its certificate is about another close"
    kept = {report.name: report for report in close.reports.all()}
    for name, told in document["reports"].items():
        report = kept.pop(name, None)
        if report is None:
            yield f"the report {name} is gone"
        elif file_digest(text=report.content) != told["file"] or report.digest != told["file"]:
            yield f"the report {name} is not the one that was kept"
    for name in kept:
        yield f"the report {name} is none of its certificate"


def _of_heads(document: dict[str, Any]) -> Iterator[str]:
    yield from series_faults(series=document["series"])
    head = document["evidence"]
    if head is not None:
        block = EvidenceBlock.objects.filter(number=head["block"]).first()
        if block is None or (block.digest, block.last_row) != (head["digest"], head["rows"]):
            yield f"block {head['block']} of the chain of evidence is not there, or has another digest"


def _of_books(close: MonthClose) -> Iterator[str]:
    """Yield what all books, and those of each legal entity, do not say any more; closes of before there were several books tell of all only."""
    for told in (close.certificate, *close.certificate.get("books", ())):
        entity = told.get("legal_entity", "")
        of_whom = f" of {entity}" if entity else ""
        for fault in _of_one_book(told, Month(close.month), entity):
            yield f"{fault}{of_whom}"


def _of_one_book(told: dict[str, Any], month: Month, entity: str) -> Iterator[str]:
    now = journal_document(figures=journal_figures(span=month.span, entity=entity))
    for name, before in told["journal"].items():
        if now[name] != before:
            yield f"its journal had {name} {before}, now {now[name]}"
    accounts = {(one["account"], one["currency"]): one for one in accounts_document(month=month, entity=entity)}
    for one in told["accounts"]:
        present = accounts.pop((one["account"], one["currency"]), {})
        for name in ("opening", "debit", "credit", "closing"):
            if present.get(name) != one[name]:
                yield f"account {one['account']} had {one['currency']} {one[name]} as {name}, now {present.get(name)}"
    for account, currency in sorted(accounts):
        yield f"account {account} had nothing in {currency}, now it has"


def _entries_out_of_place() -> Iterator[Fault]:
    """Yield the entries that are booked neither when they happened nor as a month begins after a closed one."""
    begun = {Month(month).span.end for month in MonthClose.objects.values_list("month", flat=True)}
    for entry in JournalEntry.objects.exclude(booked_at=F("occurred_at")).order_by("id"):
        if entry.booked_at < entry.occurred_at or entry.booked_at not in begun:
            yield f"journal entry {entry}", f"it happened at {entry.occurred_at}, and is booked at {entry.booked_at}"


def _subject(close: MonthClose) -> str:
    return f"the close of {close.month:%Y-%m}"
