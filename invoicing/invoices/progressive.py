"""Progressive invoices as rows: what was used of a running period, kept with the period and its place in it."""

from datetime import datetime
from decimal import Decimal

from billing_site.kernel.period import Period
from invoicing.core.invoice_life import STANDING
from invoicing.core.one_off import ProgressiveInvoice as AssembledProgressive
from invoicing.core.progressive import ProgressiveLine
from invoicing.core.proof import progressive_line_document
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice, InvoiceKind, InvoiceLine, LineKind, ProgressiveInvoice
from invoicing.invoices.one_off import save_without_period
from invoicing.progressive.models import ProgressiveThreshold


def progressive_of_period(*, customer: Customer, period: Period) -> list[ProgressiveInvoice]:
    """Return the progressive invoices of a customer's period in their order, void ones among them."""
    rows = customer.progressive_invoices.filter(period_start=period.start, period_end=period.end)
    return list(rows.select_related("invoice").order_by("ordinal"))


def is_invoiced(*, customer: Customer, period: Period) -> bool:
    """Say whether the invoice of a period is issued: what is used is its matter then, and that of corrections."""
    rows = customer.invoices.filter(kind=InvoiceKind.PERIOD, period_start=period.start, period_end=period.end)
    return rows.filter(status__in=STANDING).exists()


def save_progressive(
    *,
    customer: Customer,
    threshold: ProgressiveThreshold,
    assembled: AssembledProgressive,
    ordinal: int,
    at: datetime,
    actor: str,
    reason: str,
) -> Invoice:
    """Keep what was used of a running period as a draft, to be issued in the same transaction; the customer is locked."""
    period = assembled.period
    invoice = save_without_period(
        kind=InvoiceKind.PROGRESSIVE,
        lines=[_row(line) for line in assembled.lines],
        customer=customer,
        key=f"progressive:{customer.pk}:{period.start:%Y%m%dT%H%M%S}-{period.end:%Y%m%dT%H%M%S}:{ordinal}",
        assembled=assembled,
        at=at,
        actor=actor,
        reason=reason,
    )
    ProgressiveInvoice.objects.create(
        invoice=invoice,
        customer=customer,
        threshold=threshold,
        period_start=period.start,
        period_end=period.end,
        ordinal=ordinal,
        currency=assembled.currency,
        reached=assembled.subtotal,
        made_at=at,
    )
    return invoice


def _row(line: ProgressiveLine) -> InvoiceLine:
    usage = line.rated.usage
    assert usage is not None, "only usage is invoiced while its period runs"
    return InvoiceLine(
        kind=LineKind.PROGRESSIVE,
        description=line.description,
        quantity=Decimal(1),
        currency=line.amount.currency.code,
        amount=line.amount,
        window_count=usage.window_count,
        event_count=usage.event_count,
        windows_digest=usage.windows_digest,
        known_through=usage.known_through,
        rated=progressive_line_document(line=line),
    )
