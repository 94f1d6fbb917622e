"""What a customer downloads to check an invoice, and where one event stands on it."""

from dataclasses import dataclass
from typing import Any

from billing_site.kernel.errors import Conflict, NotFound
from billing_site.kernel.period import Period, as_utc
from billing_site.portal.queries.invoice_page import invoice_of
from invoicing.customers.models import Customer
from invoicing.invoices.consumers import consumer_of, with_consumers
from invoicing.invoices.models import Invoice
from invoicing.workflows.event_evidence import inclusion_document
from metering.ingest import number_of_key
from metering.queries.search import number_of_event_id


@dataclass(frozen=True)
class EventOnLine:
    """An event on one line of an invoice: its way to the root, or why it cannot be shown here."""

    line: int
    description: str
    proof: dict[str, Any] | None
    problem: str = ""

    @property
    def place(self) -> int:
        """Which of the line's events it is, from 1 on."""
        return int(self.proof["index"]) + 1 if self.proof else 0


@dataclass(frozen=True)
class EventPage:
    """Everything on the page; `number` is that of the event, None where none was accepted with its key."""

    invoice: Invoice
    key: str
    number: int | None
    found: tuple[EventOnLine, ...]


def event_page(*, customer: Customer, number: str, key: str) -> EventPage:
    """Return where the event with an idempotency key, or else an id, stands on an invoice of the customer's; raises NotFound for another's invoice.

    It is one of the customer itself, or of an account that the invoice bills; by its id it is looked for in the time that the invoice charges.
    """
    invoice = invoice_of(customer=customer, number=number)
    lines = list(with_consumers(invoice.lines.exclude(events_root="")).order_by("position"))
    consumers = {customer.key, *(consumer_of(line=line) for line in lines)}
    numbers = {one: number_of_key(customer_id=one, idempotency_key=key) for one in sorted(consumers)}
    if lines and not any(numbers.values()):
        charged = Period(min(as_utc(one.service_start) for one in lines), max(as_utc(one.service_end) for one in lines))
        numbers = {one: number_of_event_id(customer_id=one, event_id=key, period=charged) for one in sorted(consumers)}
    found = []
    for line in lines:
        event = numbers[consumer_of(line=line)]
        if event is None:
            continue
        try:
            proof = inclusion_document(invoice=invoice, position=line.position, number=event)
        except NotFound:
            continue
        except Conflict as problem:
            found.append(EventOnLine(line.position, line.description, None, problem.message))
        else:
            found.append(EventOnLine(line.position, line.description, proof))
    known = next((one for one in numbers.values() if one is not None), None)
    return EventPage(invoice=invoice, key=key, number=known, found=tuple(found))
