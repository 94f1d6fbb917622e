"""What was sold in a span as the treatments of its lines tell it: each tax of each line, invoices and credit notes alike, when they are booked."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import connection
from moneyed import Money

from billing_site.kernel.money import round_money
from invoicing.core.tax import TaxKind
from invoicing.core.tax_rules import ONE_STOP_SHOP
from invoicing.reports.asking import Question
from invoicing.reports.booked import BOOKED_LATER

NO_TAX = "none"
# The order in which treatments stand, and what they are called.
TREATMENTS = {
    TaxKind.TAXED.value: "Taxed",
    TaxKind.REVERSE_CHARGE.value: "Reverse charge",
    TaxKind.EXEMPT.value: "Exempt",
    TaxKind.OUTSIDE_SCOPE.value: "Outside scope",
    TaxKind.UNTAXED.value: "Corrects what was untaxed",
    NO_TAX: "No tax is charged",
}

# Invoices at their issue, and against them at the moment at which they became void.
DOCUMENTS = f"""
    SELECT id, sign, kind, reference FROM (
        SELECT id, 1 AS sign, 'issue' AS kind, number AS reference, issued_at AS moment
          FROM invoicing_invoice WHERE status <> 'draft' AND issued_at < %(end)s
        UNION ALL
        SELECT id, -1, 'reversal', number, voided_at FROM invoicing_invoice WHERE status = 'void' AND voided_at < %(end)s
    ) fact LEFT JOIN {BOOKED_LATER} later USING (kind, reference)
     WHERE coalesce(later.booked_at, moment) >= %(start)s AND coalesce(later.booked_at, moment) < %(end)s
"""
# What credit notes took of lines, by how these were taxed, and the tax that went back with it.
_CREDITED = f"""
    SELECT 'note ' || note.id AS document, note.number AS reference, -1 AS sign,
           line.id AS line_id, credited.id AS credited_id, credited.amount
      FROM invoicing_creditnote note JOIN invoicing_creditnoteline credited ON credited.note_id = note.id
      JOIN invoicing_invoiceline line ON line.id = credited.line_id
      LEFT JOIN {BOOKED_LATER} later ON later.kind = 'credit_note' AND later.reference = note.number
     WHERE coalesce(later.booked_at, note.issued_at) >= %(start)s AND coalesce(later.booked_at, note.issued_at) < %(end)s
"""
IS_PREPAID = """
    line.adjustment = 'credit' AND EXISTS (
        SELECT 1 FROM invoicing_creditgrant WHERE id = line.credit_grant_id AND kind = 'prepaid')
"""
# The day by whose rates a line is taxed, as `core.tax.tax_day` says; what is invoiced once has no span that ends.
_DAY = """
    ((line.service_end - CASE WHEN line.service_end > line.service_start THEN interval '1 microsecond' ELSE interval '0' END)
     AT TIME ZONE invoice.timezone)::date
"""
# Each tax of each line of the documents of a span, signed, with the journal entry of its document; `sold` is its table.
SOLD = f"""
    WITH document AS ({DOCUMENTS}), noted AS ({_CREDITED}), sold AS (
        SELECT invoice.id::text, document.kind AS entry_kind, document.reference, invoice.id AS invoice_id, document.sign,
               invoice.currency, invoice.tax, tax.kind, tax.jurisdiction, tax.name, tax.rate,
               CASE tax.kind WHEN 'untaxed' THEN '' ELSE tax.reason END AS reason, tax.ordinal, tax.taxable, tax.amount,
               {_DAY} AS day, buyer.legal_entity_id AS seller
          FROM document JOIN invoicing_invoice invoice ON invoice.id = document.id
          JOIN invoicing_customer buyer ON buyer.id = invoice.customer_id
          JOIN invoicing_invoiceline line ON line.invoice_id = invoice.id
          JOIN invoicing_taxline tax ON tax.line_id = line.id
        UNION ALL
        SELECT invoice.id::text, document.kind, document.reference, invoice.id, document.sign,
               invoice.currency, NULL, '{NO_TAX}', '', '', 0, '', 1, line.amount, 0, NULL, buyer.legal_entity_id
          FROM document JOIN invoicing_invoice invoice ON invoice.id = document.id
          JOIN invoicing_customer buyer ON buyer.id = invoice.customer_id
          JOIN invoicing_invoiceline line ON line.invoice_id = invoice.id
         WHERE invoice.tax_state = '' AND NOT ({IS_PREPAID})
        UNION ALL
        SELECT noted.document, 'credit_note', noted.reference, invoice.id, noted.sign, invoice.currency, invoice.tax,
               coalesce(tax.kind, '{NO_TAX}'),
               coalesce(tax.jurisdiction, ''), coalesce(tax.name, ''), coalesce(tax.rate, 0),
               CASE tax.kind WHEN 'untaxed' THEN '' ELSE coalesce(tax.reason, '') END, coalesce(tax.ordinal, 1),
               coalesce(back.taxable, noted.amount), coalesce(back.amount, 0),
               {_DAY}, buyer.legal_entity_id
          FROM noted JOIN invoicing_invoiceline line ON line.id = noted.line_id
          JOIN invoicing_invoice invoice ON invoice.id = line.invoice_id
          JOIN invoicing_customer buyer ON buyer.id = invoice.customer_id
          LEFT JOIN invoicing_taxline tax ON tax.line_id = line.id
          LEFT JOIN invoicing_creditnotetax back ON back.tax_id = tax.id AND back.note_line_id = noted.credited_id
    )
"""
_BY_TREATMENT = f"""
    {SOLD}, registered AS (
        SELECT sold.*, CASE
            WHEN sold.kind IN ('taxed', 'exempt') THEN coalesce(here.jurisdiction, shop.jurisdiction)
            ELSE sold.tax -> 'seller' ->> 'country' END AS registered_in, CASE
            WHEN sold.kind IN ('taxed', 'exempt') THEN coalesce(here.number, shop.number)
            ELSE sold.tax -> 'seller' ->> 'number' END AS registration
          FROM sold
          LEFT JOIN invoicing_taxregistration here ON here.jurisdiction = sold.jurisdiction AND here.legal_entity_id = sold.seller
               AND here.valid_from <= sold.day AND sold.day < coalesce(here.valid_to, 'infinity')
          LEFT JOIN invoicing_taxregistration shop ON shop.jurisdiction = '{ONE_STOP_SHOP}' AND shop.legal_entity_id = sold.seller
               AND shop.valid_from <= sold.day AND sold.day < coalesce(shop.valid_to, 'infinity')
    )
    SELECT currency, seller, coalesce(registered_in, ''), coalesce(registration, ''), jurisdiction, kind, name, rate, reason,
           count(DISTINCT id), sum(sign * taxable), coalesce(sum(sign * taxable) FILTER (WHERE ordinal = 1), 0),
           sum(sign * amount)
      FROM registered WHERE %(entity)s = '' OR seller = %(entity)s GROUP BY currency, seller, registered_in, registration, jurisdiction, kind, name, rate, reason
"""


@dataclass(frozen=True)
class TaxedSales:
    """What a legal entity sold under one registration, treatment and rate; `once` is the part of `net` that no other tax of its lines counts, too."""

    seller: str
    registered_in: str
    registration: str
    jurisdiction: str
    kind: str
    name: str
    rate: Decimal
    reason: str
    documents: int
    net: Money
    once: Money
    tax: Money


def taxed_sales(*, question: Question) -> dict[str, list[TaxedSales]]:
    """Return what was sold in a span by currency, registration, treatment, place and rate, in this order."""
    sold: dict[str, list[TaxedSales]] = {}
    rows = fetched(sql=_BY_TREATMENT, question=question)
    for code, seller, in_place, number, place, kind, name, rate, reason, documents, *amounts in rows:
        net, once, tax = (round_money(amount, code) for amount in amounts)
        one = TaxedSales(seller, in_place, number, place, kind, name, rate, reason, documents, net, once, tax)
        sold.setdefault(code, []).append(one)
    order = list(TREATMENTS)
    for those in sold.values():
        those.sort(
            key=lambda one: (
                one.seller,
                one.registered_in,
                one.registration,
                order.index(one.kind),
                one.jurisdiction,
                one.name,
                one.rate,
                one.reason,
            )
        )
    return sold


def fetched(*, sql: str, question: Question) -> list[tuple[Any, ...]]:
    """Return the rows of a statement about the span and legal entity of a question."""
    with connection.cursor() as cursor:
        cursor.execute(sql, {"start": question.span.start, "end": question.span.end, "entity": question.books})
        return list(cursor.fetchall())
