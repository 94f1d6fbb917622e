"""Why an invoice is what it is: from each line down to tiers, windows and raw events, rated again now."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from billing_site.kernel.money import plain, wire
from billing_site.kernel.period import Period
from invoicing.core.proof import rated_again
from invoicing.invoices.models import Invoice, InvoiceLine
from invoicing.invoices.queries import invoice_by_number
from invoicing.invoices.sealing import line_digest
from metering.queries import MeterUsage, usage_as_known


@dataclass(frozen=True)
class LineProof:
    """One line set against the raw events and against the same rating done again."""

    line: InvoiceLine
    recounted: MeterUsage | None
    rated: dict[str, Any]
    differences: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Say whether every rung of the ladder agrees."""
        return not self.differences


def prove_line(*, line: InvoiceLine) -> LineProof:
    """Count a line's raw events as they were known, rate it again, and compare to the stored line (S0-147..151)."""
    invoice = line.invoice
    recounted = None
    differences: list[str] = []
    if line.meter_key:
        recounted = usage_as_known(
            meter_key=line.meter_key,
            customer_id=invoice.customer.key,
            period=Period(line.service_start.astimezone(UTC), line.service_end.astimezone(UTC)),
            known_through=line.known_through,
        )
        if recounted.quantity != line.quantity:
            differences.append(f"raw events say {plain(recounted.quantity)}, the line says {plain(line.quantity)}")
        if recounted.event_count != line.event_count:
            differences.append(f"{recounted.event_count} raw events, the line says {line.event_count}")
    rated = rated_again(line.rated["inputs"])
    if rated != line.rated:
        differences.append("rated again, the steps differ from the stored ones")
    if rated["amount"] != wire(line.amount):
        differences.append(
            f"rated again it is {rated['amount']['amount']}, the line says {wire(line.amount)['amount']}"
        )
    if rated["quantity"] != plain(line.quantity):
        differences.append(f"rated quantity is {rated['quantity']}, the line says {plain(line.quantity)}")
    if line_digest(line=line) != line.digest:
        differences.append("the line is not what was sealed: its digest differs")
    return LineProof(line, recounted, rated, tuple(differences))


def prove_invoice(*, invoice: Invoice) -> list[LineProof]:
    """Prove each line of an invoice or draft, in the order of the document."""
    lines = invoice.lines.select_related("invoice__customer", "price__plan_version__plan", "subscription")
    return [prove_line(line=line) for line in lines.order_by("position")]


def explain_invoice(*, number: str) -> dict[str, Any]:
    """Return the explanation of an issued invoice as it goes over the wire; raises NotFound.

    Per line: price, tiers, quantity, windows, number and digest of raw events, the amount rated
    again, and whether all of it is equal.
    """
    invoice = invoice_by_number(number=number)
    proofs = prove_invoice(invoice=invoice)
    return {
        "number": invoice.number,
        "customer_id": invoice.customer.key,
        "status": invoice.status,
        "period": {"start": _time(invoice.period_start), "end": _time(invoice.period_end)},
        "total": wire(invoice.total),
        "seal": invoice.seal,
        "equal": all(proof.equal for proof in proofs),
        "lines": [_line_document(proof) for proof in proofs],
    }


def _line_document(proof: LineProof) -> dict[str, Any]:
    line = proof.line
    rated = proof.rated
    return {
        "position": line.position,
        "description": line.description,
        "subscription": line.subscription.key,
        "plan": line.price.plan_version.plan.key,
        "plan_version": line.price.plan_version.number,
        "service_period": {"start": _time(line.service_start), "end": _time(line.service_end)},
        "price": rated["inputs"]["price"],
        "tiers": rated["steps"],
        "meter": line.meter_key or None,
        "unit": line.unit,
        "quantity": plain(line.quantity),
        "amount": wire(line.amount),
        "windows": {"count": line.window_count, "digest": line.windows_digest},
        "events": {
            "count": line.event_count,
            "recounted": proof.recounted.event_count if proof.recounted else 0,
            "recounted_quantity": plain(proof.recounted.quantity) if proof.recounted else None,
            "digest": proof.recounted.events_digest if proof.recounted else "",
            "known_through": line.known_through,
        },
        "rerated_amount": rated["amount"],
        "equal": proof.equal,
        "differences": list(proof.differences),
    }


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
