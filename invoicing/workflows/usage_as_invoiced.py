"""The usage of an issued invoice as it knew it, for asking what else could be made of it: from its lines, or counted again."""

from collections.abc import Sequence
from datetime import datetime

from billing_site.kernel.period import Period, as_utc
from invoicing.core.contract import Charge, Usage
from invoicing.core.proof import charge_from_inputs, usage_from_document
from invoicing.invoices.consumers import consumer_of
from invoicing.invoices.models import Invoice, InvoiceLine
from invoicing.workflows.compute_invoice import AsNeeded, Measure, usage_of_charge
from metering.models import UsageEvent
from metering.queries import MeterUsage, usage_as_known


def usage_as_invoiced(*, invoice: Invoice, lines: Sequence[InvoiceLine], known_until: dict[datetime, int]) -> Measure:
    """Return a measure that knows what the invoice knew: its own lines' usage, and what was accepted by then.

    `known_until` keeps what was looked up for other invoices.
    """
    usages = {
        (consumer_of(line=line), line.meter_key, _service(line)): line.rated["inputs"]["usage"]
        for line in lines
        if line.meter_key
    }

    def measure(consumer: str, keys: list[str], service: Period) -> dict[str, MeterUsage]:
        return {key: measured(consumer, key, service) for key in keys}

    def measured(consumer: str, key: str, service: Period) -> MeterUsage:
        if (consumer, key, service) in usages:
            return _measured(usage_from_document(usages[consumer, key, service]), consumer)
        through = max((line.known_through for line in lines if line.meter_key), default=None)
        if through is None:
            if invoice.drafted_at not in known_until:
                known_until[invoice.drafted_at] = _known_at(invoice.drafted_at)
            through = known_until[invoice.drafted_at]
        return usage_as_known(meter_key=key, customer_id=consumer, period=service, known_through=through)

    return measure


def divided_as_invoiced(*, lines: Sequence[InvoiceLine]) -> AsNeeded:
    """Return what divides usage as prices need it: as a line tells it, or counted again as it was known then."""
    told = {}
    for line in lines:
        usage = line.rated["inputs"]["usage"] if line.meter_key else {}
        if "groups" in usage or "by_size" in usage:
            need = charge_from_inputs(line.rated["inputs"]).price.need
            told[consumer_of(line=line), line.meter_key, _service(line), need] = usage_from_document(usage)

    def as_needed(charge: Charge, measured: MeterUsage) -> Usage:
        need, key, service = charge.price.need, charge.meter, charge.service_period
        if need is None or key is None or measured.groups is not None:
            return usage_of_charge(charge, measured)
        consumer = measured.customer_id
        if (consumer, key, service, need) in told:
            return told[consumer, key, service, need]
        through = measured.known_through
        recounted = usage_as_known(meter_key=key, customer_id=consumer, period=service, known_through=through)
        return usage_of_charge(charge, recounted)

    return as_needed


def _measured(usage: Usage, consumer: str) -> MeterUsage:
    return MeterUsage(
        quantity=usage.quantity,
        window_count=usage.window_count,
        event_count=usage.event_count,
        windows_digest=usage.windows_digest,
        known_through=usage.known_through,
        customer_id=consumer,
    )


def _known_at(moment: datetime) -> int:
    """Return the number of the last event that was accepted by a moment."""
    event = UsageEvent.objects.filter(received_at__lte=moment).order_by("-pk").values_list("pk", flat=True).first()
    return event or 0


def _service(line: InvoiceLine) -> Period:
    return Period(as_utc(line.service_start), as_utc(line.service_end))
