"""What is wrong with credit notes: seals that do not hold, more given back than was asked for, refunds that are neither paid nor owed."""

from collections.abc import Iterator

from django.db.models import Sum
from django.db.models.functions import Length

from billing_site.kernel.money import round_money, total
from invoicing.core.posting import REFUNDS_PAYABLE
from invoicing.credit_notes.creditable import creditable_of
from invoicing.credit_notes.models import CreditNote
from invoicing.credit_notes.operations import note_seal
from invoicing.invoices.models import Invoice, InvoiceSeries
from invoicing.ledger.queries import trial_balance
from invoicing.payments.refund import Refund, RefundStatus


def credit_note_faults() -> Iterator[tuple[str, str]]:
    """Yield (credit note, invoice or currency, what is wrong)."""
    for series in InvoiceSeries.objects.filter(credit_notes__isnull=False).distinct().order_by("prefix"):
        yield from _seals(series)
    yield from _more_than_asked_for()
    yield from _refunds_not_owed()


def _seals(series: InvoiceSeries) -> Iterator[tuple[str, str]]:
    previous = ""
    notes = series.credit_notes.prefetch_related("lines__line").order_by(Length("number"), "number")
    for note in notes.iterator(chunk_size=500):
        lines = sorted(note.lines.all(), key=lambda one: one.line.position)
        if note.previous_seal != previous:
            yield f"credit note {note.number}", "the chain is broken before it"
        if note_seal(note=note, lines=lines) != note.seal:
            yield f"credit note {note.number}", "it is not the document that was issued"
        if total((part for one in lines for part in (one.amount, one.tax_added)), note.currency) != note.total:
            yield f"credit note {note.number}", "its lines do not sum to its total"
        previous = note.seal
    if series.last_seal != previous:
        yield f"series {series.prefix} of {series.legal_entity_id}", "the newest credit note is missing or replaced"


def _more_than_asked_for() -> Iterator[tuple[str, str]]:
    credited = Invoice.objects.filter(credit_notes__isnull=False).distinct().select_related("customer")
    for invoice in credited.order_by("id").iterator():
        creditable = creditable_of(invoice=invoice)
        offsets = CreditNote.objects.filter(invoice=invoice).aggregate(sum=Sum("offset_amount"))["sum"]
        if invoice.amount_credited.amount != offsets:
            yield (
                f"invoice {invoice.number}",
                f"credited {invoice.amount_credited.amount}, credit notes took {offsets} off",
            )
        if creditable.left.amount < 0:
            yield (
                f"invoice {invoice.number}",
                f"credit notes give back {creditable.credited.amount}, more than it asked for",
            )
        for one in creditable.lines:
            noted = set(one.line.credit_note_lines.values_list("creditable", flat=True))
            if one.credited_tax > one.asked.tax or one.credited_added > one.asked.added:
                message = (
                    f"it asks for {one.asked.tax.amount} of tax, credit notes took {one.credited_tax.amount} of it"
                )
                yield f"invoice {invoice.number} line {one.line.position}", message
            if one.left.amount < 0 or one.quantity_left < 0 or noted - {one.net.amount}:
                message = f"it asks for {one.net.amount}, credit notes took {one.credited.amount} of it"
                yield f"invoice {invoice.number} line {one.line.position}", message


def _refunds_not_owed() -> Iterator[tuple[str, str]]:
    waiting = Refund.objects.exclude(status=RefundStatus.PAID).order_by().values_list("currency")
    owed = {currency: round_money(amount, currency) for currency, amount in waiting.annotate(Sum("amount"))}
    booked = {one.amount.currency.code: one.amount * -1 for one in trial_balance() if one.account == REFUNDS_PAYABLE}
    for currency in sorted(set(owed) | set(booked)):
        promised, in_books = owed.get(currency), booked.get(currency)
        if (promised.amount if promised else 0) != (in_books.amount if in_books else 0):
            yield currency, f"{promised or 'nothing'} is to be paid back, the books owe {in_books or 'nothing'}"
