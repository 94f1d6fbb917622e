"""The tax of a span: what was sold by registration, place, rate and treatment, before and with tax, and what of it is owed to the tax office.

Source: what tax returns ask for, net and tax of each rate (Art. 250 of Directive 2006/112/EC), and what is not taxed by its reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.models import Q, Sum
from moneyed import Money

from billing_site.kernel.money import round_money, total
from invoicing.core.posting import ACCOUNT_NAMES, PREPAID_CREDIT, RECEIVABLE, REFUNDS_PAYABLE, TAX_PAYABLE
from invoicing.core.tax import TaxKind
from invoicing.core.tax_document import percent_text
from invoicing.core.tax_rules import ONE_STOP_SHOP
from invoicing.ledger.models import JournalEntry, Posting
from invoicing.reports.asking import Question
from invoicing.reports.booked import BOOKED_LATER
from invoicing.reports.report import Column, ColumnKind, Door, DoorKind, Report, Row, Section, Tie

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
ZERO_RATE = "Zero rate"
COLUMNS = (
    Column("registration", "Registration", is_optional=True, is_name=True),
    Column("seller", "Legal entity", is_optional=True),
    Column("jurisdiction", "Place", is_optional=True),
    Column("treatment", "Treatment"),
    Column("rate", "Rate", is_optional=True),
    Column("reason", "Why", is_optional=True),
    Column("documents", "Documents", ColumnKind.NUMBER),
    Column("net", "Net", ColumnKind.MONEY),
    Column("tax", "Tax", ColumnKind.MONEY),
    Column("gross", "With tax", ColumnKind.MONEY),
)
DEFINITION = (
    "What was invoiced in the span (UTC; where its month was closed by then, in the next one), after discounts and promotional credit, by the treatment that is stored with each line; an invoice that became void in it, "
    "and a credit note of it, count against it. Tax is owed from the invoice on, whether it is paid or not. What prepaid credit pays is taxed like anything else. Where a line owes "
    "two taxes, such as a country's and a region's, each row says what it is owed of, and the sum counts that once."
)

# Invoices at their issue, and against them at the moment at which they became void.
_DOCUMENTS = f"""
    SELECT id, sign FROM (
        SELECT id, 1 AS sign, 'issue' AS kind, number AS reference, issued_at AS moment
          FROM invoicing_invoice WHERE status <> 'draft' AND issued_at < %(end)s
        UNION ALL
        SELECT id, -1, 'reversal', number, voided_at FROM invoicing_invoice WHERE status = 'void' AND voided_at < %(end)s
    ) fact LEFT JOIN {BOOKED_LATER} later USING (kind, reference)
     WHERE coalesce(later.booked_at, moment) >= %(start)s AND coalesce(later.booked_at, moment) < %(end)s
"""
# What credit notes took of lines, by how these were taxed, and the tax that went back with it.
_CREDITED = f"""
    SELECT 'note ' || note.id AS document, -1 AS sign, line.id AS line_id, credited.id AS credited_id, credited.amount
      FROM invoicing_creditnote note JOIN invoicing_creditnoteline credited ON credited.note_id = note.id
      JOIN invoicing_invoiceline line ON line.id = credited.line_id
      LEFT JOIN {BOOKED_LATER} later ON later.kind = 'credit_note' AND later.reference = note.number
     WHERE coalesce(later.booked_at, note.issued_at) >= %(start)s AND coalesce(later.booked_at, note.issued_at) < %(end)s
"""
_IS_PREPAID = """
    line.adjustment = 'credit' AND EXISTS (
        SELECT 1 FROM invoicing_creditgrant WHERE id = line.credit_grant_id AND kind = 'prepaid')
"""
# The day by whose rates a line is taxed, as `core.tax.tax_day` says; what is invoiced once has no span that ends.
_DAY = """
    ((line.service_end - CASE WHEN line.service_end > line.service_start THEN interval '1 microsecond' ELSE interval '0' END)
     AT TIME ZONE invoice.timezone)::date
"""
_SOLD = f"""
    WITH document AS ({_DOCUMENTS}), noted AS ({_CREDITED}), sold AS (
        SELECT invoice.id::text, document.sign, invoice.currency, invoice.tax, tax.kind, tax.jurisdiction, tax.name, tax.rate,
               CASE tax.kind WHEN 'untaxed' THEN '' ELSE tax.reason END AS reason, tax.ordinal, tax.taxable, tax.amount,
               {_DAY} AS day, buyer.legal_entity_id AS seller
          FROM document JOIN invoicing_invoice invoice ON invoice.id = document.id
          JOIN invoicing_customer buyer ON buyer.id = invoice.customer_id
          JOIN invoicing_invoiceline line ON line.invoice_id = invoice.id
          JOIN invoicing_taxline tax ON tax.line_id = line.id
        UNION ALL
        SELECT invoice.id::text, document.sign, invoice.currency, NULL, '{NO_TAX}', '', '', 0, '', 1, line.amount, 0, NULL,
               buyer.legal_entity_id
          FROM document JOIN invoicing_invoice invoice ON invoice.id = document.id
          JOIN invoicing_customer buyer ON buyer.id = invoice.customer_id
          JOIN invoicing_invoiceline line ON line.invoice_id = invoice.id
         WHERE invoice.tax_state = '' AND NOT ({_IS_PREPAID})
        UNION ALL
        SELECT noted.document, noted.sign, invoice.currency, invoice.tax, coalesce(tax.kind, '{NO_TAX}'),
               coalesce(tax.jurisdiction, ''), coalesce(tax.name, ''), coalesce(tax.rate, 0),
               CASE tax.kind WHEN 'untaxed' THEN '' ELSE coalesce(tax.reason, '') END, coalesce(tax.ordinal, 1),
               coalesce(back.taxable, noted.amount), coalesce(back.amount, 0),
               {_DAY}, buyer.legal_entity_id
          FROM noted JOIN invoicing_invoiceline line ON line.id = noted.line_id
          JOIN invoicing_invoice invoice ON invoice.id = line.invoice_id
          JOIN invoicing_customer buyer ON buyer.id = invoice.customer_id
          LEFT JOIN invoicing_taxline tax ON tax.line_id = line.id
          LEFT JOIN invoicing_creditnotetax back ON back.tax_id = tax.id AND back.note_line_id = noted.credited_id
    ), registered AS (
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
      FROM registered GROUP BY currency, seller, registered_in, registration, jurisdiction, kind, name, rate, reason
"""
_PREPAID = f"""
    WITH document AS ({_DOCUMENTS})
    SELECT line.currency, sum(document.sign * line.amount)
      FROM document JOIN invoicing_invoiceline line ON line.invoice_id = document.id
     WHERE {_IS_PREPAID} GROUP BY line.currency
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


def tax_report(*, question: Question) -> Report:
    """Return what was sold and taxed in a span (S0-011, S0-119)."""
    sold = _sold(question)
    paid_ahead = _fetched(_PREPAID, question)
    prepaid = {code: round_money(amount, code) for code, amount in paid_ahead}
    owed = _booked(question, Q(account__code=TAX_PAYABLE))
    invoiced = _invoiced(question)
    currencies = {code for code in {*sold, *owed, *invoiced} if question.currency in ("", code)}
    return Report(
        name="tax",
        title="Tax",
        asked=f"invoiced from {question.start} to {question.end}",
        columns=COLUMNS,
        sections=[_section(code, sold.get(code, ()), prepaid, owed, invoiced) for code in sorted(currencies)],
        definition=DEFINITION,
    )


def _section(
    currency: str,
    sold: Sequence[TaxedSales],
    prepaid: dict[str, Money],
    owed: dict[str, Money],
    invoiced: dict[str, Money],
) -> Section:
    nothing = total((), currency)
    net, tax = total((one.once for one in sold), currency), total((one.tax for one in sold), currency)
    totals = {"net": net, "tax": tax, "gross": net + tax}
    ties = (
        Tie("tax", tax, -owed.get(currency, nothing), f"account {TAX_PAYABLE} {ACCOUNT_NAMES[TAX_PAYABLE]}"),
        Tie(
            "with tax, less what prepaid credit pays",
            totals["gross"] + prepaid.get(currency, nothing),
            invoiced.get(currency, nothing),
            f"invoices on account {RECEIVABLE} {ACCOUNT_NAMES[RECEIVABLE]}, and what credit notes give back",
        ),
    )
    are_several = len({one.seller for one in sold}) > 1
    rows = [_row(one, seller=one.seller if are_several else None) for one in sold]
    return Section(currency, rows, totals, ties)


def _row(one: TaxedSales, *, seller: str | None) -> Row:
    is_taxed = one.kind == TaxKind.TAXED.value
    door = Door(DoorKind.ACCOUNT, TAX_PAYABLE)
    return Row(
        {
            "registration": _registration(one) or None,
            # Said only where there are several: what was closed before says the same.
            "seller": seller,
            "jurisdiction": one.jurisdiction or None,
            "treatment": ZERO_RATE if is_taxed and not one.rate else TREATMENTS[one.kind],
            "rate": f"{one.name} {percent_text(one.rate)}" if is_taxed else None,
            "reason": _told(one),
            "documents": one.documents,
            "net": one.net,
            "tax": one.tax,
            "gross": one.net + one.tax,
        },
        {"tax": door} if one.tax.amount else {},
    )


def _told(one: TaxedSales) -> str | None:
    """Return why there is no tax where the treatment does not say it: what an exemption says, else the sentence on the invoice up to its ground."""
    if one.kind == TaxKind.EXEMPT.value:
        return one.reason
    if one.kind == TaxKind.OUTSIDE_SCOPE.value:
        return one.reason.partition(":")[0]
    return None


def _registration(one: TaxedSales) -> str:
    """Return the number under which it is declared, with its place where the number does not say it."""
    if not one.registration or one.registration.startswith(one.registered_in):
        return one.registration
    return f"{one.registered_in} {one.registration}"


def _sold(question: Question) -> dict[str, list[TaxedSales]]:
    sold: dict[str, list[TaxedSales]] = {}
    for code, seller, in_place, number, place, kind, name, rate, reason, documents, *amounts in _fetched(
        _SOLD, question
    ):
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


def _invoiced(question: Question) -> dict[str, Money]:
    """Return what invoices have asked for in the span, as the books say, less what credit notes gave back: off what is open, as credit, as money."""
    of_invoices = Q(entry__kind__in=(JournalEntry.Kind.ISSUE, JournalEntry.Kind.REVERSAL), account__code=RECEIVABLE)
    of_notes = Q(
        entry__kind=JournalEntry.Kind.CREDIT_NOTE, account__code__in=(RECEIVABLE, PREPAID_CREDIT, REFUNDS_PAYABLE)
    )
    return _booked(question, of_invoices | of_notes)


def _booked(question: Question, which: Q) -> dict[str, Money]:
    """Return what some postings come to in the span, by currency."""
    postings = Posting.objects.filter(
        which,
        entry__booked_at__gte=question.span.start,
        entry__booked_at__lt=question.span.end,
    )
    sums = postings.values_list("currency").annotate(sum=Sum("amount"))
    return {code: round_money(amount, code) for code, amount in sums}


def _fetched(sql: str, question: Question) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, {"start": question.span.start, "end": question.span.end})
        return list(cursor.fetchall())
