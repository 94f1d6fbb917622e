"""The credit note as a document: what the invoice's template places, said about what is given back."""

from collections.abc import Iterator
from datetime import date
from zoneinfo import ZoneInfo

from moneyed import Money

from billing_site.kernel.money import plain, total
from invoicing.core.spans import date_text
from invoicing.core.tax import TaxKind
from invoicing.core.tax_document import sum_text
from invoicing.credit_notes.models import CreditNote, CreditNoteLine, CreditNoteTax
from invoicing.invoices.parties import printed_parties
from invoicing.invoices.printed_page import DocumentLine, Fact, PaymentWords, PrintedPage, Sum
from invoicing.invoices.printed_text import money_text, quantity_text
from invoicing.invoices.taxes import tax_notes


def render_credit_note(*, note: CreditNote) -> bytes:
    """Print a credit note as PDF/A-3b; the same note gives the same bytes. Its lines should be read with it."""
    return _page(note).pdf()


def credit_note_etag(*, note: CreditNote) -> str:
    """Return 64 hexadecimal digits that change whenever the bytes of `render_credit_note` would."""
    return _page(note).etag()


def gives_back_text(*, note: CreditNote) -> list[str]:
    """Say what becomes of it, a sentence for each part."""
    parts = (
        (note.offset_amount, "{} are taken off what was open of invoice {}."),
        (note.balance_amount, "{} stay with us as your credit: they pay for your next invoices by themselves."),
        (note.refund_amount, "{} are paid back to you."),
    )
    return [words.format(money_text(money=amount), note.invoice.number) for amount, words in parts if amount.amount]


def _page(note: CreditNote) -> PrintedPage:
    invoice = note.invoice
    seller, customer = printed_parties(invoice=invoice)
    day = note.issued_at.astimezone(ZoneInfo(invoice.timezone)).date()
    return PrintedPage(
        locale="en",
        dated=day,
        title="Credit note",
        number=note.number,
        seller=seller,
        customer=customer,
        headline=("Credited to you", note.total),
        facts=_facts(note, day),
        lines=tuple(_line(line) for line in note.lines.all()),
        sums=tuple(_sums(note)),
        payment=PaymentWords((*gives_back_text(note=note), "Please pay nothing on this document.")),
        proof=note.seal,
        # Why there is no tax: as the invoice says it.
        notes=tuple(tax_notes(invoice=invoice)),
    )


def _facts(note: CreditNote, day: date) -> tuple[Fact, ...]:
    invoice = note.invoice
    assert invoice.issued_at is not None, "an issued invoice is credited"
    invoiced = invoice.issued_at.astimezone(ZoneInfo(invoice.timezone)).date()
    return (
        Fact("Corrects invoice", str(invoice.number), is_strong=True),
        Fact("Invoice date", date_text(day=invoiced)),
        Fact("Issue date", date_text(day=day), is_strong=True),
        Fact("Time zone", invoice.timezone),
    )


def _line(line: CreditNoteLine) -> DocumentLine:
    of = line.line
    told = f"Line {of.position} of the invoice, over {money_text(money=of.amount)}"
    if line.creditable != of.amount:
        told += f", of which reductions left {money_text(money=line.creditable)}"
    return DocumentLine(
        position=of.position,
        description=of.description,
        explanation=f"{told}.",
        quantity=line.quantity,
        unit=of.unit,
        unit_amount="",
        amount=line.amount,
        part="" if line.quantity is None else f"of {quantity_text(quantity=of.quantity)} ({_percent(line)})",
    )


def _percent(line: CreditNoteLine) -> str:
    assert line.quantity is not None, "a quantity was credited"
    share = (line.quantity * 100 / line.line.quantity).quantize(line.quantity.__class__("0.01"))
    return f"{plain(share)} %"


def _taxes(note: CreditNote) -> dict[str, Money]:
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
        )
        sums[text] = sums.get(text, row.amount * 0) + row.amount
    return sums


def _sums(note: CreditNote) -> Iterator[Sum]:
    added = total((line.tax_added for line in note.lines.all()), note.currency)
    if added.amount:
        yield Sum("plain", "Before tax", note.total - added)
    for text, amount in _taxes(note).items():
        yield Sum("plain", text, amount)
    yield Sum("strong", "Total credited", note.total)
    parts = (
        ("Taken off the invoice", note.offset_amount),
        ("Kept as your credit", note.balance_amount),
        ("Paid back to you", note.refund_amount),
    )
    yield from (Sum("plain", name, amount) for name, amount in parts if amount.amount)
