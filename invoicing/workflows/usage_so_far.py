"""The usage behind what was charged of a running period, counted again from raw events as it was known then."""

from billing_site.kernel.money import plain
from invoicing.core.progressive import usage_span
from invoicing.core.proof import usage_from_document
from invoicing.invoices.consumers import consumer_of
from invoicing.invoices.models import InvoiceLine
from metering.queries import MeterUsage, usage_as_known


def usage_so_far(*, line: InvoiceLine) -> tuple[MeterUsage, list[str]]:
    """Count the events of a progressive line again and say how they differ from what it tells with its charge.

    Raises EventsArchived where some are in the archive only; what a forged line holds may raise anything.
    """
    inputs = line.rated["inputs"]
    told = usage_from_document(inputs["charge"]["usage"])
    recounted = usage_as_known(
        meter_key=told.meter,
        customer_id=consumer_of(line=line),
        period=usage_span(inputs=inputs),
        known_through=told.known_through,
    )
    differences = []
    evidence = (line.window_count, line.event_count, line.windows_digest, line.known_through)
    if evidence != (told.window_count, told.event_count, told.windows_digest, told.known_through):
        differences.append("the line tells other usage than its charge")
    if (recounted.quantity, recounted.event_count) != (told.quantity, told.event_count):
        differences.append(
            f"raw events say {plain(recounted.quantity)} in {recounted.event_count}, the line says"
            f" {plain(told.quantity)} in {told.event_count}"
        )
    if (recounted.window_count, recounted.windows_digest) != (told.window_count, told.windows_digest):
        differences.append("the hours counted again from raw events differ from the line's windows")
    return recounted, differences
