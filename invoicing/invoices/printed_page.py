"""What the template places: each key of a printed document stated once, for invoices and credit notes alike."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from hashlib import sha256
from typing import Any, Final

from moneyed import Money

from billing_site.kernel.money import EXACT
from invoicing.core.languages import Language
from invoicing.invoices.factur_x import EMBEDDED_NAME
from invoicing.invoices.printed_text import line_of, lines_of, money_text, quantity_text, shortened
from invoicing.invoices.printing import content_etag, print_pdf

# A line with its tiers moves to the next page as a whole, unless it is so long that it may not fit on one.
STEPS_TOGETHER_MAX: Final = 14
CHARACTERS_TOGETHER_MAX: Final = 1200
# So many digits of the proof stand on each page.
PROOF_SHOWN: Final = 12
TEMPLATE_WORDS: Final = {
    "billed_to": "Billed to",
    "description": "Description",
    "quantity": "Quantity",
    "unit_price": "Unit price",
    "amount": "Amount",
    "continued": "continued",
    "nothing": "Nothing was charged for this period.",
    "how_to_pay": "How to pay",
    "payment": "Payment",
    "reference": "Reference",
    "logo": "Logo",
    "for_machines": "The same document for machines (EN 16931)",
}


@dataclass(frozen=True)
class DocumentSeller:
    """Who asks for the money; `address` and `bank` may have several lines."""

    name: str
    address: str
    email: str
    tax_id: str
    bank: str
    registration: str = ""


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
    """One line; `explanation` says in plain words how the amount came about, in the language of its document, `unit_amount` is final text.

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
class DocumentSection:
    """Lines that follow each other, under the name of whose they are, and what they come to."""

    name: str
    line_count: int
    subtotal: Money


@dataclass(frozen=True)
class Fact:
    """A date or a name that the reader looks for, in the box over the lines; `label` is a phrase, `text` final."""

    label: str
    text: str
    is_strong: bool = False


@dataclass(frozen=True)
class Sum:
    """A row under the lines, in the language of its document; `kind` is how it is set: plain, strong or due."""

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
    """All that is printed on a document, and nothing else; `headline` is the one figure that is looked for, and the phrase over it.

    `sections` divide the lines, or there are none.
    Title, status and watermark are phrases, notes and rows final text. `number` is "" where it has none, `e_invoice` the XML that stands in the PDF, `evidence` what says which events were counted, and their root.
    """

    language: Language
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
    logo: bytes = b""
    sections: tuple[DocumentSection, ...] = ()

    def pdf(self) -> bytes:
        """Print it as PDF/A-3b; the same page gives the same bytes, on every machine and at any time."""
        return print_pdf(content=self.content(), logo=self.logo)

    def etag(self) -> str:
        """Return 64 hexadecimal digits that change whenever the bytes of `pdf` would: an HTTP ETag without quotes."""
        return content_etag(content=self.content())

    def content(self) -> dict[str, Any]:
        """Return what the template places: every text final, every user's text a plain string or list of pieces."""
        language, say = self.language, self.language.say
        phrase, figure = self.headline
        title = say(self.title)
        return {
            "locale": language.code,
            "words": _words(language),
            "dated": [self.dated.year, self.dated.month, self.dated.day],
            "title": title,
            "number": line_of(self.number or say("not yet issued")),
            "name": f"{title} {self.number}" if self.number else title,
            "status": say(self.status) if self.status else "",
            "watermark": say(self.watermark) if self.watermark else "",
            "is_issued": bool(self.number),
            "seller": {
                "name": line_of(self.seller.name),
                "address": lines_of(self.seller.address),
                "email": line_of(self.seller.email),
                "tax_id": line_of(self._tax_id(self.seller.tax_id)),
                **({"registration": line_of(self.seller.registration)} if self.seller.registration else {}),
            },
            "customer": {
                "name": line_of(self.customer.name),
                "short_name": shortened(self.customer.name),
                "address": lines_of(self.customer.address),
                "email": line_of(self.customer.email),
                "tax_id": line_of(self._tax_id(self.customer.tax_id)),
            },
            "headline": [say(phrase), money_text(money=figure, language=language)],
            "facts": [
                ["strong" if fact.is_strong else "plain", say(fact.label), line_of(fact.text)] for fact in self.facts
            ],
            "lines": [
                _line(line, language) | {"carried": say("carried over {amount}", amount=carried)} | section
                for line, carried, section in zip(self.lines, self._carried(), self._sections(), strict=True)
            ],
            "totals": [
                [row.kind, line_of(row.text), money_text(money=row.amount, language=language)] for row in self.sums
            ],
            "payment": {
                "note": [line for note in self.payment.note for line in lines_of(note)],
                "bank": lines_of(self.payment.bank),
                "reference": line_of(self.payment.reference),
                "may_break": sum(map(len, self.payment.note)) > CHARACTERS_TOGETHER_MAX,
            },
            "proof": self.proof,
            "proof_short": say("Proof {digest}", digest=f"{self.proof[:PROOF_SHOWN]}…") if self.proof else "",
            "evidence": {"note": self.evidence[0], "root": self.evidence[1]} if self.evidence else {},
            "notes": [line_of(note) for note in self.notes],
            "logo": sha256(self.logo).hexdigest() if self.logo else "",
            "e_invoice": {"name": EMBEDDED_NAME, "xml": self.e_invoice} if self.e_invoice else None,
        }

    def _carried(self) -> Iterator[str]:
        """Yield what the lines up to each, and with it, come to: the next page begins with it."""
        amount = Decimal(0)
        for line in self.lines:
            amount = EXACT.add(amount, line.amount.amount)
            yield money_text(money=Money(amount, line.amount.currency), language=self.language)

    def _sections(self) -> Iterator[dict[str, Any]]:
        """Yield for each line the head of the section that it begins, and the sum of the one that it ends."""
        if not self.sections:
            yield from ({} for _ in self.lines)
        for section in self.sections:
            places = range(section.line_count)
            for place in places:
                head = {"section": line_of(section.name)} if place == 0 else {}
                amount = money_text(money=section.subtotal, language=self.language)
                words = self.language.say("Subtotal {name}", name=section.name)
                yield head | ({"section_sum": [line_of(words), amount]} if place == places[-1] else {})

    def _tax_id(self, number: str) -> str:
        return self.language.say("Tax ID {number}", number=number) if number else ""


def _words(language: Language) -> dict[str, str]:
    """Return what the template itself says."""
    return {name: language.say(phrase) for name, phrase in TEMPLATE_WORDS.items()}


def _line(line: DocumentLine, language: Language) -> dict[str, Any]:
    words = [line.description, line.explanation, *(step.text + step.price for step in line.steps)]
    quantity = "" if line.quantity is None else quantity_text(quantity=line.quantity, language=language)
    free = quantity_text(quantity=line.free_quantity, language=language)
    return {
        "may_break": len(line.steps) > STEPS_TOGETHER_MAX or sum(map(len, words)) > CHARACTERS_TOGETHER_MAX,
        "position": str(line.position),
        "description": line_of(line.description),
        "explanation": line_of(line.explanation),
        "quantity": quantity,
        "unit": "" if line.quantity is None else line_of(language.counted(line.unit, line.quantity)),
        "free": language.say("{free} of them free", free=free) if line.free_quantity else line.part,
        "unit_amount": line_of(line.unit_amount),
        "amount": money_text(money=line.amount, language=language),
        "steps": [
            {
                "text": line_of(step.text),
                "quantity": "" if step.quantity is None else quantity_text(quantity=step.quantity, language=language),
                "price": line_of(step.price),
                "amount": money_text(money=step.amount, language=language),
            }
            for step in line.steps
        ],
    }
