"""The printed invoice: same bytes, every word literal, every figure exact, on one page or on ten."""

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from datetime import date
from decimal import Decimal

import pypdf
import pytest
from moneyed import Money

from invoicing.core.spans import period_text
from invoicing.invoices.document import DocumentSum, InvoiceDocument, document_etag, render_pdf
from invoicing.invoices.printed_page import (
    DocumentCustomer,
    DocumentLine,
    DocumentSection,
    DocumentSeller,
    DocumentStep,
)
from invoicing.invoices.printed_text import money_text, quantity_text


def a_logo() -> bytes:
    """Return a red PNG of two by one pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\x00" + b"\xc0\x20\x20" * 2))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")


SELLER = DocumentSeller(
    name="Example Inference GmbH",
    address="Musterstraße 1\n10115 Berlin\nGermany",
    email="billing@example.com",
    tax_id="DE123456789",
    bank="IBAN DE02 1203 0000 0000 2020 51\nBIC BYLADEM1001",
)
CUSTOMER = DocumentCustomer(
    name="Nordwind Analytics A/S",
    address="Havnegade 12\n1058 København K",
    email="accounts@nordwind.example",
    tax_id="DK29481102",
)


def money(amount: str, currency: str = "EUR") -> Money:
    return Money(Decimal(amount), currency)


def line(*, position: int = 1, description: str = "Team plan", amount: str = "49.00", currency: str = "EUR", **given):
    defaults = {
        "explanation": "Flat fee for the month.",
        "quantity": Decimal(1),
        "unit": "month",
        "unit_amount": f"{currency} {amount}",
    }
    return DocumentLine(
        position=position, description=description, amount=money(amount, currency), **{**defaults, **given}
    )


def tiered_line(*, position: int = 1) -> DocumentLine:
    return line(
        position=position,
        description="Workflow actions",
        explanation="Each action is charged at the rate of the tier it falls in.",
        quantity=Decimal(15_000_000),
        unit="actions",
        unit_amount="graduated",
        amount="280.00",
        steps=(
            DocumentStep("First 5,000,000", Decimal(5_000_000), "included", money("0.00")),
            DocumentStep("Next 5,000,000", Decimal(5_000_000), "EUR 0.00003", money("150.00")),
            DocumentStep("Above 10,000,000", Decimal(5_000_000), "EUR 0.000026", money("130.00")),
        ),
    )


def invoice(*lines: DocumentLine, currency: str = "EUR", paid: str = "0", **given) -> InvoiceDocument:
    lines = lines or (line(currency=currency),)
    total = sum((entry.amount for entry in lines), money("0", currency))
    defaults = {
        "seller": SELLER,
        "customer": CUSTOMER,
        "number": "INV-2026-000412",
        "status": "issued",
        "issue_date": date(2026, 11, 1),
        "due_date": date(2026, 11, 15),
        "period_first_date": date(2026, 10, 1),
        "period_last_date": date(2026, 10, 31),
        "time_zone": "Europe/Copenhagen",
        "currency": currency,
        "lines": lines,
        "subtotal": total,
        "total": total,
        "amount_paid": money(paid, currency),
        "amount_credited": money("0", currency),
        "amount_due": total - money(paid, currency),
        "payment_note": "Please pay by bank transfer.",
        "proof_digest": "3f9a17c2d84be011" * 4,
    }
    return InvoiceDocument(**{**defaults, **given})


def printed(document: InvoiceDocument) -> pypdf.PdfReader:
    return pypdf.PdfReader(io.BytesIO(render_pdf(document=document)))


def text_of(document: InvoiceDocument) -> str:
    """All pages' text with white space collapsed: where a line breaks is not part of what it says."""
    return " ".join(" ".join(page.extract_text() for page in printed(document).pages).split())


def compact_text_of(document: InvoiceDocument) -> str:
    return "".join(text_of(document).split())


def test_the_same_document_gives_the_same_bytes_whoever_prints_in_between():
    document = invoice(line(), tiered_line(position=2))

    first = render_pdf(document=document)
    render_pdf(document=invoice(line(description="Another customer's secret plan"), number="INV-2"))

    assert render_pdf(document=document) == first
    assert first.startswith(b"%PDF-")


def test_threads_that_print_at_once_each_get_their_own_invoice():
    documents = [invoice(line(amount=f"{index}.00"), number=f"INV-{index:03}") for index in range(1, 13)]

    with ThreadPoolExecutor(max_workers=6) as pool:
        at_once = list(pool.map(lambda document: render_pdf(document=document), documents))

    assert at_once == [render_pdf(document=document) for document in documents]


def test_every_word_and_figure_of_the_invoice_can_be_found_in_its_text():
    text = text_of(invoice(line(), tiered_line(position=2), paid="100.00"))

    for expected in (
        "INV-2026-000412",
        "Example Inference GmbH",
        "Musterstraße 1",
        "Nordwind Analytics A/S",
        "Tax ID DK29481102",
        "Due date 15 November 2026",
        "Billing period 1 – 31 October 2026",
        "Time zone Europe/Copenhagen",
        "Team plan 1 month EUR 49.00 EUR 49.00",
        "Flat fee for the month.",
        "Workflow actions 15,000,000 actions graduated EUR 280.00",
        "Next 5,000,000 5,000,000 EUR 0.00003 EUR 150.00",
        "Subtotal EUR 329.00",
        "Total EUR 329.00",
        "Paid EUR −100.00",
        "Amount due EUR 229.00",
        "Please pay by bank transfer.",
        "IBAN DE02 1203 0000 0000 2020 51",
        "Reference INV-2026-000412",
        "Proof 3f9a17c2d84b…",
        "1 / 1",
    ):
        assert expected in text, expected


def test_the_file_says_that_it_is_pdf_a_3b_and_when_and_by_whom_it_was_issued():
    reader = printed(invoice())

    assert reader.xmp_metadata is not None
    assert (reader.xmp_metadata.pdfaid_part, reader.xmp_metadata.pdfaid_conformance) == ("3", "B")
    assert reader.metadata is not None
    assert reader.metadata.title == "Invoice INV-2026-000412"
    assert reader.metadata.author == "Example Inference GmbH"
    assert reader.metadata["/CreationDate"].startswith("D:20261101000000")
    assert "3f9a17c2d84be011" * 4 in reader.metadata["/Keywords"]
    assert "/OutputIntents" in reader.trailer["/Root"]


def test_every_font_is_embedded_as_pdf_a_demands():
    reader = printed(invoice(customer=replace(CUSTOMER, name="株式会社東京データ解析研究所")))

    descriptors = [
        child.get_object()["/FontDescriptor"]
        for page in reader.pages
        for font in page["/Resources"]["/Font"].values()
        for child in font.get_object()["/DescendantFonts"]
    ]

    assert len(descriptors) >= 3
    assert all("/FontFile2" in descriptor or "/FontFile3" in descriptor for descriptor in descriptors)


MARKUP = (
    '#import "/etc/passwd": *',
    "*bold* _emphasis_ `raw`",
    "$x^2$ and $ y $",
    'a "quoted" name',
    "back\\slash \\u{41} \\",
    "#sys.inputs #{1 + 1} #panic()",
    "= heading - item + item / term: x",
    "@reference <label> [content](link) ~ --- ...",
    "// comment /* comment */ https://a.example/b",
    "</script> {{ 7 * 7 }} %s {0}",
)


@pytest.mark.parametrize("words", MARKUP)
def test_what_people_write_is_printed_literally_and_never_executed(words):
    document = invoice(
        line(description=words, explanation=words, unit=words, unit_amount=words),
        customer=DocumentCustomer(name=words, address=f"{words}\n{words}", email=words, tax_id=words),
        payment_note=words,
    )

    assert compact_text_of(document).count("".join(words.split())) >= 8


def test_line_breaks_and_control_characters_in_a_name_become_spaces_or_nothing():
    text = text_of(invoice(line(description="first\nsecond\tthird\x00\x07 \u202e123\u2066")))

    assert "first second third 123 1 month" in text


def test_a_name_without_spaces_breaks_inside_its_column_and_copies_without_added_characters():
    name = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" + "X" * 80
    document = invoice(line(description=name), customer=replace(CUSTOMER, name=name))

    reader = printed(document)

    assert compact_text_of(document).count(name) == 2
    assert "\u200b" not in reader.pages[0].extract_text()
    assert len(reader.pages) == 1


def test_names_in_german_polish_greek_russian_japanese_chinese_and_korean_are_drawn():
    names = ["Größenwahn Straße", "Zażółć gęślą", "Ελλάδα", "Київ", "株式会社東京", "软件有限公司", "서울특별시"]

    text = text_of(invoice(*(line(position=number, description=name) for number, name in enumerate(names, 1))))

    for name in names:
        assert name in text


def test_a_character_that_no_font_can_draw_becomes_a_square_and_changes_nothing_beside_it():
    text = text_of(invoice(line(description="1\u20e3 rocket🚀1 e\u0331\u0332 \ue000 ไทย")))

    assert "1□ rocket□1 e□□ □ □□□ 1 month EUR 49.00 EUR 49.00" in text


def test_two_hundred_lines_take_pages_that_repeat_the_header_and_number_themselves():
    lines = [line(position=number, description=f"Project {number:03}") for number in range(1, 201)]

    pages = [" ".join(page.extract_text().split()) for page in printed(invoice(*lines)).pages]

    assert len(pages) > 5
    for number, page in enumerate(pages, 1):
        assert "# Description Quantity Unit price Amount" in page
        assert f"{number} / {len(pages)}" in page
    assert all("Invoice INV-2026-000412 · Nordwind Analytics A/S continued" in page for page in pages[1:])
    assert all(f"Project {number:03}" in " ".join(pages) for number in range(1, 201))


@pytest.mark.parametrize("count", range(12, 30))
def test_the_totals_stay_together_wherever_the_page_ends(count):
    lines = [line(position=number) for number in range(1, count + 1)]

    pages = [" ".join(page.extract_text().split()) for page in printed(invoice(*lines)).pages]

    (with_subtotal,) = [page for page in pages if "Subtotal EUR" in page]
    assert "Amount due EUR" in with_subtotal[with_subtotal.index("Subtotal EUR") :]


def test_a_line_moves_to_the_next_page_together_with_its_tiers():
    lines = [tiered_line(position=number) for number in range(1, 41)]

    for page in printed(invoice(*lines)).pages:
        text = page.extract_text()
        assert text.count("Workflow actions") == text.count("First 5,000,000") == text.count("Above 10,000,000")


def test_a_line_longer_than_a_page_runs_on_instead_of_being_cut_off():
    steps = tuple(DocumentStep(f"Tier {number:03}", Decimal(1), "EUR 0.001", money("0.001")) for number in range(150))

    text = text_of(invoice(line(steps=steps, explanation="Words. " * 400)))

    assert all(f"Tier {number:03} 1 EUR 0.001 EUR 0.001" in text for number in range(150))


def test_units_are_counted_and_what_is_free_stands_under_the_quantity():
    queries = line(
        description="Queries",
        explanation="",
        quantity=Decimal(2_850_845),
        unit="query",
        unit_amount="EUR 0.0005",
        amount="925.42",
        free_quantity=Decimal(1_000_000),
    )

    assert "2,850,845 queries 1,000,000 of them free EUR 0.0005 EUR 925.42" in text_of(invoice(queries))
    assert "1 query" in text_of(invoice(replace(queries, quantity=Decimal(1))))
    assert "of them free" not in text_of(invoice(replace(queries, free_quantity=Decimal(0))))


def test_a_draft_says_so_and_asks_for_nothing():
    text = text_of(invoice(number=None, status="draft", issue_date=None, due_date=None))

    assert "DRAFT" in text
    assert "Total so far, not yet due EUR 49.00" in text
    assert "IBAN" not in text
    assert "Amount due" not in text


def test_a_void_invoice_says_so_and_asks_for_nothing():
    text = text_of(invoice(status="void"))

    assert "VOID" in text
    assert "Amount due EUR 0.00" in text
    assert "IBAN" not in text
    assert "Due date" not in text


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (invoice(line(amount="0.00")), "Nothing has to be paid for this period."),
        (invoice(paid="49.00", status="paid"), "Paid in full. Thank you."),
        (invoice(line(amount="-12.00")), "Please pay nothing: the amount is in your favour."),
        (invoice(lines=(), subtotal=money("0"), total=money("0"), amount_due=money("0")), "Nothing was charged"),
    ],
    ids=["zero", "paid", "credit", "no lines"],
)
def test_an_invoice_with_nothing_to_pay_shows_no_bank_account(document, words):
    text = text_of(document)

    assert words in text
    assert "IBAN" not in text


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        ("1234567.5", "EUR", "EUR 1,234,567.50"),
        ("-0.01", "USD", "USD −0.01"),
        ("0", "EUR", "EUR 0.00"),
        ("-0", "EUR", "EUR 0.00"),
        ("146232", "JPY", "JPY 146,232"),
        ("0", "JPY", "JPY 0"),
        ("90740.74", "KWD", "KWD 90,740.740"),
        ("43.50375", "EUR", "EUR 43.50375"),
        ("1E+6", "JPY", "JPY 1,000,000"),
        (
            "12345678901234567890123456789012345678.01",
            "EUR",
            "EUR 12,345,678,901,234,567,890,123,456,789,012,345,678.01",
        ),
    ],
)
def test_money_is_written_with_its_currency_and_every_digit(amount, currency, expected):
    assert money_text(money=money(amount, currency)) == expected


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        ("0", "0"),
        ("10.50", "10.5"),
        ("-3", "−3"),
        ("999", "999"),
        ("1000", "1,000"),
        ("123456789012345678901234567890", "123,456,789,012,345,678,901,234,567,890"),
    ],
)
def test_quantities_are_written_in_full_however_long(quantity, expected):
    assert quantity_text(quantity=Decimal(quantity)) == expected


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (date(2026, 10, 1), date(2026, 10, 31), "1 – 31 October 2026"),
        (date(2026, 10, 15), date(2026, 11, 14), "15 October – 14 November 2026"),
        (date(2026, 12, 15), date(2027, 1, 14), "15 December 2026 – 14 January 2027"),
        (date(2028, 2, 29), date(2028, 2, 29), "29 February 2028"),
    ],
)
def test_a_period_names_month_and_year_once(first, last, expected):
    assert period_text(first=first, last=last) == expected


def test_yen_are_printed_without_and_dinars_with_three_decimals():
    assert "Amount due JPY 146,232" in text_of(invoice(line(amount="146232", currency="JPY"), currency="JPY"))
    assert "Amount due KWD 90,740.740" in text_of(invoice(line(amount="90740.740", currency="KWD"), currency="KWD"))


CHANGES = {
    "seller": replace(SELLER, name="Another GmbH"),
    "customer": replace(CUSTOMER, name="Another A/S"),
    "number": "INV-2026-000413",
    "status": "paid",
    "issue_date": date(2026, 11, 2),
    "due_date": date(2026, 11, 16),
    "period_first_date": date(2026, 9, 30),
    "period_last_date": date(2026, 10, 30),
    "time_zone": "Europe/Berlin",
    "lines": (line(description="Another plan"),),
    "total": money("58.31"),
    "sections": (DocumentSection("Another account", 1, money("29.00")),),
    "amount_paid": money("1.00"),
    "amount_credited": money("1.00"),
    "amount_due": money("48.00"),
    "payment_note": "Please pay by cheque.",
    "proof_digest": "0" * 64,
    "events_root": "1" * 64,
    "runs_until": date(2026, 12, 31),
    "replaces": ("INV-2026-000411", date(2026, 11, 1)),
    "replaced_by": ("INV-2026-000414", date(2026, 11, 3)),
    "notes": ("Reverse charge.",),
    "e_invoice": "<xml/>",
    "logo": a_logo(),
}


def test_a_taxed_invoice_prints_the_sum_of_each_rate_what_credit_has_paid_and_the_sentence_of_the_law():
    document = invoice(
        line(amount="100.00"),
        total=money("59.00"),
        amount_due=money("59.00"),
        taxes=(
            DocumentSum("VAT 19 % (DE) on EUR 100.00", money("19.00")),
            DocumentSum("of which Levy 1 % (DE) on EUR 99.01", money("0.99"), is_counted=False),
        ),
        payments=(DocumentSum("Prepaid credit: Top-up", money("-60.00")),),
        notes=("Reverse charge: VAT is to be accounted for by the recipient.",),
    )

    text = text_of(document)

    assert "Subtotal EUR 100.00 VAT 19 % (DE) on EUR 100.00 EUR 19.00 of which Levy" in text
    assert "Total with tax EUR 119.00 Prepaid credit: Top-up EUR -60.00 Total EUR 59.00 Amount due EUR 59.00" in (
        text.replace("−", "-")
    )
    assert text.count("Reverse charge: VAT is to be accounted for by the recipient.") == 1
    tags = [
        document_etag(document=replace(document, **{name: ()}, total=money(whole)))
        for name, whole in (("taxes", "40.00"), ("payments", "119.00"))
    ]
    assert len({document_etag(document=document), *tags}) == 3
    with pytest.raises(AssertionError, match="must add up to the total"):
        replace(document, total=money("58.00"))


@pytest.mark.parametrize("field", CHANGES)
def test_the_etag_changes_with_each_field(field):
    document = invoice()

    changed = replace(document, **{field: CHANGES[field]})

    assert document_etag(document=changed) != document_etag(document=document)
    assert render_pdf(document=changed) != render_pdf(document=document)


@pytest.mark.parametrize("party", [SELLER, CUSTOMER], ids=["seller", "customer"])
def test_the_etag_changes_with_each_field_of_either_party(party):
    side = "seller" if party is SELLER else "customer"

    tags = {
        document_etag(document=invoice(**{side: replace(party, **{field.name: "another"})})) for field in fields(party)
    }

    assert len(tags | {document_etag(document=invoice())}) == len(fields(party)) + 1


def test_the_etag_changes_with_each_field_of_a_line_and_of_a_tier():
    step = DocumentStep("First 10", Decimal(10), "EUR 4.90", money("49.00"))
    whole = line(steps=(step,))
    others = [
        replace(whole, **{name: value})
        for name, value in {
            "position": 2,
            "description": "Another plan",
            "explanation": "Another reason.",
            "quantity": Decimal(2),
            "unit": "week",
            "free_quantity": Decimal(1),
            "unit_amount": "EUR 1.00",
            "steps": (),
        }.items()
    ]
    others += [
        replace(whole, steps=(replace(step, **{name: value}),))
        for name, value in {"text": "x", "quantity": None, "price": "x", "amount": money("1")}.items()
    ]

    tags = {document_etag(document=invoice(entry)) for entry in [whole, *others, line(amount="50.00")]}

    assert len(tags) == len(others) + 2
    assert all(len(tag) == 64 for tag in tags)


def test_every_field_is_either_changed_in_the_etag_test_or_cannot_change_alone():
    assert {field.name for field in fields(InvoiceDocument)} - set(CHANGES) == {
        "currency",
        "subtotal",
        "language",
        "events",
        "taxes",
        "payments",
    }


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"subtotal": money("49.01")}, "add up"),
        ({"total": money("49", "USD")}, "currency"),
        ({"amount_due": money("49.001")}, "rounded"),
        ({"period_last_date": date(2026, 9, 30)}, "period"),
        ({"issue_date": None}, "issue date"),
    ],
)
def test_a_document_that_contradicts_itself_cannot_be_made(given, complaint):
    with pytest.raises(AssertionError, match=complaint):
        invoice(**given)
