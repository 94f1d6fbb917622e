"""What is wrong with the tax of issued invoices: computed again from their lines, compared with what was told about them, and with the books."""

from collections.abc import Iterator
from decimal import Decimal

from django.db.models import Exists, OuterRef, Prefetch, Q, Sum

from invoicing.core.posting import TAX_PAYABLE
from invoicing.invoices.models import Invoice, InvoiceLine, InvoiceStatus, TaxLine, TaxState
from invoicing.invoices.taxes import tax_differences
from invoicing.ledger.models import JournalEntry
from invoicing.workflows.told_tax_faults import answer_faults, told_differences

CHUNK = 500


def tax_faults() -> Iterator[tuple[str, str]]:
    """Yield each issued invoice whose tax is not what its lines, rates and rounding make, or not in the books, and how it differs."""
    entries = JournalEntry.objects.filter(kind=JournalEntry.Kind.ISSUE, postings__account__code=TAX_PAYABLE)
    booked = {
        reference: (-amount, currency)
        for reference, currency, amount in entries.annotate(amount=Sum("postings__amount")).values_list(
            "reference", "currency", "amount"
        )
    }
    taxes = Exists(TaxLine.objects.filter(line__invoice=OuterRef("pk")))
    issued = Invoice.objects.exclude(status=InvoiceStatus.DRAFT).filter(Q(taxes) | ~Q(tax_state=TaxState.NONE))
    with_lines = Prefetch("lines", InvoiceLine.objects.order_by("position").prefetch_related("taxes__line"))
    for invoice in issued.prefetch_related(with_lines).order_by("id").iterator(chunk_size=CHUNK):
        subject = f"invoice {invoice.number}"
        lines = list(invoice.lines.all())
        for difference in [
            *tax_differences(invoice=invoice, lines=lines),
            *told_differences(invoice=invoice, lines=lines),
        ]:
            yield subject, difference
        owed = invoice.tax_amount.amount if invoice.tax_amount is not None else Decimal(0)
        in_books, currency = booked.pop(str(invoice.number), (Decimal(0), invoice.currency))
        if (in_books, currency) != (owed, invoice.currency):
            yield subject, f"its tax is {owed} {invoice.currency}, in the books stands {in_books} {currency}"
    for number, (amount, currency) in sorted(booked.items()):
        yield f"invoice {number}", f"it has no tax, in the books stands {amount} {currency}"
    yield from answer_faults()
