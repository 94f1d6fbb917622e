"""What the template places: each key of a printed document stated once, for invoices and credit notes alike."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Final

from moneyed import Money

from billing_site.kernel.words import counted
from invoicing.invoices.factur_x import EMBEDDED_NAME
from invoicing.invoices.printed_text import line_of, lines_of, money_text, quantity_text, shortened
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
    """One line; `explanation` says in plain words how the amount came about, `unit_amount` is final text.

    `quantity` is None where the line is an amount alone; `unit` is singular; `free_quantity` is the part of `quantity` that costs nothing before any price is applied.
    `part` says of what the quantity is a part.
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
    part: str = ""


@dataclass(frozen=True)
class Fact:
    """A date or a name that the reader looks for, in the box over the lines."""

    label: str
    text: str
    is_strong: bool = False


@dataclass(frozen=True)
class Sum:
    """A row under the lines; `kind` is how it is set: plain, strong or due."""

    kind: str
    text: str
    amount: Money


@dataclass(frozen=True)
class PaymentWords:
    """How to pay, or one sentence why nothing has to be paid; `bank` may have several lines."""

    note: tuple[str, ...]
    bank: str = ""
    reference: str = ""


@dataclass(frozen=True)
class PrintedPage:
    """All that is printed on a document, and nothing else; `headline` is the one figure that is looked for, and the words over it.

    `number` is "" where it has none, `e_invoice` the XML that stands in the PDF, `evidence` what says which events were counted, and their root.
    """

    locale: str
    dated: date
    title: str
    number: str
    seller: DocumentSeller
    customer: DocumentCustomer
    headline: tuple[str, Money]
    facts: tuple[Fact, ...]
    lines: tuple[DocumentLine, ...]
    sums: tuple[Sum, ...]
    payment: PaymentWords
    proof: str
    notes: tuple[str, ...]
    status: str = ""
    watermark: str = ""
    evidence: tuple[str, str] | None = None
    e_invoice: str = ""

    def pdf(self) -> bytes:
        """Print it as PDF/A-3b; the same page gives the same bytes, on every machine and at any time."""
        return print_pdf(content=self.content())

    def etag(self) -> str:
        """Return 64 hexadecimal digits that change whenever the bytes of `pdf` would: an HTTP ETag without quotes."""
        return content_etag(content=self.content())

    def content(self) -> dict[str, Any]:
        """Return what the template places: every text final, every user's text a plain string or list of pieces."""
        words, figure = self.headline
        return {
            "locale": self.locale,
            "dated": [self.dated.year, self.dated.month, self.dated.day],
            "title": self.title,
            "number": line_of(self.number or "not yet issued"),
            "name": f"{self.title} {self.number}" if self.number else self.title,
            "status": line_of(self.status),
            "watermark": self.watermark,
            "seller": {
                "name": line_of(self.seller.name),
                "address": lines_of(self.seller.address),
                "email": line_of(self.seller.email),
                "tax_id": line_of(self.seller.tax_id),
            },
            "customer": {
                "name": line_of(self.customer.name),
                "short_name": shortened(self.customer.name),
                "address": lines_of(self.customer.address),
                "email": line_of(self.customer.email),
                "tax_id": line_of(self.customer.tax_id),
            },
            "headline": [words, money_text(money=figure)],
            "facts": [["strong" if fact.is_strong else "plain", fact.label, line_of(fact.text)] for fact in self.facts],
            "lines": [_line(line) for line in self.lines],
            "totals": [[row.kind, line_of(row.text), money_text(money=row.amount)] for row in self.sums],
            "payment": {
                "note": [line for note in self.payment.note for line in lines_of(note)],
                "bank": lines_of(self.payment.bank),
                "reference": line_of(self.payment.reference),
                "may_break": sum(map(len, self.payment.note)) > CHARACTERS_TOGETHER_MAX,
            },
            "proof": self.proof,
            "evidence": {"note": self.evidence[0], "root": self.evidence[1]} if self.evidence else {},
            "notes": [line_of(note) for note in self.notes],
            "e_invoice": {"name": EMBEDDED_NAME, "xml": self.e_invoice} if self.e_invoice else None,
        }


def _line(line: DocumentLine) -> dict[str, Any]:
    words = [line.description, line.explanation, *(step.text + step.price for step in line.steps)]
    free = f"{quantity_text(quantity=line.free_quantity)} of them free" if line.free_quantity else line.part
    return {
        "may_break": len(line.steps) > STEPS_TOGETHER_MAX or sum(map(len, words)) > CHARACTERS_TOGETHER_MAX,
        "position": str(line.position),
        "description": line_of(line.description),
        "explanation": line_of(line.explanation),
        "quantity": "" if line.quantity is None else quantity_text(quantity=line.quantity),
        "unit": "" if line.quantity is None else line_of(counted(line.unit, line.quantity)),
        "free": free,
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
