"""The credit note as a document: what the invoice's template places, said about what is given back."""

from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

from moneyed import Money

from billing_site.kernel.money import plain, total
from billing_site.kernel.words import counted
from invoicing.core.spans import date_text
from invoicing.core.tax import TaxKind
from invoicing.core.tax_document import sum_text
from invoicing.credit_notes.models import CreditNote, CreditNoteLine, CreditNoteTax
from invoicing.invoices.printed_text import line_of, lines_of, money_text, quantity_text, shortened
from invoicing.invoices.printing import content_etag, print_pdf
from invoicing.invoices.taxes import tax_notes

# A line whose words are longer may break over two pages.
CHARACTERS_TOGETHER_MAX = 1200


def render_credit_note(*, note: CreditNote) -> bytes:
    """Print a credit note as PDF/A-3b; the same note gives the same bytes. Its lines should be read with it."""
    return print_pdf(content=_content(note))


def credit_note_etag(*, note: CreditNote) -> str:
    """Return 64 hexadecimal digits that change whenever the bytes of `render_credit_note` would."""
    return content_etag(content=_content(note))


def gives_back_text(*, note: CreditNote) -> list[str]:
    """Say what becomes of it, a sentence for each part."""
    parts = (
        (note.offset_amount, "{} are taken off what was open of invoice {}."),
        (note.balance_amount, "{} stay with us as your credit: they pay for your next invoices by themselves."),
        (note.refund_amount, "{} are paid back to you."),
    )
    return [words.format(money_text(money=amount), note.invoice.number) for amount, words in parts if amount.amount]


def _content(note: CreditNote) -> dict[str, Any]:
    invoice = note.invoice
    seller: dict[str, str] = invoice.seller
    day = note.issued_at.astimezone(ZoneInfo(invoice.timezone)).date()
    return {
        "locale": "en",
        "dated": [day.year, day.month, day.day],
        "title": "Credit note",
        "number": line_of(note.number),
        "name": f"Credit note {note.number}",
        "status": "",
        "watermark": "",
        "seller": {
            "name": line_of(seller.get("name", "")),
            "address": lines_of(seller.get("address", "")),
            "email": line_of(seller.get("email", "")),
            "tax_id": line_of(seller.get("tax_id", "")),
        },
        "customer": {
            "name": line_of(invoice.customer_name),
            "short_name": shortened(invoice.customer_name),
            "address": lines_of(invoice.customer_address),
            "email": line_of(invoice.customer_email),
            "tax_id": line_of(invoice.customer_tax_id),
        },
        "headline": ["Credited to you", money_text(money=note.total)],
        "facts": _facts(note, day),
        "lines": [_line(line) for line in note.lines.all()],
        "totals": _totals(note),
        "payment": {
            "note": [*gives_back_text(note=note), "Please pay nothing on this document."],
            "bank": [],
            "reference": "",
            "may_break": False,
        },
        "proof": note.seal,
        "evidence": {},
        # Why there is no tax: as the invoice says it.
        "notes": [line_of(told) for told in tax_notes(invoice=invoice)],
    }


def _facts(note: CreditNote, day: date) -> list[list[Any]]:
    invoice = note.invoice
    assert invoice.issued_at is not None, "an issued invoice is credited"
    invoiced = invoice.issued_at.astimezone(ZoneInfo(invoice.timezone)).date()
    return [
        ["strong", "Corrects invoice", line_of(str(invoice.number))],
        ["plain", "Invoice date", date_text(day=invoiced)],
        ["strong", "Issue date", date_text(day=day)],
        ["plain", "Time zone", line_of(invoice.timezone)],
    ]


def _line(line: CreditNoteLine) -> dict[str, Any]:
    of = line.line
    told = f"Line {of.position} of the invoice, over {money_text(money=of.amount)}"
    if line.creditable != of.amount:
        told += f", of which reductions left {money_text(money=line.creditable)}"
    return {
        "may_break": len(of.description) > CHARACTERS_TOGETHER_MAX,
        "position": str(of.position),
        "description": line_of(of.description),
        "explanation": line_of(f"{told}."),
        "quantity": "" if line.quantity is None else quantity_text(quantity=line.quantity),
        "unit": "" if line.quantity is None else line_of(counted(of.unit, line.quantity)),
        "free": "" if line.quantity is None else f"of {quantity_text(quantity=of.quantity)} ({_percent(line)})",
        "unit_amount": "",
        "amount": money_text(money=line.amount),
        "steps": [],
    }


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


def _totals(note: CreditNote) -> list[list[str]]:
    taxes = _taxes(note)
    added = total((line.tax_added for line in note.lines.all()), note.currency)
    rows = [["plain", "Before tax", money_text(money=note.total - added)]] if added.amount else []
    rows += [["plain", text, money_text(money=amount)] for text, amount in taxes.items()]
    rows.append(["strong", "Total credited", money_text(money=note.total)])
    parts = (
        ("Taken off the invoice", note.offset_amount),
        ("Kept as your credit", note.balance_amount),
        ("Paid back to you", note.refund_amount),
    )
    return rows + [["plain", name, money_text(money=amount)] for name, amount in parts if amount.amount]
