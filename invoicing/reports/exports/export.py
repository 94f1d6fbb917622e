"""Exporting the journal of a span: which formats there are, what each refuses, and the file."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from django.conf import settings as house

from billing_site.kernel.errors import InvalidInput
from invoicing.entities.models import FIRST
from invoicing.entities.operations import first_entity
from invoicing.ledger.queries import accounts_booked_in, currencies_booked_in, entities_booked
from invoicing.reports.asking import Question
from invoicing.reports.exports.beancount_text import journal_as_beancount
from invoicing.reports.exports.columns import journal_as_quickbooks, journal_as_xero
from invoicing.reports.exports.datev import DatevClient, check_datev, journal_as_datev
from invoicing.reports.exports.journal import journal_in
from invoicing.reports.exports.plain import journal_as_csv, journal_as_xlsx
from invoicing.reports.mapping import codes_in
from invoicing.reports.models import BookkeepingSystem
from invoicing.reports.tabular import CSV_TYPE, XLSX_TYPE

CSV, XLSX = "csv", "xlsx"
FORMATS: tuple[tuple[str, str], ...] = (
    (CSV, "CSV, every posting"),
    (XLSX, "XLSX, every posting"),
    *BookkeepingSystem.choices,
)
# A file of theirs has no column for the currency, or a rate beside it.
ONE_CURRENCY = (BookkeepingSystem.DATEV, BookkeepingSystem.XERO)
# What is imported into these becomes the books of one company.
ONE_ENTITY = (BookkeepingSystem.DATEV, BookkeepingSystem.XERO, BookkeepingSystem.QUICKBOOKS)


@dataclass(frozen=True)
class ExportSettings:
    """What the settings say about the systems of others; `client_numbers` are those of other legal entities than the first, by key."""

    datev: DatevClient
    xero_tax_rate: str
    title: str
    client_numbers: Mapping[str, int] = field(default_factory=dict)

    def datev_of(self, *, entity: str) -> DatevClient:
        """Return for whom a batch of a legal entity is."""
        return (
            self.datev
            if entity in ("", FIRST)
            else replace(self.datev, client_number=self.client_numbers.get(entity, 0))
        )


def export_settings() -> ExportSettings:
    """Return what the settings say about the systems of others; the books of all are called as the first legal entity."""
    return ExportSettings(
        datev=DatevClient(
            consultant_number=house.DATEV_CONSULTANT_NUMBER,
            client_number=house.DATEV_CLIENT_NUMBER,
            fiscal_month=house.FISCAL_YEAR_FIRST_MONTH,
        ),
        xero_tax_rate=house.XERO_TAX_RATE,
        title=first_entity().name,
        client_numbers=house.DATEV_CLIENT_NUMBERS,
    )


@dataclass(frozen=True)
class JournalFile:
    """A file that is written while it is read."""

    name: str
    content_type: str
    chunks: Iterable[bytes]


def export_journal(
    *,
    form: str,
    question: Question,
    settings: ExportSettings,
    at: datetime,
    accounts: Mapping[str, str] | None = None,
) -> JournalFile:
    """Return the journal of a span in a format of FORMATS, of one currency or legal entity where it is asked for.

    `accounts` says what the accounts of the span were called in that system, where they are not to be called as they are today; whether a file
    may be of several legal entities was decided with them.

    Everything that a format cannot say is refused before the first byte: raises InvalidInput naming `form`, `currency`,
    `legal_entity`, `end` or, where an account has no name in their chart, `system`.
    """
    if form not in dict(FORMATS):
        raise InvalidInput(f"must be one of {', '.join(name for name, _ in FORMATS)}", field="form")
    start, end = question.start, question.end
    currency = _currency(form, question)
    booked = [question.books] if question.entity else entities_booked(span=question.span)
    entity = question.books or (_only_one(form, booked) if accounts is None else "")
    records = journal_in(span=question.span, currency=currency, entity=question.books)
    of_whom = f"{f'-{question.books}' if question.entity else ''}{f'-{currency}' if currency else ''}"
    name = f"journal-{start}-{end}{of_whom}"
    if form == CSV:
        texts = journal_as_csv(records=records, of_several=len(booked) > 1)
        return JournalFile(f"{name}.csv", CSV_TYPE, _encoded(texts))
    if form == XLSX:
        return JournalFile(f"{name}.xlsx", XLSX_TYPE, [journal_as_xlsx(records=records, of_several=len(booked) > 1)])
    codes = _codes(form, question) if accounts is None else accounts
    match form:
        case BookkeepingSystem.DATEV:
            client = settings.datev_of(entity=entity)
            check_datev(client=client, codes=codes, start=start, end=end, currency=currency)
            lines = journal_as_datev(
                records=records, client=client, codes=codes, start=start, end=end, currency=currency, at=at
            )
            return JournalFile(
                f"EXTF_Buchungsstapel_{start:%Y%m%d}_{end:%Y%m%d}{of_whom.replace('-', '_')}.csv",
                "text/csv; charset=windows-1252",
                lines,
            )
        case BookkeepingSystem.XERO:
            texts = journal_as_xero(records=records, codes=codes, tax_rate=settings.xero_tax_rate)
            return JournalFile(f"xero-{name}.csv", CSV_TYPE, _encoded(texts))
        case BookkeepingSystem.QUICKBOOKS:
            texts = journal_as_quickbooks(records=records, codes=codes)
            return JournalFile(f"quickbooks-{name}.csv", CSV_TYPE, _encoded(texts))
        case _:
            title = question.entity.name if question.entity else settings.title
            texts = journal_as_beancount(records=records, codes=codes, start=start, title=title)
            return JournalFile(f"{name}.beancount", "text/plain; charset=utf-8", _encoded(texts))


def _only_one(form: str, booked: list[str]) -> str:
    """Return whose the books of a span are, where they are of one; raises InvalidInput where a file would be of several, and cannot."""
    if form in ONE_ENTITY and len(booked) > 1:
        label = BookkeepingSystem(form).label
        message = f"must be named: the span has books of {', '.join(booked)}, and a file of {label} is those of one"
        raise InvalidInput(message, field="legal_entity")
    return booked[0] if len(booked) == 1 else ""


def _currency(form: str, question: Question) -> str:
    if form not in ONE_CURRENCY or question.currency:
        return question.currency
    found = currencies_booked_in(span=question.span, entity=question.books)
    if len(found) > 1:
        message = (
            f"must be named: the span has {', '.join(found)}, and a file of {BookkeepingSystem(form).label} has one"
        )
        raise InvalidInput(message, field="currency")
    return found[0] if found else "EUR"


def account_names(*, form: str, question: Question, settings: ExportSettings) -> dict[str, str]:
    """Return what the accounts of a span are called in a system today; raises InvalidInput where its file cannot be made."""
    codes = _codes(form, question)
    if form == BookkeepingSystem.DATEV:
        client = settings.datev_of(entity=question.books)
        check_datev(client=client, codes=codes, start=question.start, end=question.end, currency=question.currency)
    return codes


def _codes(form: str, question: Question) -> dict[str, str]:
    used = accounts_booked_in(span=question.span, entity=question.books)
    codes = {code: name for code, name in codes_in(system=form).items() if code in used}
    if missing := [code for code, name in codes.items() if not name]:
        label = BookkeepingSystem(form).label
        message = (
            f"knows no account for {', '.join(missing)}: say what they are called in {label} under Account mapping"
        )
        raise InvalidInput(message, field="system")
    return codes


def _encoded(texts: Iterator[str]) -> Iterator[bytes]:
    return (text.encode() for text in texts)
