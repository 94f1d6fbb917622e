"""What is wrong with the seals of invoices: each covers its document, lines and taxes, and chains to the one before it."""

from collections.abc import Iterator

from django.db import connection
from django.db.models.functions import Length

from billing_site.kernel.money import total
from invoicing.evidence.anchors import series_faults, series_heads
from invoicing.invoices.event_roots import root_over_lines
from invoicing.invoices.models import InvoiceSeries
from invoicing.invoices.sealing import invoice_seal
from invoicing.invoices.taxes import taxes_of

CHUNK = 500
# Documents in the order of their numbers that do not carry the seal of the one before them.
_BROKEN = """
    SELECT number FROM (
        SELECT number, previous_seal, lag(seal, 1, '') OVER (PARTITION BY series_id ORDER BY length(number), number) AS before
          FROM {table} WHERE series_id IS NOT NULL
    ) document WHERE previous_seal <> before ORDER BY length(number), number
"""


def seal_faults() -> Iterator[tuple[str, str]]:
    """Yield each issued invoice, or series, that is not what was sealed, and how it differs."""
    for series in InvoiceSeries.objects.filter(credit_notes=None).order_by("prefix"):
        previous = ""
        sealed = series.invoices.prefetch_related("lines__taxes").order_by(Length("number"), "number")
        for invoice in sealed.iterator(chunk_size=CHUNK):
            lines = sorted(invoice.lines.all(), key=lambda line: line.position)
            subject = f"invoice {invoice.number}"
            if invoice.previous_seal != previous:
                yield subject, "the chain is broken before it"
            digests, taxes = [line.digest for line in lines], taxes_of(lines=lines)
            if invoice_seal(invoice=invoice, line_digests=digests, taxes=taxes) != invoice.seal:
                yield subject, "it is not the document that was issued"
            if root_over_lines(lines=lines) != invoice.events_root:
                yield subject, "its root is not that of its lines' events"
            if total((line.amount for line in lines), invoice.currency) != invoice.subtotal:
                yield subject, "its lines do not sum to its subtotal"
            previous = invoice.seal
        if series.last_seal != previous:
            yield f"series {series.prefix} of {series.legal_entity_id}", "the newest invoice is missing or replaced"


def chain_faults() -> Iterator[tuple[str, str]]:
    """Yield each invoice and credit note that does not carry the seal of the one before it, and each series whose newest is missing.

    No seal is computed again, so that it takes no longer than reading the numbers: the close of a month asks, while everybody waits.
    """
    for noun, table in (("invoice", "invoicing_invoice"), ("credit note", "invoicing_creditnote")):
        with connection.cursor() as cursor:
            cursor.execute(_BROKEN.format(table=table))
            broken = cursor.fetchall()
        for (number,) in broken:
            yield f"{noun} {number}", "the chain is broken before it"
    for fault in series_faults(series=series_heads()):
        yield "the series of numbers", fault
