"""Documents in the language of their customer: every word of ours has its place in each catalogue, figures and days are written as people there read them."""

import ast
import io
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from string import Formatter

import pytest
from babel.dates import format_date
from babel.numbers import format_decimal
from django.db import DatabaseError, IntegrityError, transaction
from pypdf import PdfReader

from billing_site.kernel.errors import InvalidFields
from invoicing.core.languages import ENGLISH, GERMAN, LANGUAGES
from invoicing.core.spans import service_text
from invoicing.core.tax import TaxKind
from invoicing.core.tax_rules import CREDIT_SOLD, MULTI_PURPOSE, OUTSIDE_UNION, REVERSE_CHARGE
from invoicing.core.told_tax import EXEMPT_THERE, NOT_SUBJECT, REVERSE_CHARGE_ELSEWHERE
from invoicing.core.wording import LOTS, MODEL_SENTENCES
from invoicing.customers.operations import change_customer
from invoicing.invoices.document import render_pdf
from invoicing.invoices.line_words import words_of_lines
from invoicing.invoices.models import Invoice
from invoicing.invoices.sealing import invoice_seal
from invoicing.workflows.invoice_document import PAYMENT_NOTES, document_of
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.verify import verify
from tests.factories import AUGUST, JULY, SEPTEMBER, use
from tests.invoicing.late import a_billed_july
from tests.invoicing.test_attack_guards import run_sql

OTHERS = [language for language in LANGUAGES.values() if language is not ENGLISH]
SOURCE = Path(__file__).resolve().parents[2] / "invoicing"
# Phrases that are said by name: of enumerations, tables, and sentences that are stored.
NAMED = {
    *(sentence for sentence in MODEL_SENTENCES.values() if sentence),
    *(phrase for _, phrase, _ in LOTS),
    *(kind.value.replace("_", " ") for kind in TaxKind if kind is not TaxKind.TAXED),
    *PAYMENT_NOTES.values(),
    *(REVERSE_CHARGE_ELSEWHERE, NOT_SUBJECT, EXEMPT_THERE),
    *(REVERSE_CHARGE, OUTSIDE_UNION, f"{CREDIT_SOLD}.", f"{CREDIT_SOLD}{MULTI_PURPOSE}."),
    *("Credited, nothing is due", "Paid in full, nothing is due"),
    *("Nothing has to be paid for this period.", "Nothing has to be paid for this."),
    *("Issued", "Paid", "Void", "VAT", "Tax", "Sales tax"),
}


def strings_of(file: Path) -> Iterator[str]:
    """Yield all strings of a source file, joined as the compiler joins them."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def said_in(file: Path) -> Iterator[str]:
    """Yield the phrases that a source file says: literal arguments of `say`, each side of a choice."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called == "say":
                chosen = node.args[0]
                sides = [chosen.body, chosen.orelse] if isinstance(chosen, ast.IfExp) else [chosen]
                yield from (side.value for side in sides if isinstance(side, ast.Constant))


def parts_of(phrase: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(phrase) if name}


@pytest.mark.parametrize("language", OTHERS, ids=lambda language: language.code)
def test_every_phrase_that_is_said_has_its_own_in_each_language_with_the_same_parts_and_none_is_left_over(language):
    files = [file for file in SOURCE.rglob("*.py") if "languages" not in file.parts and "migrations" not in file.parts]
    said = NAMED.union(*(said_in(file) for file in files))
    strings = said.union(*(strings_of(file) for file in files))

    assert said - set(language.phrases) == set()
    assert set(language.phrases) - strings - {"Corrects invoice {number}, which was issued without tax."} <= {
        "No tax is charged: the seller is not registered for tax in {place}."
    }
    for phrase, told in language.phrases.items():
        assert parts_of(phrase) == parts_of(told), phrase


@pytest.mark.parametrize("text", ["0", "-1", "999", "1000", "1234567.5", "-0.000000001", "12345678901234567890.12"])
def test_figures_are_written_as_the_common_locale_data_say(text):
    for language in LANGUAGES.values():
        expected = format_decimal(Decimal(text), locale=language.code, decimal_quantization=False)
        assert language.figure(text) == expected.replace("-", "−")


@pytest.mark.parametrize("day", [date(2026, month, 3) for month in range(1, 13)])
def test_days_are_written_as_the_common_locale_data_say(day):
    assert ENGLISH.day_text(day) == format_date(day, "long", locale="en_GB")
    assert GERMAN.day_text(day) == format_date(day, "long", locale="de")
    assert GERMAN.month_text(day) == format_date(day, "MMMM y", locale="de")


def test_spans_stored_in_english_are_told_as_if_they_were_written_in_the_language():
    for first, last in ((date(2026, 5, 1), date(2026, 5, 31)), (date(2026, 12, 15), date(2027, 1, 14))):
        assert GERMAN.span_told(ENGLISH.span(first, last)) == GERMAN.span(first, last)
    july = service_text(start=JULY, end=JULY.replace(month=8), timezone="UTC")
    assert (july, GERMAN.span_told(july)) == ("July 2026", "Juli 2026")


def test_sentences_that_are_stored_with_a_part_in_them_are_told_and_others_stay():
    stored = "No tax is charged: the seller is not registered for tax in US-NY."
    assert (
        GERMAN.told(stored)
        == "Es wird keine Steuer berechnet: Der Verkäufer ist in US-NY nicht steuerlich registriert."
    )
    assert ENGLISH.told(stored) == stored and GERMAN.told("Resale certificate") == "Resale certificate"


@pytest.mark.django_db
def test_a_customers_language_is_that_of_its_invoices_and_stays_with_what_is_issued(settings) -> None:
    invoice = a_billed_july(language="de")
    customer = invoice.customer
    bytes_before = render_pdf(document=document_of(invoice=invoice))

    change_customer(customer=customer, changes={"language": ""}, actor="test", reason="asked for it")
    settings.DOCUMENT_LANGUAGE = "en"
    use("cust_acme", "10", at=AUGUST + timedelta(days=1))
    [august] = issue_billing(as_of=SEPTEMBER, at=SEPTEMBER + timedelta(hours=7)).invoices

    again = Invoice.objects.select_related("customer").get(pk=invoice.pk)
    assert (again.language, august.language) == ("de", "en")
    assert render_pdf(document=document_of(invoice=again)) == bytes_before
    text = " ".join(PdfReader(io.BytesIO(bytes_before)).pages[0].extract_text().split())
    for words in (
        "Rechnung INV-2026-00001",
        "Zu zahlen 30,00 USD",
        "Abrechnungszeitraum 1. – 31. Juli 2026",
        "100 action",
    ):
        assert words in text, words
    assert verify() == []
    with pytest.raises(InvalidFields, match="one of en, de"):
        change_customer(customer=customer, changes={"language": "fr"}, actor="test", reason="asked for it")


@pytest.mark.django_db
def test_the_house_has_a_language_for_customers_without_one_and_the_seal_covers_it(settings) -> None:
    settings.DOCUMENT_LANGUAGE = "de"
    invoice = a_billed_july()

    assert invoice.language == "de"
    in_english = Invoice(**{field.attname: getattr(invoice, field.attname) for field in Invoice._meta.fields})
    in_english.language = "en"
    lines = [line.digest for line in invoice.lines.order_by("position")]
    assert invoice_seal(invoice=invoice, line_digests=lines, taxes=[]) == invoice.seal
    assert invoice_seal(invoice=in_english, line_digests=lines, taxes=[]) != invoice.seal
    with pytest.raises(DatabaseError, match="cannot be changed"), transaction.atomic():
        run_sql("UPDATE invoicing_invoice SET language = 'en'")
    with pytest.raises(IntegrityError, match="language_is_known"), transaction.atomic():
        run_sql("UPDATE invoicing_customer SET language = 'fr'")


@pytest.mark.django_db
def test_a_stored_line_comes_to_the_same_in_every_language_and_says_it_in_other_words() -> None:
    invoice = a_billed_july()
    lines = list(invoice.lines.order_by("position"))
    english, german = (words_of_lines(lines=lines, language=language) for language in (ENGLISH, GERMAN))

    for line in lines:
        told, stored = german[line.pk], english[line.pk]
        assert told["amount"] == stored["amount"] and told["description"] == stored["description"]
        assert [step["amount"] for step in told["steps"]] == [step["amount"] for step in stored["steps"]]
        assert told["explanation"] != stored["explanation"]
    assert german[lines[1].pk]["explanation"] == "100 action verbraucht. Jede Einheit kostet gleich viel."
