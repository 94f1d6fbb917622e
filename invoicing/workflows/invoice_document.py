"""From the stored invoice to the document that is printed."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from moneyed import Money

from billing_site.kernel.money import total
from invoicing.core.contract import StepKind
from invoicing.core.languages import Language, language_of
from invoicing.core.wording import percent_text
from invoicing.customers.models import SettlementChannel
from invoicing.e_invoices.files import cii_file
from invoicing.e_invoices.statement import lines_with_taxes, stated, why_no_e_invoice
from invoicing.invoices.consumers import sections_of
from invoicing.invoices.document import DocumentSum, InvoiceDocument
from invoicing.invoices.event_roots import events_of_lines
from invoicing.invoices.line_words import words_of_lines
from invoicing.invoices.logo import logo_of
from invoicing.invoices.models import Invoice, InvoiceKind, InvoiceLine, LineKind
from invoicing.invoices.parties import printed_parties
from invoicing.invoices.printed_page import DocumentLine, DocumentSection, DocumentStep
from invoicing.invoices.printed_text import money_text
from invoicing.invoices.queries import period_shown, replaced_by, standing_for
from invoicing.invoices.taxes import TaxRow, lines_paying, tax_notes, tax_sums

# Steps that say which of the usage they price.
SAYS_WHICH = (StepKind.CELL, StepKind.OTHER_VALUES)
PAYMENT_NOTES = {
    SettlementChannel.STRIPE: "We charge the payment method on file; where there is none, you receive a link to pay.",
    SettlementChannel.MANUAL: "Please transfer the amount due and name the invoice number.",
}


def document_of(*, invoice: Invoice) -> InvoiceDocument:
    """Return what is printed on an invoice: copied parties, lines with their steps, what is due."""
    zone, language = ZoneInfo(invoice.timezone), language_of(code=invoice.language)
    seller, customer = printed_parties(invoice=invoice)
    period = period_shown(invoice=invoice)
    lines = lines_with_taxes(invoice=invoice)
    told = words_of_lines(lines=lines, language=language)
    # Where tax is charged, credit that was bought pays what is owed with it: no line of the document, but a payment.
    payments = lines_paying(invoice=invoice, lines=lines)
    paid = total((line.amount for line in payments), invoice.currency)
    charged = [line for line in lines if line not in payments]
    sections = sections_of(invoice=invoice, lines=charged)
    if sections:
        charged = [line for section in sections for line in section.lines]
    return InvoiceDocument(
        seller=seller,
        customer=customer,
        number=invoice.number,
        status=invoice.status,
        issue_date=invoice.issued_at.astimezone(zone).date() if invoice.issued_at else None,
        due_date=invoice.due_date,
        period_first_date=None if period is None else period.start.astimezone(zone).date(),
        period_last_date=None if period is None else _last_day(period.end, zone),
        time_zone=invoice.timezone,
        currency=invoice.currency,
        lines=tuple(_line(line, told[line.pk], language) for line in charged),
        subtotal=invoice.subtotal - paid,
        total=invoice.total,
        amount_paid=invoice.amount_paid,
        amount_credited=invoice.amount_credited,
        amount_due=invoice.amount_unpaid,
        payment_note=language.say(PAYMENT_NOTES[SettlementChannel(invoice.settlement_channel)]),
        proof_digest=invoice.seal or invoice.content_digest,
        events_root=invoice.events_root,
        events=events_of_lines(lines=[line for line in lines if line.events_root]),
        replaces=_told(replaced_by(invoice=invoice), zone),
        replaced_by=_told(standing_for(invoice=invoice), zone),
        runs_until=_last_day(invoice.progressive.period_end, zone) if invoice.kind == InvoiceKind.PROGRESSIVE else None,
        taxes=tuple(
            DocumentSum(_taxed(row, language), row.amount, is_counted=not row.inclusive)
            for row in tax_sums(invoice=invoice, language=language)
        ),
        payments=tuple(DocumentSum(told[line.pk]["description"], line.amount) for line in payments),
        notes=tuple(tax_notes(invoice=invoice, language=language)),
        e_invoice=""
        if why_no_e_invoice(invoice=invoice)
        else cii_file(e_invoice=stated(invoice=invoice, lines=lines, words=told)).decode(),
        language=language,
        logo=logo_of(invoice=invoice),
        sections=tuple(
            DocumentSection(one.name or language.say("All accounts"), len(one.lines), one.subtotal) for one in sections
        ),
    )


def _told(other: Invoice | None, zone: ZoneInfo) -> tuple[str, date] | None:
    """Return number and day of an issued invoice."""
    if other is None or other.number is None or other.issued_at is None:
        return None
    return other.number, other.issued_at.astimezone(zone).date()


def _last_day(end: datetime, zone: ZoneInfo) -> date:
    return (end.astimezone(zone) - timedelta(microseconds=1)).date()


def _taxed(row: TaxRow, language: Language) -> str:
    """Say which tax, and on what."""
    amount = money_text(money=row.taxable, language=language)
    return language.say("{tax} on {amount}", tax=row.text, amount=amount)


def _line(line: InvoiceLine, told: Mapping[str, Any], language: Language) -> DocumentLine:
    steps = tuple(_step(step, line.currency, language) for step in told["steps"])
    # An adjustment is an amount, and so is what was used so far: it has neither a number of units nor a price for one.
    is_amount = bool(line.adjustment) or line.kind == LineKind.PROGRESSIVE
    return DocumentLine(
        position=line.position,
        description=told["description"],
        explanation=told["explanation"],
        quantity=None if is_amount else line.quantity,
        unit=line.unit,
        free_quantity=Decimal(line.rated["free_quantity"]),
        unit_amount="" if is_amount else _unit_price(line.rated["steps"], line.currency, language),
        amount=line.amount,
        # One tier says no more than its line, one cell says which.
        steps=steps if len(steps) > 1 or any(step["kind"] in SAYS_WHICH for step in line.rated["steps"]) else (),
    )


def _unit_price(steps: list[dict[str, Any]], currency: str, language: Language) -> str:
    """Return the one price that a line has; nothing where the steps tell different ones."""
    if len(steps) != 1:
        return ""
    return _price_text(steps[0], currency, language)


def _step(step: dict[str, Any], currency: str, language: Language) -> DocumentStep:
    quantity = Decimal(step["quantity"])
    return DocumentStep(
        text=step["text"],
        quantity=quantity or None,
        price=_price_text(step, currency, language),
        amount=Money(Decimal(step["amount"]), currency),
    )


def _price_text(step: dict[str, Any], currency: str, language: Language) -> str:
    rate, unit, flat = (Decimal(step[name]) for name in ("rate", "unit_amount", "flat_amount"))
    if rate:
        return percent_text(rate=rate, language=language)
    return money_text(money=Money(unit or flat, currency), language=language) if unit or flat else ""
