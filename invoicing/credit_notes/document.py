"""The credit note as a document: what the invoice's template places, said about what is given back."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from zoneinfo import ZoneInfo

from moneyed import Money

from billing_site.kernel.money import plain, total
from invoicing.core.languages import ENGLISH, Language, language_of
from invoicing.core.spans import date_text
from invoicing.core.tax import TaxKind
from invoicing.core.tax_document import sum_text
from invoicing.credit_notes.models import CreditNote, CreditNoteLine, CreditNoteTax
from invoicing.invoices.line_words import words_of_lines
from invoicing.invoices.logo import logo_of
from invoicing.invoices.parties import printed_parties
from invoicing.invoices.printed_page import DocumentLine, Fact, PaymentWords, PrintedPage, Sum
from invoicing.invoices.printed_text import money_text, quantity_text
from invoicing.invoices.taxes import tax_notes


def gives_back_text(*, note: CreditNote, language: Language = ENGLISH) -> list[str]:
    """Say what becomes of it, a sentence for each part."""
    parts = (
        (note.offset_amount, "{amount} are taken off what was open of invoice {number}."),
        (note.balance_amount, "{amount} stay with us as your credit: they pay for your next invoices by themselves."),
        (note.refund_amount, "{amount} are paid back to you."),
    )
    return [
        language.say(phrase, amount=money_text(money=amount, language=language), number=str(note.invoice.number))
        for amount, phrase in parts
        if amount.amount
    ]


def credit_note_page(*, note: CreditNote, e_invoice: str) -> PrintedPage:
    """Return what is printed on a credit note, read with its lines; `e_invoice` is the XML that stands in the PDF, "" where there is none."""
    invoice = note.invoice
    language = language_of(code=invoice.language)
    seller, customer = printed_parties(invoice=invoice)
    day = note.issued_at.astimezone(ZoneInfo(invoice.timezone)).date()
    nothing_to_pay = language.say("Please pay nothing on this document.")
    return PrintedPage(
        language=language,
        dated=day,
        title="Credit note",
        number=note.number,
        seller=seller,
        customer=customer,
        headline=("Credited to you", note.total),
        facts=_facts(note, day, language),
        lines=tuple(_lines(note, language)),
        sums=tuple(_sums(note, language)),
        payment=PaymentWords((*gives_back_text(note=note, language=language), nothing_to_pay)),
        proof=note.seal,
        # Why there is no tax: as the invoice says it.
        notes=tuple(tax_notes(invoice=invoice, language=language)),
        e_invoice=e_invoice,
        logo=logo_of(invoice=invoice),
    )


def _facts(note: CreditNote, day: date, language: Language) -> tuple[Fact, ...]:
    invoice = note.invoice
    assert invoice.issued_at is not None, "an issued invoice is credited"
    invoiced = invoice.issued_at.astimezone(ZoneInfo(invoice.timezone)).date()
    return (
        Fact("Corrects invoice", str(invoice.number), is_strong=True),
        Fact("Invoice date", date_text(day=invoiced, language=language)),
        Fact("Credit note date", date_text(day=day, language=language), is_strong=True),
        Fact("Time zone", invoice.timezone),
    )


def credited_text(*, line: CreditNoteLine, language: Language) -> str:
    """Say which line of the invoice is credited, and what it left to credit."""
    of = line.line
    over = money_text(money=of.amount, language=language)
    if line.creditable == of.amount:
        return language.say("Line {line} of the invoice, over {amount}.", line=str(of.position), amount=over)
    return language.say(
        "Line {line} of the invoice, over {amount}, of which reductions left {left}.",
        line=str(of.position),
        amount=over,
        left=money_text(money=line.creditable, language=language),
    )


def _lines(note: CreditNote, language: Language) -> Iterator[DocumentLine]:
    lines = list(note.lines.all())
    words = words_of_lines(lines=[line.line for line in lines], language=language)
    for line in lines:
        yield DocumentLine(
            position=line.line.position,
            description=words[line.line_id]["description"],
            explanation=credited_text(line=line, language=language),
            quantity=line.quantity,
            unit=line.line.unit,
            unit_amount="",
            amount=line.amount,
            part="" if line.quantity is None else _part(line, line.quantity, language),
        )


def _part(line: CreditNoteLine, quantity: Decimal, language: Language) -> str:
    """Say of what a credited quantity is a part, and which."""
    share = (quantity * 100 / line.line.quantity).quantize(Decimal("0.01"))
    return language.say(
        "of {quantity} ({percent})",
        quantity=quantity_text(quantity=line.line.quantity, language=language),
        percent=f"{language.decimal(plain(share))} %",
    )


def _taxes(note: CreditNote, language: Language) -> dict[str, Money]:
    """Return what of each tax goes back, by how the invoice calls it."""
    sums: dict[str, Money] = {}
    rows = CreditNoteTax.objects.filter(note_line__note=note).select_related("tax").order_by("id")
    for row in rows:
        text = sum_text(
            kind=TaxKind(row.tax.kind),
            name=row.tax.name,
            rate=row.tax.rate,
            jurisdiction=row.tax.jurisdiction,
            inclusive=row.tax.inclusive,
            language=language,
        )
        sums[text] = sums.get(text, row.amount * 0) + row.amount
    return sums


def _sums(note: CreditNote, language: Language) -> Iterator[Sum]:
    say = language.say
    added = total((line.tax_added for line in note.lines.all()), note.currency)
    if added.amount:
        yield Sum("plain", say("Before tax"), note.total - added)
    for text, amount in _taxes(note, language).items():
        yield Sum("plain", text, amount)
    yield Sum("strong", say("Total credited"), note.total)
    parts = (
        ("Taken off the invoice", note.offset_amount),
        ("Kept as your credit", note.balance_amount),
        ("Paid back to you", note.refund_amount),
    )
    yield from (Sum("plain", say(phrase), amount) for phrase, amount in parts if amount.amount)
