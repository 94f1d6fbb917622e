"""What a customer downloads to check an invoice, and where one event stands on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from billing_site.kernel.errors import Conflict, NotFound
from billing_site.kernel.period import Period, as_utc
from billing_site.portal.phrases import spoken
from billing_site.portal.queries.invoice_page import invoice_of
from invoicing.customers.models import Customer
from invoicing.invoices.consumers import consumer_of, with_consumers
from invoicing.invoices.event_roots import span_of_line
from invoicing.invoices.line_words import words_of_lines
from invoicing.invoices.models import Invoice, InvoiceLine
from invoicing.workflows.event_evidence import inclusion_document
from metering.ingest import number_of_key
from metering.queries.event_file import counted_of
from metering.queries.search import LookedTooLong, numbers_of_event_id


@dataclass(frozen=True)
class EventOnLine:
    """An event, by its number, on one line of an invoice: its way to the root, or why it cannot be shown here."""

    line: int
    description: str
    number: int
    proof: dict[str, Any] | None
    problem: str = ""

    @property
    def place(self) -> int:
        """Which of the line's events it is, from 1 on."""
        return int(self.proof["index"]) + 1 if self.proof else 0


@dataclass(frozen=True)
class EventPage:
    """Everything on the page; `is_known` says whether an event was accepted with its key or id, None where that took too long to find out."""

    invoice: Invoice
    key: str
    is_known: bool | None
    found: tuple[EventOnLine, ...]


def event_page(*, customer: Customer, number: str, key: str) -> EventPage:
    """Return where the event with an idempotency key, or else an id, stands on an invoice of the customer's; raises NotFound for another's invoice.

    It is one of the customer itself, or of an account that the invoice bills; by its id it is looked for in the time that the invoice charges.
    """
    invoice = invoice_of(customer=customer, number=number)
    lines = list(with_consumers(invoice.lines.exclude(events_root="")).order_by("position"))
    consumers = sorted({customer.key, *(consumer_of(line=line) for line in lines)})
    try:
        numbers = _numbers_of(key, consumers, lines)
    except LookedTooLong:
        return EventPage(invoice=invoice, key=key, is_known=None, found=())
    found = []
    for line in lines:
        name = words_of_lines(lines=[line], language=spoken())[line.pk]["description"]
        for event in _candidates(line, numbers.get(consumer_of(line=line), [])):
            try:
                proof = inclusion_document(invoice=invoice, position=line.position, number=event)
            except NotFound:
                continue
            except Conflict as problem:
                found.append(EventOnLine(line.position, name, event, None, problem.message))
            else:
                found.append(EventOnLine(line.position, name, event, proof))
    return EventPage(invoice=invoice, key=key, is_known=bool(numbers), found=tuple(found))


def _numbers_of(key: str, consumers: Sequence[str], lines: Sequence[InvoiceLine]) -> dict[str, list[int]]:
    """Return the numbers of the events with a key, or else an id, by whose they are; nobody without one. Raises LookedTooLong."""
    by_key = {one: number_of_key(customer_id=one, idempotency_key=key) for one in consumers}
    numbers = {one: [number] for one, number in by_key.items() if number is not None}
    if lines and not numbers:
        charged = Period(min(as_utc(one.service_start) for one in lines), max(as_utc(one.service_end) for one in lines))
        for one, number in numbers_of_event_id(customer_ids=consumers, event_id=key, period=charged):
            numbers.setdefault(one, []).append(number)
    return numbers


def _candidates(line: InvoiceLine, numbers: Sequence[int]) -> Sequence[int]:
    """Return which event is looked for on a line: of several with one id the first that it counts, for the way of each costs all of its events."""
    if len(numbers) < 2:
        return numbers
    span = span_of_line(line=line, known_through=line.known_through, customer_key=consumer_of(line=line))
    return counted_of(span=span, numbers=numbers)[:1]
