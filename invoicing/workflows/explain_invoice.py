"""Why an invoice is what it is: from each line down to tiers, windows and raw events, rated again now."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from billing_site.kernel.errors import BillingError, NotFound
from billing_site.kernel.money import plain, wire
from billing_site.kernel.period import Period
from invoicing.core.proof import rated_again
from invoicing.invoices.models import Invoice, InvoiceLine
from invoicing.invoices.queries import invoice_by_number
from invoicing.invoices.sealing import line_digest
from metering.queries import MeterUsage, usage_as_known

# What reading a forged document can raise.
NOT_RATABLE = (BillingError, AssertionError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError)


@dataclass(frozen=True)
class LineProof:
    """One line set against the raw events and against the same rating done again (empty if that is impossible)."""

    line: InvoiceLine
    recounted: MeterUsage | None
    rated: dict[str, Any]
    differences: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Say whether every rung of the ladder agrees."""
        return not self.differences


def prove_line(*, line: InvoiceLine) -> LineProof:
    """Count a line's raw events as they were known, rate it again, and compare to the stored line (S0-147..151).

    Whatever stands in the stored line, the answer is a proof: nonsense is a difference like others.
    """
    recounted, differences = _recounted(line)
    rated: dict[str, Any] = {}
    try:
        rated = rated_again(line.rated["inputs"])
    except NOT_RATABLE as problem:
        differences.append(f"it cannot be rated again: {type(problem).__name__} {problem}".rstrip())
    else:
        differences += _differences_of_rating(line, rated)
    if line_digest(line=line) != line.digest:
        differences.append("the line is not what was sealed: its digest differs")
    return LineProof(line, recounted, rated, tuple(differences))


def _recounted(line: InvoiceLine) -> tuple[MeterUsage | None, list[str]]:
    if not line.meter_key:
        return None, []
    try:
        recounted = usage_as_known(
            meter_key=line.meter_key,
            customer_id=line.invoice.customer.key,
            period=Period(line.service_start.astimezone(UTC), line.service_end.astimezone(UTC)),
            known_through=line.known_through,
        )
    except NotFound as problem:
        return None, [f"its events cannot be counted again: {problem}"]
    differences = []
    if recounted.quantity != line.quantity:
        differences.append(f"raw events say {plain(recounted.quantity)}, the line says {plain(line.quantity)}")
    if recounted.event_count != line.event_count:
        differences.append(f"{recounted.event_count} raw events, the line says {line.event_count}")
    if (recounted.window_count, recounted.windows_digest) != (line.window_count, line.windows_digest):
        differences.append("the hours counted again from raw events differ from the line's windows")
    return recounted, differences


def _differences_of_rating(line: InvoiceLine, rated: dict[str, Any]) -> list[str]:
    differences = []
    if rated != line.rated:
        differences.append("rated again, the steps differ from the stored ones")
    if rated["amount"] != wire(line.amount):
        differences.append(
            f"rated again it is {rated['amount']['amount']}, the line says {wire(line.amount)['amount']}"
        )
    if rated["quantity"] != plain(line.quantity):
        differences.append(f"rated quantity is {rated['quantity']}, the line says {plain(line.quantity)}")
    return differences


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
        "price": rated["inputs"]["price"] if rated else None,
        "tiers": rated["steps"] if rated else [],
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
        "rerated_amount": rated["amount"] if rated else None,
        "equal": proof.equal,
        "differences": list(proof.differences),
    }


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
