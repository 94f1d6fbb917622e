"""What a customer downloads to check an invoice, and where one event stands on it."""

from dataclasses import dataclass
from typing import Any

from billing_site.kernel.errors import Conflict, NotFound
from billing_site.portal.queries.invoice_page import invoice_of
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice
from invoicing.workflows.event_evidence import inclusion_document
from metering.ingest import number_of_key


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
    """Return where the event with an idempotency key stands on an invoice of the customer's; raises NotFound for another's invoice."""
    invoice = invoice_of(customer=customer, number=number)
    event = number_of_key(customer_id=customer.key, idempotency_key=key)
    lines = invoice.lines.exclude(events_root="").order_by("position") if event is not None else []
    found = []
    for line in lines:
        try:
            proof = inclusion_document(invoice=invoice, position=line.position, number=event or 0)
        except NotFound:
            continue
        except Conflict as problem:
            found.append(EventOnLine(line.position, line.description, None, problem.message))
        else:
            found.append(EventOnLine(line.position, line.description, proof))
    return EventPage(invoice=invoice, key=key, number=event, found=tuple(found))
