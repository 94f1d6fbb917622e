"""The invoice as a document: a frozen description in, a PDF/A-3b out, the same bytes every time.

Nothing here knows a model, a clock or the network: whoever prints maps the invoice to an `InvoiceDocument`
first. All words and figures are put into their final form here; `templates/invoice/invoice.typ` only places them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final

from moneyed import Money

from billing_site.kernel.money import is_rounded, total
from invoicing.core.events_behind import NO_EVENTS, EventsBehind
from invoicing.core.languages import ENGLISH, Language
from invoicing.core.spans import date_text, period_text
from invoicing.invoices.printed_page import (
    DocumentCustomer,
    DocumentLine,
    DocumentSection,
    DocumentSeller,
    Fact,
    PaymentWords,
    PrintedPage,
    Sum,
)
from invoicing.invoices.printed_text import quantity_text

# That we have given an invoice up says nothing to who owes it.
STATUS_WORDS: Final = {"issued": "Issued", "paid": "Paid", "void": "Void", "written_off": "Issued"}


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
    in the customer's `time_zone`. `sections` divide the lines by account where several are billed together. `status` is the word of the invoice's state ("issued", "paid", "void", ...). `e_invoice` is the XML that stands in the PDF.
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
    events: EventsBehind = NO_EVENTS
    # The void invoice in whose place it stands; the invoice in the place of a void one: number and day.
    replaces: tuple[str, date] | None = None
    replaced_by: tuple[str, date] | None = None
    # It charges what was used of a period that runs until then, last day included.
    runs_until: date | None = None
    language: Language = ENGLISH
    taxes: tuple[DocumentSum, ...] = ()
    payments: tuple[DocumentSum, ...] = ()
    notes: tuple[str, ...] = ()
    e_invoice: str = ""
    logo: bytes = b""
    sections: tuple[DocumentSection, ...] = ()

    def __post_init__(self) -> None:
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
        assert not self.sections or sum(one.line_count for one in self.sections) == len(self.lines), (
            "each line stands in a section"
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
    return invoice_page(document=document).pdf()


def document_etag(*, document: InvoiceDocument) -> str:
    """Return 64 hexadecimal digits that change whenever the bytes of `render_pdf` would: an HTTP ETag without quotes."""
    return invoice_page(document=document).etag()


def invoice_page(*, document: InvoiceDocument) -> PrintedPage:
    """Return what the template places of an invoice."""
    dated = document.issue_date or document.period_last_date
    assert dated is not None, "a document has a day"
    return PrintedPage(
        language=document.language,
        dated=dated,
        title="Draft invoice" if document.is_draft else "Progressive invoice" if document.runs_until else "Invoice",
        number=document.number or "",
        status=STATUS_WORDS.get(document.status.lower(), ""),
        watermark="VOID" if document.is_void else "DRAFT" if document.is_draft else "",
        seller=document.seller,
        customer=document.customer,
        headline=_headline(document),
        facts=tuple(_facts(document)),
        lines=document.lines,
        sums=tuple(_sums(document)),
        payment=_payment(document),
        proof=document.proof_digest,
        evidence=_evidence(document),
        notes=(*_about_the_rest(document), *document.notes),
        e_invoice=document.e_invoice,
        logo=document.logo,
        sections=document.sections,
    )


def _headline(document: InvoiceDocument) -> tuple[str, Money]:
    """Return the one figure that the reader looks for, and the words over it."""
    if document.is_void:
        return "Void, nothing is due", Money(0, document.currency)
    if document.is_draft:
        return "Total so far, not yet due", document.total
    if document.amount_due.amount < 0:
        return "In your favour", _negated(document.amount_due)
    if document.amount_due.amount > 0:
        return "Amount due", document.amount_due
    words = "Credited" if document.amount_credited.amount else "Paid in full"
    settled = document.amount_paid.amount or document.amount_credited.amount
    return f"{words}, nothing is due" if settled else "Nothing is due", document.amount_due


def _negated(money: Money) -> Money:
    return Money(money.amount.copy_negate(), money.currency)


def _facts(document: InvoiceDocument) -> Iterator[Fact]:
    """Yield the dates that matter, most urgent first."""
    language = document.language
    if document.due_date and not document.is_void:
        yield Fact("Due date", date_text(day=document.due_date, language=language), is_strong=True)
    if document.period_first_date and document.period_last_date:
        period = period_text(first=document.period_first_date, last=document.period_last_date, language=language)
        yield Fact("Used in" if document.runs_until else "Billing period", period, is_strong=True)
    if document.issue_date:
        yield Fact("Issue date", date_text(day=document.issue_date, language=language))
    for label, other in (("Replaces", document.replaces), ("Replaced by", document.replaced_by)):
        if other is not None:
            number, day = other
            told = language.say("{number} of {day}", number=number, day=date_text(day=day, language=language))
            yield Fact(label, told, is_strong=True)
    yield Fact("Time zone", document.time_zone)


def _about_the_rest(document: InvoiceDocument) -> Iterator[str]:
    """Say of what is charged while a period runs what becomes of it."""
    if document.runs_until is not None:
        day = date_text(day=document.runs_until, language=document.language)
        told = "The billing period runs until {day}. Its invoice charges all of it, and takes this invoice off."
        yield document.language.say(told, day=day)


def _sums(document: InvoiceDocument) -> Iterator[Sum]:
    """Yield the rows under the table."""
    say = document.language.say
    yield Sum("plain", say("Subtotal"), document.subtotal)
    for row in document.taxes:
        yield Sum("plain", row.text, row.amount)
    if document.payments:
        taxed = total((row.amount for row in document.taxes if row.is_counted), document.currency)
        yield Sum("strong", say("Total with tax"), document.subtotal + taxed)
    for row in document.payments:
        yield Sum("plain", row.text, row.amount)
    yield Sum("strong", say("Total"), document.total)
    if document.is_draft:
        return
    if document.amount_paid.amount:
        yield Sum("plain", say("Paid"), _negated(document.amount_paid))
    if document.amount_credited.amount:
        yield Sum("plain", say("Credited"), _negated(document.amount_credited))
    yield Sum("due", say("Amount due"), Money(0, document.currency) if document.is_void else document.amount_due)


def _payment(document: InvoiceDocument) -> PaymentWords:
    """Return how to pay, or one sentence why nothing has to be paid; never instructions to pay what is not due."""
    say = document.language.say
    if document.is_void:
        return PaymentWords((say("This invoice is void. Please do not pay it."),))
    if document.is_draft:
        told = "This is a draft. Figures may still change, and nothing is due until it is issued."
        return PaymentWords((say(told),))
    if document.amount_due.amount < 0:
        return PaymentWords((say("Please pay nothing: the amount is in your favour."),))
    if document.amount_due.amount == 0:
        is_paid = document.amount_paid.amount > 0 and not document.amount_credited.amount
        owed = "for this period" if document.period_last_date else "for this"
        return PaymentWords((say("Paid in full. Thank you." if is_paid else f"Nothing has to be paid {owed}."),))
    return PaymentWords((document.payment_note,), bank=document.seller.bank, reference=document.number or "")


def _evidence(document: InvoiceDocument) -> tuple[str, str] | None:
    """Return what says which usage events were counted; nothing where none has a root."""
    if not document.events_root:
        return None
    language, events = document.language, document.events
    lines = str(events.lines)
    if events.different == events.counted:
        note = language.say(
            "This invoice rests on {count} usage {events}, under the root below (Merkle tree, RFC 9162).",
            count=quantity_text(quantity=Decimal(events.counted), language=language),
            events=language.counted("event", events.counted),
        )
    elif events.different is not None:
        note = language.say(
            "This invoice rests on {count} usage {events}, counted on {lines} lines, under the root below (Merkle tree, RFC 9162).",
            count=quantity_text(quantity=Decimal(events.different), language=language),
            events=language.counted("event", events.different),
            lines=lines,
        )
    else:
        note = language.say(
            "This invoice rests on usage events, counted {count} times on {lines} lines, under the root below (Merkle tree, RFC 9162).",
            count=quantity_text(quantity=Decimal(events.counted), language=language),
            lines=lines,
        )
    where = language.say("Its page on the web has them, and a program that checks them without us.")
    note = f"{note} {where}"
    return note, document.events_root
