"""What may be asked about credit notes."""

from decimal import Decimal

from django.db.models import Prefetch, QuerySet, Sum
from moneyed import Money

from billing_site.kernel.errors import NotFound
from billing_site.kernel.money import round_money
from invoicing.credit_notes.models import CreditNote, CreditNoteLine
from invoicing.invoices.models import Invoice


def credit_note_by_number(*, number: str, of_customer: str = "") -> CreditNote:
    """Return a credit note with its lines, of one customer only where its key is given; raises NotFound."""
    found = with_lines(notes=CreditNote.objects.all()).filter(number=number).first()
    if found is None or of_customer not in ("", found.customer.key):
        raise NotFound(f"there is no credit note {number!r}", field="number")
    return found


def credited_alone(*, invoice: Invoice) -> Money:
    """Return what was credited of an invoice by one person at a time, without a second one."""
    alone = CreditNote.objects.filter(invoice=invoice, approval=None).aggregate(total=Sum("total"))["total"]
    return round_money(alone or Decimal(0), invoice.currency)


def with_lines(*, notes: "QuerySet[CreditNote]") -> "QuerySet[CreditNote]":
    """Read credit notes with their invoices, customers, credit and lines, these in the order of the invoice's."""
    lines = CreditNoteLine.objects.select_related("line__subscription__customer").order_by("line__position")
    return notes.select_related("customer", "invoice", "grant").prefetch_related(Prefetch("lines", lines), "refunds")
