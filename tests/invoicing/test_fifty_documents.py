"""Fifty documents, printed: whole, valid, with the file inside that is downloaded, and the same bytes when printed again.

`DOCUMENTS_TO=folder` keeps them, to be looked at.
"""

import io
import os
import re
from pathlib import Path

import pytest
from facturx import xml_check_xsd
from pypdf import PdfReader

from billing_site.kernel.money import total
from invoicing.core.languages import ENGLISH, GERMAN
from invoicing.credit_notes.models import CreditNote
from invoicing.credit_notes.queries import credit_note_by_number
from invoicing.e_invoices.credit_notes import e_credit_note_of
from invoicing.e_invoices.files import ubl_file
from invoicing.e_invoices.statement import EInvoice, e_invoice_of, why_no_e_invoice
from invoicing.invoices.models import Invoice
from invoicing.invoices.printed_page import PrintedPage
from invoicing.workflows.render_documents import page_of
from tests.billing_site.api.caller import Caller
from tests.invoicing.fifty_documents import WORLDS, Document

pytestmark = pytest.mark.django_db

# Words of which English sentences are made; none of them stands in what we print in German.
ENGLISH_WORDS = re.compile(
    r"\b(the|of|are|is|each|per|at|used|charged|invoice|due|total|paid|line|billing|issue|date|from|with|tax|credit|amount)\b"
)
# What products, people and places are called, and legal names.
NAMES = re.compile(r"Sales Tax|Reverse Charge|storage and support|Actions by \w+|beyond what is free|Base fee|Share of turnover|Consulting, remote")  # fmt: skip


@pytest.mark.parametrize("world", WORLDS)
def test_documents_are_whole_valid_and_the_same_when_printed_again(world: str) -> None:
    made, count = WORLDS[world]
    found = list(made())

    for place, document in enumerate(found):
        page = page_of(document=read_again(document))
        pdf = page.pdf()
        keep(pdf, name=f"{world.replace(' ', '-')}-{place:02}-{document.number}")
        assert pdf == page_of(document=read_again(document)).pdf()
        assert_prints(page, pdf)
        assert_states(document, page, pdf)
    assert len(found) == count


def test_there_are_fifty_of_them() -> None:
    assert sum(count for _, count in WORLDS.values()) == 50


def read_again(document: Document) -> Document:
    if isinstance(document, CreditNote):
        return credit_note_by_number(number=document.number)
    return Invoice.objects.select_related("customer").get(pk=document.pk)


def keep(pdf: bytes, *, name: str) -> None:
    if folder := os.environ.get("DOCUMENTS_TO"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        Path(folder, f"{name}.pdf").write_bytes(pdf)


def assert_prints(page: PrintedPage, pdf: bytes) -> None:
    """All lines are there, each page says its number, a line of the pages before is carried over, and the words are those of the language."""
    pages = ["".join(sheet.extract_text().split()) for sheet in PdfReader(io.BytesIO(pdf)).pages]
    whole = "".join(pages)
    content = page.content()
    for line in content["lines"]:
        assert plain(line["description"]) in whole and plain(line["amount"]) in whole, line
    for kind, label, figure in content["totals"]:
        assert plain(label) + plain(figure) in whole, (kind, label)
    assert len(pages) == 1 or plain(content["words"]["continued"]) in pages[1]
    assert all(f"{number}/{len(pages)}" in sheet for number, sheet in enumerate(pages, 1))
    if page.language is GERMAN:
        said = NAMES.sub("", " ".join(texts_of(content)))
        assert ENGLISH_WORDS.search(said) is None, ENGLISH_WORDS.search(said)
        assert (point := re.search(r"\d\.\d{1,2}(?!\d)", said)) is None, point
    else:
        assert page.language is ENGLISH


def texts_of(content: object) -> list[str]:
    """Return all texts of a page but those of the parties and of the file inside."""
    if isinstance(content, dict):
        own = {"seller", "customer", "e_invoice", "proof", "locale", "time_zone", "unit", "payment"}
        return [text for name, member in content.items() if name not in own for text in texts_of(member)]
    if isinstance(content, list):
        return [text for member in content for text in texts_of(member)]
    return [content] if isinstance(content, str) and content not in ("plain", "strong", "due") else []


def plain(words: str | list[str]) -> str:
    return "".join("".join(words).split())


def assert_states(document: Document, page: PrintedPage, pdf: bytes) -> None:
    """The file inside is the one that is downloaded, valid against its schema as the UBL one is, and comes to what is printed."""
    kind = "credit-notes" if isinstance(document, CreditNote) else "invoices"
    address = f"/billing/{kind}/{document.number}/e-invoice"
    files = PdfReader(io.BytesIO(pdf)).attachments
    invoice = document.invoice if isinstance(document, CreditNote) else document
    if why_no_e_invoice(invoice=invoice):
        assert not files and Caller().get(address).status_code == 409
        return
    cii = files["factur-x.xml"][0]
    assert Caller().get(address).content == cii == page.e_invoice.encode()
    stated = e_credit_note_of(note=document) if isinstance(document, CreditNote) else e_invoice_of(invoice=document)
    ubl = ubl_file(e_invoice=stated)
    assert xml_check_xsd(cii, flavor="factur-x", level="en16931")
    assert xml_check_xsd(ubl, flavor="ubl-2.1-creditnote" if isinstance(document, CreditNote) else "ubl-2.1")
    assert_adds_up(stated, document)


def assert_adds_up(stated: EInvoice, document: Document) -> None:
    assert stated.due == document.total
    assert total((line.amount for line in stated.lines), stated.currency) == stated.net
    for line in stated.lines:
        off = sum(one.amount.amount for one in line.allowances)
        assert line.quantity * line.price - off == line.amount.amount
    for one in stated.sums:
        of = total((line.amount for line in stated.lines if line.vat == one.vat), stated.currency)
        assert of == one.taxable
