"""The journal as DATEV's posting batch (EXTF, Buchungsstapel, format version 13), for import into DATEV Rechnungswesen.

Source: https://developer.datev.de/datev/platform/en/dtvf (structure, encoding, sample file) and the field lists of the
booking batch there: Windows-1252, CR LF, semicolons, texts in quotation marks, a decimal comma, days as DDMM within the
fiscal year of the header. A row debits one account and credits another, so that an entry is written as pairs.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime

from moneyed import Money

from billing_site.kernel.errors import InvalidInput
from billing_site.kernel.money import exponent
from invoicing.reports.exports.journal import JournalRecord, pairs_of

ENCODING = "cp1252"
TEXT_LENGTH_MAX, REFERENCE_LENGTH_MAX = 60, 36
# 10 digits before the comma, 2 after it.
AMOUNT_MAX = 10**10
FIELDS = 125
# Places of what we fill, counted from 0.
AMOUNT, SIDE, CURRENCY, ACCOUNT, CONTRA_ACCOUNT, DAY, REFERENCE, TEXT = 0, 1, 2, 6, 7, 9, 10, 13
TEXT_FIELDS = frozenset({SIDE, CURRENCY, REFERENCE, TEXT})

HEADINGS = (
    "Umsatz (ohne Soll/Haben-Kz)", "Soll/Haben-Kennzeichen", "WKZ Umsatz", "Kurs", "Basis-Umsatz", "WKZ Basis-Umsatz", "Konto",
    "Gegenkonto (ohne BU-Schlüssel)", "BU-Schlüssel", "Belegdatum", "Belegfeld 1", "Belegfeld 2", "Skonto", "Buchungstext",
    "Postensperre", "Diverse Adressnummer", "Geschäftspartnerbank", "Sachverhalt", "Zinssperre", "Beleglink",
    *(f"Beleginfo - {what} {number}" for number in range(1, 9) for what in ("Art", "Inhalt")),
    "KOST1 - Kostenstelle", "KOST2 - Kostenstelle", "Kost-Menge", "EU-Land u. UStID (Bestimmung)", "EU-Steuersatz (Bestimmung)",
    "Abw. Versteuerungsart", "Sachverhalt L+L", "Funktionsergänzung L+L", "BU 49 Hauptfunktionstyp", "BU 49 Hauptfunktionsnummer",
    "BU 49 Funktionsergänzung",
    *(f"Zusatzinformation{what} {number}" for number in range(1, 21) for what in (" - Art", "- Inhalt")),
    "Stück", "Gewicht", "Zahlweise", "Forderungsart", "Veranlagungsjahr", "Zugeordnete Fälligkeit", "Skontotyp", "Auftragsnummer",
    "Buchungstyp", "USt-Schlüssel (Anzahlungen)", "EU-Land (Anzahlungen)", "Sachverhalt L+L (Anzahlungen)",
    "EU-Steuersatz (Anzahlungen)", "Erlöskonto (Anzahlungen)", "Herkunft-Kz", "Buchungs GUID", "KOST-Datum", "SEPA-Mandatsreferenz",
    "Skontosperre", "Gesellschaftername", "Beteiligtennummer", "Identifikationsnummer", "Zeichnernummer", "Postensperre bis",
    "Bezeichnung SoBil-Sachverhalt", "Kennzeichen SoBil-Buchung", "Festschreibung", "Leistungsdatum",
    "Datum Zuord. Steuerperiode", "Fälligkeit", "Generalumkehr (GU)", "Steuersatz", "Land", "Abrechnungsreferenz", "BVV-Position",
    "EU-Land u. UStID (Ursprung)", "EU-Steuersatz (Ursprung)", "Abw. Skontokonto",
)  # fmt: skip
assert len(HEADINGS) == FIELDS, "the booking batch has 125 fields"


@dataclass(frozen=True)
class DatevClient:
    """For whom a batch is: the adviser's and the client's number at DATEV, and the month in which the fiscal year begins."""

    consultant_number: int
    client_number: int
    fiscal_month: int

    def fiscal_year_of(self, day: date) -> date:
        """Return the first day of the fiscal year that holds a day."""
        year = day.year if day.month >= self.fiscal_month else day.year - 1
        return date(year, self.fiscal_month, 1)


def check_datev(*, client: DatevClient, codes: Mapping[str, str], start: date, end: date, currency: str) -> None:
    """Refuse what a batch cannot say; raises InvalidInput naming the field."""
    if not 1001 <= client.consultant_number <= 9_999_999 or not 1 <= client.client_number <= 99_999:
        message = (
            "needs DATEV_CONSULTANT_NUMBER and DATEV_CLIENT_NUMBER in the settings: for whom the batch is;"
            " for another legal entity than the first DATEV_CLIENT_NUMBERS"
        )
        raise InvalidInput(message, field="system")
    if client.fiscal_year_of(start) != client.fiscal_year_of(end):
        raise InvalidInput("must be in the fiscal year of the first day: a batch names days without year", field="end")
    if exponent(currency) > 2:
        raise InvalidInput(
            f"has {exponent(currency)} decimals, DATEV two: {currency} cannot be exported", field="currency"
        )
    if len({len(code) for code in codes.values() if code}) > 1:
        raise InvalidInput("has accounts of different lengths: a batch has one length", field="system")


def journal_as_datev(
    *,
    records: Iterable[JournalRecord],
    client: DatevClient,
    codes: Mapping[str, str],
    start: date,
    end: date,
    currency: str,
    at: datetime,
) -> Iterator[bytes]:
    """Yield the lines of the file; letters that Windows-1252 does not know become question marks, figures never change."""
    length = max((len(code) for code in codes.values()), default=4)
    header = [
        '"EXTF"', "700", "21", '"Buchungsstapel"', "13", f"{at:%Y%m%d%H%M%S}{at.microsecond // 1000:03}", "", '"RE"', '""', '""',
        str(client.consultant_number), str(client.client_number), f"{client.fiscal_year_of(start):%Y%m%d}", str(length),
        f"{start:%Y%m%d}", f"{end:%Y%m%d}", '"Billing journal"', '""', "1", "0", "0", f'"{currency}"',
        "", '""', "", "", '""', "", "", '""', '""',
    ]  # fmt: skip
    yield _line(header)
    yield _line(list(HEADINGS))
    for record in records:
        for debited, credited, amount in pairs_of(lines=record.lines):
            yield _line(_booking(record, codes[debited], codes[credited], amount))


def _booking(record: JournalRecord, debited: str, credited: str, amount: Money) -> list[str]:
    assert amount.amount < AMOUNT_MAX, f"DATEV takes amounts of ten digits: {amount}"
    fields = ['""' if place in TEXT_FIELDS else "" for place in range(FIELDS)]
    fields[AMOUNT] = f"{amount.amount:.2f}".replace(".", ",")
    fields[SIDE] = '"S"'
    fields[CURRENCY] = f'"{record.currency}"'
    fields[ACCOUNT], fields[CONTRA_ACCOUNT] = debited, credited
    fields[DAY] = f"{record.day:%d%m}"
    fields[REFERENCE] = _text(record.reference, REFERENCE_LENGTH_MAX)
    fields[TEXT] = _text(record.description, TEXT_LENGTH_MAX)
    return fields


def _text(text: str, length: int) -> str:
    clean = "".join(letter if letter.isprintable() else " " for letter in text)[:length]
    return '"' + clean.replace('"', '""') + '"'


def _line(fields: list[str]) -> bytes:
    return (";".join(fields) + "\r\n").encode(ENCODING, errors="replace")
