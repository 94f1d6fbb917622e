"""The invoice as a document: a frozen description in, a PDF/A-3b out, the same bytes every time.

Nothing here knows a model, a clock or the network: whoever prints maps the invoice to an `InvoiceDocument`
first. All words and figures are put into their final form here; `templates/invoice/invoice.typ` only places them.
"""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Final

from moneyed import Money

from billing_site.kernel.money import is_rounded, total
from billing_site.kernel.words import counted
from invoicing.core.spans import date_text, period_text
from invoicing.invoices.factur_x import EMBEDDED_NAME
from invoicing.invoices.printed_text import (
    line_of,
    lines_of,
    money_text,
    quantity_text,
    shortened,
)
from invoicing.invoices.printing import content_etag, print_pdf

# A line with its tiers moves to the next page as a whole, unless it is so long that it may not fit on one.
STEPS_TOGETHER_MAX: Final = 14
CHARACTERS_TOGETHER_MAX: Final = 1200


@dataclass(frozen=True)
class DocumentSeller:
    """Who asks for the money; `address` and `bank` may have several lines."""

    name: str
    address: str
    email: str
    tax_id: str
    bank: str


@dataclass(frozen=True)
class DocumentCustomer:
    """Who owes it, as copied onto the invoice; `address` may have several lines."""

    name: str
    address: str
    email: str
    tax_id: str


@dataclass(frozen=True)
class DocumentStep:
    """One tier or package of a line: "First 1,000,000", 1000000, "EUR 0.00002", EUR 20.00.

    The amount may be finer than the currency's minor unit; it is printed in full. `quantity` is None for a flat fee.
    """

    text: str
    quantity: Decimal | None
    price: str
    amount: Money


@dataclass(frozen=True)
class DocumentLine:
    """One invoice line; `explanation` says in plain words how the amount came about, `unit_amount` is final text.

    `quantity` is None where the line is an amount alone; `unit` is singular; `free_quantity` is the part of `quantity` that costs nothing before any price is applied.
    """

    position: int
    description: str
    explanation: str
    quantity: Decimal | None
    unit: str
    unit_amount: str
    amount: Money
    steps: tuple[DocumentStep, ...] = ()
    free_quantity: Decimal = Decimal(0)


@dataclass(frozen=True)
class DocumentSum:
    """A row between subtotal and total: a tax, or what credit that was bought has paid; one that is not counted only tells."""

    text: str
    amount: Money
    is_counted: bool = True


@dataclass(frozen=True)
class InvoiceDocument:
    """All that is printed on an invoice, and nothing else.

    A draft has no number and no dates of its own. A one-off invoice has no period; any other runs from its first to its last day, both included,
    in the customer's `time_zone`. `status` is the word of the invoice's state ("issued", "paid", "void", ...). `e_invoice` is the XML that stands in the PDF.
    """

    seller: DocumentSeller
    customer: DocumentCustomer
    number: str | None
    status: str
    issue_date: date | None
    due_date: date | None
    period_first_date: date | None
    period_last_date: date | None
    time_zone: str
    currency: str
    lines: tuple[DocumentLine, ...]
    subtotal: Money
    total: Money
    amount_paid: Money
    amount_credited: Money
    amount_due: Money
    payment_note: str
    proof_digest: str
    # The root over the usage events that it counts, and how many these are; empty where it counts none.
    events_root: str = ""
    event_count: int = 0
    locale: str = "en"
    taxes: tuple[DocumentSum, ...] = ()
    payments: tuple[DocumentSum, ...] = ()
    notes: tuple[str, ...] = ()
    e_invoice: str = ""

    def __post_init__(self) -> None:
        assert self.locale == "en", f"no words for the locale {self.locale!r} yet"
        first, last = self.period_first_date, self.period_last_date
        assert first == last or (first and last and first < last), "the period ends before it begins"
        assert last or self.issue_date, "what bills no period has a day on which it is issued"
        assert self.number is None or self.issue_date is not None, "an issued invoice has an issue date"
        sums = (self.subtotal, self.total, self.amount_paid, self.amount_credited, self.amount_due)
        figures = (*sums, *(line.amount for line in self.lines))
        assert all(figure.currency.code == self.currency and is_rounded(figure) for figure in figures), (
            "every figure is in the invoice's currency and rounded"
        )
        assert total((line.amount for line in self.lines), self.currency) == self.subtotal, (
            "the lines must add up to the subtotal"
        )
        between = [row.amount for row in (*self.taxes, *self.payments) if row.is_counted]
        adds_up = not between or total(between, self.currency) + self.subtotal == self.total
        assert adds_up, "subtotal and taxes, less what credit has paid, must add up to the total"

    @property
    def is_draft(self) -> bool:
        """Say whether the invoice has no number yet."""
        return self.number is None

    @property
    def is_void(self) -> bool:
        """Say whether the invoice was declared void."""
        return self.status.lower() == "void"


def render_pdf(*, document: InvoiceDocument) -> bytes:
    """Print the document as PDF/A-3b; the same document gives the same bytes, on every machine and at any time.

    Characters that no bundled font can draw come out as □.
    """
    return print_pdf(content=_content(document))


def document_etag(*, document: InvoiceDocument) -> str:
    """Return 64 hexadecimal digits that change whenever the bytes of `render_pdf` would: an HTTP ETag without quotes."""
    return content_etag(content=_content(document))


def _content(document: InvoiceDocument) -> dict[str, Any]:
    """Return what the template places: every text final, every user's text a plain string or list of pieces."""
    dated = document.issue_date or document.period_last_date
    assert dated is not None, "a document has a day"
    return {
        "locale": document.locale,
        "dated": [dated.year, dated.month, dated.day],
        "title": "Draft invoice" if document.is_draft else "Invoice",
        "number": line_of(document.number or "not yet issued"),
        "name": f"Invoice {document.number}" if document.number else "Draft invoice",
        "status": "" if document.is_draft else line_of(document.status.capitalize()),
        "watermark": "VOID" if document.is_void else "DRAFT" if document.is_draft else "",
        "seller": {
            "name": line_of(document.seller.name),
            "address": lines_of(document.seller.address),
            "email": line_of(document.seller.email),
            "tax_id": line_of(document.seller.tax_id),
        },
        "customer": {
            "name": line_of(document.customer.name),
            "short_name": shortened(document.customer.name),
            "address": lines_of(document.customer.address),
            "email": line_of(document.customer.email),
            "tax_id": line_of(document.customer.tax_id),
        },
        "headline": _headline(document),
        "facts": _facts(document),
        "lines": [_line_content(line) for line in document.lines],
        "totals": _totals(document),
        "payment": _payment(document),
        "proof": document.proof_digest,
        "evidence": _evidence(document),
        "notes": [line_of(note) for note in document.notes],
        "e_invoice": {"name": EMBEDDED_NAME, "xml": document.e_invoice} if document.e_invoice else None,
    }


def _line_content(line: DocumentLine) -> dict[str, Any]:
    words = [line.description, line.explanation, *(step.text + step.price for step in line.steps)]
    return {
        "may_break": len(line.steps) > STEPS_TOGETHER_MAX or sum(map(len, words)) > CHARACTERS_TOGETHER_MAX,
        "position": str(line.position),
        "description": line_of(line.description),
        "explanation": line_of(line.explanation),
        "quantity": "" if line.quantity is None else quantity_text(quantity=line.quantity),
        "unit": "" if line.quantity is None else line_of(counted(line.unit, line.quantity)),
        "free": f"{quantity_text(quantity=line.free_quantity)} of them free" if line.free_quantity else "",
        "unit_amount": line_of(line.unit_amount),
        "amount": money_text(money=line.amount),
        "steps": [
            {
                "text": line_of(step.text),
                "quantity": "" if step.quantity is None else quantity_text(quantity=step.quantity),
                "price": line_of(step.price),
                "amount": money_text(money=step.amount),
            }
            for step in line.steps
        ],
    }


def _headline(document: InvoiceDocument) -> list[str]:
    """Return the one figure that the reader looks for, and the words over it."""
    if document.is_void:
        return ["Void, nothing is due", money_text(money=Money(0, document.currency))]
    if document.is_draft:
        return ["Total so far, not yet due", money_text(money=document.total)]
    if document.amount_due.amount < 0:
        return ["In your favour", money_text(money=_negated(document.amount_due))]
    if document.amount_due.amount > 0:
        return ["Amount due", money_text(money=document.amount_due)]
    words = "Credited" if document.amount_credited.amount else "Paid in full"
    settled = document.amount_paid.amount or document.amount_credited.amount
    words = f"{words}, nothing is due" if settled else "Nothing is due"
    return [words, money_text(money=document.amount_due)]


def _negated(money: Money) -> Money:
    return Money(money.amount.copy_negate(), money.currency)


def _facts(document: InvoiceDocument) -> list[list[Any]]:
    """Return the dates that matter, most urgent first: kind, label, text."""
    facts: list[list[Any]] = []
    if document.due_date and not document.is_void:
        facts.append(["strong", "Due date", date_text(day=document.due_date)])
    if document.period_first_date and document.period_last_date:
        period = period_text(first=document.period_first_date, last=document.period_last_date)
        facts.append(["strong", "Billing period", period])
    if document.issue_date:
        facts.append(["plain", "Issue date", date_text(day=document.issue_date)])
    facts.append(["plain", "Time zone", line_of(document.time_zone)])
    return facts


def _totals(document: InvoiceDocument) -> list[list[Any]]:
    """Return the rows under the table: kind, label, figure."""
    rows: list[list[Any]] = [["plain", "Subtotal", money_text(money=document.subtotal)]]
    rows += [["plain", line_of(row.text), money_text(money=row.amount)] for row in document.taxes]
    if document.payments:
        taxed = total((row.amount for row in document.taxes if row.is_counted), document.currency)
        rows.append(["strong", "Total with tax", money_text(money=document.subtotal + taxed)])
        rows += [["plain", line_of(row.text), money_text(money=row.amount)] for row in document.payments]
    rows.append(["strong", "Total", money_text(money=document.total)])
    if document.is_draft:
        return rows
    if document.amount_paid.amount:
        rows.append(["plain", "Paid", money_text(money=_negated(document.amount_paid))])
    if document.amount_credited.amount:
        rows.append(["plain", "Credited", money_text(money=_negated(document.amount_credited))])
    due = Money(0, document.currency) if document.is_void else document.amount_due
    rows.append(["due", "Amount due", money_text(money=due)])
    return rows


def _payment(document: InvoiceDocument) -> dict[str, Any]:
    """Return how to pay, or one sentence why nothing has to be paid; never instructions to pay what is not due."""
    if document.is_void:
        return _nothing_to_pay("This invoice is void. Please do not pay it.")
    if document.is_draft:
        return _nothing_to_pay("This is a draft. Figures may still change, and nothing is due until it is issued.")
    if document.amount_due.amount < 0:
        return _nothing_to_pay("Please pay nothing: the amount is in your favour.")
    if document.amount_due.amount == 0:
        is_paid = document.amount_paid.amount > 0 and not document.amount_credited.amount
        owed = "for this period" if document.period_last_date else "for this"
        return _nothing_to_pay("Paid in full. Thank you." if is_paid else f"Nothing has to be paid {owed}.")
    return {
        "note": lines_of(document.payment_note),
        "bank": lines_of(document.seller.bank),
        "reference": line_of(document.number or ""),
        "may_break": len(document.payment_note) > CHARACTERS_TOGETHER_MAX,
    }


def _evidence(document: InvoiceDocument) -> dict[str, str]:
    """Return what says which usage events were counted; nothing where none has a root."""
    if not document.events_root:
        return {}
    number = quantity_text(quantity=Decimal(document.event_count))
    return {
        "note": f"This invoice rests on {number} usage {counted('event', document.event_count)}, under the root below (Merkle tree, RFC 9162)."
        " Its page on the web has them, and a program that checks them without us.",
        "root": document.events_root,
    }


def _nothing_to_pay(sentence: str) -> dict[str, Any]:
    return {"note": [sentence], "bank": [], "reference": "", "may_break": False}
