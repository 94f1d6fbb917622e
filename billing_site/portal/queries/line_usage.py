"""The usage behind one line of an invoice as the customer reads it: what was counted in which hour, and event by event."""

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from billing_site.kernel.errors import NotFound
from billing_site.portal.phrases import phrase, spoken
from billing_site.portal.queries.invoice_page import EVENTS_COUNTED_MAX, invoice_of
from invoicing.customers.models import Customer
from invoicing.invoices.consumers import with_consumers
from invoicing.invoices.line_words import words_of_lines
from invoicing.invoices.models import Invoice, InvoiceLine
from invoicing.workflows.explain_invoice import LineProof, prove_line
from invoicing.workflows.line_usage import LineUsage, usage_of_line
from metering.archiving.absent import EventsArchived


@dataclass(frozen=True)
class LineUsagePage:
    """Everything on the page. `proof` is None where the events are too many to be counted while somebody waits, `usage` where they are in the archive."""

    invoice: Invoice
    line: InvoiceLine
    name: str
    zone: ZoneInfo
    usage: LineUsage | None
    proof: LineProof | None
    is_first: bool


def line_usage_page(*, customer: Customer, number: str, position: int, after: str) -> LineUsagePage:
    """Return the usage behind a line of one of the customer's invoices, `after` as the page before said; raises NotFound where there is none."""
    invoice = invoice_of(customer=customer, number=number)
    # A correction of usage has its own, as it was known when it was decided.
    line = (
        with_consumers(invoice.lines.exclude(meter_key="").select_related("invoice")).filter(position=position).first()
    )
    if line is None:
        raise NotFound(phrase("This invoice has no line {line} that counts usage.", line=position), field="line")
    is_counted = line.event_count <= EVENTS_COUNTED_MAX
    usage, proof = None, None
    try:
        usage = usage_of_line(line=line, after=after, with_windows=is_counted)
        proof = prove_line(line=line) if is_counted else None
    except EventsArchived:
        usage = None
    return LineUsagePage(
        invoice=invoice,
        line=line,
        name=words_of_lines(lines=[line], language=spoken())[line.pk]["description"],
        zone=ZoneInfo(invoice.timezone),
        usage=usage,
        proof=proof,
        is_first=not after,
    )
