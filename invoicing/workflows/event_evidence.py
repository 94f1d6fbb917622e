"""What a customer needs to check an invoice without us: its proof document, the events behind it, the way of one event to the root."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from billing_site.kernel.digest import canonical
from billing_site.kernel.errors import Conflict, NotFound
from billing_site.kernel.money import exponent, plain, wire
from invoicing.invoices.consumers import account_of, consumer_of, with_consumers
from invoicing.invoices.event_roots import span_of_line
from invoicing.invoices.models import Invoice, InvoiceLine, InvoiceStatus
from metering.models import Meter
from metering.queries import windows_as_known
from metering.queries.event_file import event_inclusion, event_lines
from metering.queries.roots import EventSpan

FORMAT = "invoice-proof/1"
# To find the way of one event all of its line are hashed while somebody waits: some ten seconds.
INCLUSION_EVENTS_MAX = 500_000


def proof_document(*, invoice: Invoice) -> dict[str, Any]:
    """Return all that an issued invoice says about its figures and their events; raises Conflict for a draft.

    `checker/check_invoice.py` reads it. `rated` of a line is what was stored with it when it was rated.
    """
    lines = _lines(invoice)
    meters = {meter.key: meter for meter in Meter.objects.filter(key__in={line.meter_key for line in lines})}
    return {
        "format": FORMAT,
        "number": invoice.number,
        "customer_id": invoice.customer.key,
        "issued_at": _time(_issued_at(invoice)),
        "decimals": exponent(invoice.currency),
        "subtotal": wire(invoice.subtotal),
        "tax_added": None if invoice.tax_added is None else wire(invoice.tax_added),
        "total": wire(invoice.total),
        "seal": invoice.seal,
        "events_root": invoice.events_root,
        "lines": [
            {
                "position": line.position,
                # Whose events it counts, where that is another than who is billed.
                **({"customer_id": account} if (account := account_of(line=line)) else {}),
                "kind": line.kind,
                "adjustment": line.adjustment or None,
                "description": line.description,
                "quantity": plain(line.quantity),
                "amount": wire(line.amount),
                "digest": line.digest,
                "events": _events(line, meters[line.meter_key]) if line.meter_key else None,
                "rated": line.rated,
            }
            for line in lines
        ],
    }


def event_file(*, invoice: Invoice) -> Iterator[bytes]:
    """Return the events that the metered lines of an issued invoice count: for each a heading, then line by line; raises Conflict.

    An event that several lines count stands with each of them. What is purged comes out of the archive.
    """
    _issued_at(invoice)
    return _sections([line for line in _lines(invoice) if line.meter_key])


def windows_document(*, invoice: Invoice, position: int) -> dict[str, Any]:
    """Return the hours of a line, counted again now from its raw events as they were known; raises NotFound, EventsArchived."""
    line = next((one for one in _lines(invoice) if one.position == position and one.meter_key), None)
    if line is None:
        raise NotFound(f"the invoice has no line {position} that counts usage", field="line")
    span = _span(line)
    windows = windows_as_known(
        meter_key=span.meter_key,
        customer_id=span.customer_id,
        period=span.period,
        known_through=span.known_through,
    )
    return {
        "number": invoice.number,
        "line": position,
        "meter": line.meter_key,
        "quantity": plain(_quantity(line)),
        "count": line.window_count,
        "digest": line.windows_digest,
        "windows": [
            {
                "start": _time(window.start),
                "quantity": plain(window.value),
                "events": window.event_count,
                "group": json.loads(window.grouping) if window.grouping else None,
            }
            for window in windows
        ],
    }


def inclusion_document(*, invoice: Invoice, position: int, number: int) -> dict[str, Any]:
    """Return the way of one event, by its number, to the root of a line; raises NotFound, Conflict where there are too many events."""
    line = next((one for one in _lines(invoice) if one.position == position and one.events_root), None)
    if line is None or invoice.status == InvoiceStatus.DRAFT:
        raise NotFound(f"the invoice has no line {position} with a root over events", field="line")
    if line.event_count > INCLUSION_EVENTS_MAX:
        raise Conflict(
            f"line {position} counts {line.event_count} events, too many to hash while you wait: download the event file and check it as a whole",
            code="too_many_events",
        )
    event, inclusion = event_inclusion(span=_span(line), count=line.event_count, number=number)
    return {
        "number": invoice.number,
        "line": position,
        "event": event.decode(),
        "index": inclusion.index,
        "count": inclusion.count,
        "path": [beside.hex() for beside in inclusion.path],
        "root": line.events_root,
        "events_root": invoice.events_root,
    }


def _sections(lines: list[InvoiceLine]) -> Iterator[bytes]:
    for line in lines:
        heading = {"line": line.position, "meter": line.meter_key, "events": line.event_count}
        # The heading begins with the line: so a reader tells it from an event.
        yield (
            b'{"line":'
            + canonical(line.position)
            + b","
            + canonical({name: value for name, value in heading.items() if name != "line"})[1:]
            + b"\n"
        )
        for event in event_lines(span=_span(line)):
            yield event + b"\n"


def _lines(invoice: Invoice) -> list[InvoiceLine]:
    return list(with_consumers(invoice.lines.all()).select_related("correction").order_by("position"))


def _span(line: InvoiceLine) -> EventSpan:
    return span_of_line(line=line, known_through=line.known_through, customer_key=consumer_of(line=line))


def _events(line: InvoiceLine, meter: Meter) -> dict[str, Any]:
    """Return which events a line counts, and what they come to: of a correction, what is known now."""
    return {
        "meter": {
            "key": meter.key,
            "event_type": meter.event_type,
            "aggregation": meter.aggregation,
            "value_property": meter.value_property,
            "filters": meter.filters,
            "dimensions": meter.dimensions,
        },
        "start": _time(line.service_start),
        "end": _time(line.service_end),
        "known_through": line.known_through,
        "quantity": plain(_quantity(line)),
        "count": line.event_count,
        "root": line.events_root,
    }


def _quantity(line: InvoiceLine) -> Decimal:
    """Return what the events of a line come to: of a correction, all that is known now."""
    return line.correction.quantity_after if line.correction else line.quantity


def _issued_at(invoice: Invoice) -> datetime:
    if invoice.issued_at is None:
        raise Conflict("a draft has no proof yet: it may still change")
    return invoice.issued_at


def _time(moment: datetime) -> str:
    """Return a moment as the lines of events write it, so that texts compare as moments do."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
