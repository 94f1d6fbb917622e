"""The data of the proof page: one line from its amount down to the raw events, rated again this moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.http import Http404
from django.utils.safestring import SafeString

from billing_site.display.charts import Series, bar_chart
from billing_site.display.figures import quantity
from billing_site.display.pills import state_of_invoice
from billing_site.kernel.money import EXACT
from billing_site.kernel.period import Period, hours_in
from invoicing.invoices.consumers import consumer_of
from invoicing.invoices.models import Invoice, InvoiceLine, UsageCorrection
from invoicing.workflows.explain_invoice import LineProof, prove_line
from invoicing.workflows.line_usage import LineUsage, usage_of_line
from metering.queries import KnownEvent, KnownWindow, LateUsage, late_usage

# Wider spans are drawn by day.
HOURS_DRAWN_MAX = 400


@dataclass(frozen=True)
class ProofPage:
    """Everything on the page."""

    at: datetime
    state: str
    lines: list[InvoiceLine]
    proof: LineProof
    windows: Sequence[KnownWindow]
    windows_equal: bool
    events_equal: bool
    chart: SafeString
    step: str
    events: Sequence[KnownEvent]
    next_page: str
    late: LateUsage | None
    corrections: list[UsageCorrection]
    quantity: Decimal


def proof_page(*, invoice: Invoice, position: int, after: str, at: datetime) -> ProofPage:
    """Return the ladder of one line; `after` continues the list of events ("<RFC 3339>/<number>")."""
    lines = list(
        invoice.lines.select_related(
            "invoice__customer",
            "price__plan_version__plan",
            "subscription__customer",
            "correction__original__invoice__customer",
            "correction__original__subscription__customer",
        ).order_by("position")
    )
    line = next((one for one in lines if one.position == position), None) or (lines[0] if lines else None)
    if line is None:
        raise Http404("this invoice has no lines to prove")
    proof = prove_line(line=line)
    usage = LineUsage((), (), "")
    late = None
    step, chart = "", SafeString()
    if line.meter_key and not proof.archived:
        span = Period(line.service_start.astimezone(UTC), line.service_end.astimezone(UTC))
        usage = usage_of_line(line=line, after=after)
        late = late_usage(
            meter_key=line.meter_key,
            customer_id=consumer_of(line=line),
            period=span,
            known_through=line.known_through,
        )
        step, chart = _chart(line, usage.windows, span)
    return ProofPage(
        at=at,
        state=state_of_invoice(invoice, at=at),
        lines=lines,
        proof=proof,
        windows=usage.windows,
        windows_equal=proof.recounted is None or proof.recounted.windows_digest == line.windows_digest,
        events_equal=proof.recounted is None
        or (
            proof.recounted.event_count == line.event_count
            and proof.events_root == (line.events_root or proof.events_root)
        ),
        chart=chart,
        step=step,
        events=usage.events,
        next_page=usage.next_page,
        late=late if late is not None and late.event_count else None,
        corrections=list(line.corrections.prefetch_related("lines__invoice").order_by("known_from")),
        quantity=line.correction.quantity_after if line.correction else line.quantity,
    )


def _chart(line: InvoiceLine, windows: Sequence[KnownWindow], span: Period) -> tuple[str, SafeString]:
    hours = list(hours_in(span))
    by_hour = len(hours) <= HOURS_DRAWN_MAX
    size = timedelta(hours=1) if by_hour else timedelta(days=1)
    first = hours[0] if by_hour else hours[0].replace(hour=0)
    steps = [first + size * number for number in range((span.end - first - timedelta(microseconds=1)) // size + 1)]
    sums: dict[datetime, Any] = dict.fromkeys(steps, EXACT.create_decimal(0))
    for window in windows:
        sums[first + ((window.start - first) // size) * size] = EXACT.add(
            sums[first + ((window.start - first) // size) * size], window.value
        )
    name = "hour" if by_hour else "day"
    chart = bar_chart(
        title=f"{line.description}: quantity by {name}",
        labels=[f"{step:%Y-%m-%d %H:%M} UTC" if by_hour else f"{step:%Y-%m-%d}" for step in steps],
        series=[
            Series("counted", 1, [sums[step] for step in steps], [quantity(sums[step], line.unit) for step in steps])
        ],
    )
    return name, chart
