"""A credit note as EN 16931 states it: type 381, with the invoice that it corrects, and each line with the tax that goes back with it."""

from collections.abc import Iterator
from decimal import Decimal
from zoneinfo import ZoneInfo

from moneyed import Money

from billing_site.kernel.errors import Conflict
from billing_site.kernel.money import from_minor_units, round_money
from invoicing.core.languages import Language, language_of
from invoicing.credit_notes.document import credited_text
from invoicing.credit_notes.models import CreditNote, CreditNoteLine, CreditNoteTax
from invoicing.e_invoices.statement import (
    Corrected,
    EInvoice,
    StatedLine,
    Vat,
    VatSum,
    buyer_of,
    days_of,
    fits_in_file,
    seller_of,
    vat_of_tax,
    why_no_e_invoice,
)
from invoicing.invoices.consumers import account_of
from invoicing.invoices.line_words import words_of_lines
from invoicing.invoices.queries import period_shown

ONE = Decimal(1)


def e_credit_note_of(*, note: CreditNote) -> EInvoice:
    """Return the statement of a credit note, read with its lines; raises Conflict (no_e_invoice) that says why there is none."""
    if why := why_no_e_invoice(invoice=note.invoice):
        raise Conflict(f"there is no e-invoice of {note}: of the invoice, {why}", field="number", code="no_e_invoice")
    return stated_note(note=note)


def stated_note(*, note: CreditNote) -> EInvoice:
    """Return the statement of a credit note whose invoice has an e-invoice."""
    invoice = note.invoice
    assert invoice.number is not None and invoice.issued_at is not None, "an issued invoice is credited"
    zone, language = ZoneInfo(invoice.timezone), language_of(code=invoice.language)
    period = period_shown(invoice=invoice)
    taxes = _taxes(note)
    found = EInvoice(
        number=note.number,
        issued_on=note.issued_at.astimezone(zone).date(),
        due_on=None,
        days=None if period is None else days_of(period.start, period.end, zone),
        currency=note.currency,
        seller=seller_of(invoice),
        buyer=buyer_of(invoice),
        buyer_reference=invoice.customer.key,
        bank="",
        payment_terms=language.say("Please pay nothing on this document."),
        lines=tuple(_lines(note, taxes, language)),
        sums=tuple(_sums(list(taxes.values()), language, note.currency)),
        prepaid=from_minor_units(0, note.currency),
        corrects=Corrected(invoice.number, invoice.issued_at.astimezone(zone).date()),
    )
    assert found.due == round_money(note.total.amount, note.currency), "the file gives back what the note gives back"
    return found


def _taxes(note: CreditNote) -> dict[int, CreditNoteTax]:
    """Return the tax of each line of a note, by the line's id: where there is an e-invoice, a line has one."""
    rows = (
        CreditNoteTax.objects.filter(note_line__note=note).select_related("tax").order_by("note_line__line__position")
    )
    return {row.note_line_id: row for row in rows}


def _lines(note: CreditNote, taxes: dict[int, CreditNoteTax], language: Language) -> Iterator[StatedLine]:
    lines = list(note.lines.all())
    words = words_of_lines(lines=[line.line for line in lines], language=language)
    for line in lines:
        row = taxes[line.pk]
        net = round_money(row.taxable.amount, line.currency)
        quantity, price = _priced(line, net)
        yield StatedLine(
            number=line.line.position,
            name=words[line.line_id]["description"],
            description=credited_text(line=line, language=language),
            quantity=quantity,
            price=price,
            allowances=(),
            amount=net,
            vat=_vat(row, language),
            days=None,
            account=(account := account_of(line=line.line)),
            account_name=(line.line.invoice.accounts or {}).get(account, account),
        )


def _priced(line: CreditNoteLine, net: Money) -> tuple[Decimal, Decimal]:
    """Return quantity and price that come to the net amount, exactly: one piece of it where the credited quantity has no such price."""
    if line.quantity:
        price = net.amount / line.quantity
        if price * line.quantity == net.amount and fits_in_file(price) and fits_in_file(line.quantity):
            return line.quantity, price
    return ONE, net.amount


def _sums(rows: list[CreditNoteTax], language: Language, currency: str) -> Iterator[VatSum]:
    nothing = from_minor_units(0, currency)
    found: dict[Vat, tuple[Money, Money]] = {}
    for row in rows:
        vat = _vat(row, language)
        taxable, tax = found.get(vat, (nothing, nothing))
        found[vat] = (
            taxable + round_money(row.taxable.amount, currency),
            tax + round_money(row.amount.amount, currency),
        )
    for vat, (taxable, tax) in found.items():
        yield VatSum(vat, taxable, tax)


def _vat(row: CreditNoteTax, language: Language) -> Vat:
    return vat_of_tax(row.tax, language)
