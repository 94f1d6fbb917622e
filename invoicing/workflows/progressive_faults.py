"""Progressive invoices that do not add up: not taken off as they were charged, or off more than once."""

from collections.abc import Iterator
from decimal import Decimal

from invoicing.core.invoice_life import STANDING
from invoicing.invoices.models import Invoice, InvoiceKind, InvoiceLine, InvoiceStatus, ProgressiveInvoice

CHUNK = 500
NOTHING = Decimal(0)


def progressive_faults() -> Iterator[tuple[str, str]]:
    """Yield each progressive invoice of which the invoices that follow take off another amount, or tax, than it charged, and how they differ.

    Taken off is what it charged, less what credit notes gave back, each once; what an invoice had no room for is left for the next one.
    """
    bare = Invoice.objects.filter(kind=InvoiceKind.PROGRESSIVE, progressive=None).exclude(status=InvoiceStatus.DRAFT)
    for number in bare.order_by("id").values_list("number", flat=True):
        yield f"invoice {number}", "it is of no period"
    rows = ProgressiveInvoice.objects.select_related("invoice").order_by("id")
    for row in rows.iterator(chunk_size=CHUNK):
        for fault in _faults(row):
            yield f"invoice {row.invoice.number}", fault


def _faults(row: ProgressiveInvoice) -> Iterator[str]:
    lines = InvoiceLine.objects.filter(progressive=row, invoice__status__in=STANDING).select_related("invoice")
    taken = [line for line in lines.prefetch_related("taxes").order_by("id") if line.amount.amount]
    off = -sum((line.amount.amount for line in taken), NOTHING)
    if row.invoice.status == InvoiceStatus.VOID:
        if taken:
            yield f"it is void, and {taken[0].invoice.number} takes {off} off"
        return
    charged = row.invoice.subtotal.amount
    if row.reached.amount != charged:
        yield f"it charged {charged}, and says {row.reached.amount}"
    if off > charged:
        yield f"it charged {charged}, {off} are taken off"
    back = -sum((tax.amount.amount for line in taken for tax in line.taxes.all()), NOTHING)
    owed = row.invoice.tax_amount.amount if row.invoice.tax_amount is not None else NOTHING
    if back > owed:
        yield f"it charged {owed} of tax, {back} of it are taken off"
    final = Invoice.objects.filter(
        customer=row.customer_id,
        kind=InvoiceKind.PERIOD,
        period_start=row.period_start,
        period_end=row.period_end,
        status__in=STANDING,
    ).first()
    if final is None:
        return
    line = InvoiceLine.objects.filter(progressive=row, invoice=final).first()
    if line is None:
        given_back = sum(
            (noted.amount.amount for own in row.invoice.lines.all() for noted in own.credit_note_lines.all()), NOTHING
        )
        if off + given_back < charged:
            yield f"invoice {final.number} of its period does not take it off"
        return
    held = Decimal(line.rated["inputs"]["term"]["held"])
    seen = sum((Decimal(one["amount"]["amount"]) for one in line.rated["inputs"]["lines"]), NOTHING)
    if -line.amount.amount != min(held, max(seen, NOTHING)):
        yield f"invoice {final.number} takes {-line.amount.amount} off, where {held} were held"
