"""What may be asked about credit notes."""

from django.db.models import Prefetch, QuerySet

from billing_site.kernel.errors import NotFound
from invoicing.credit_notes.models import CreditNote, CreditNoteLine


def credit_note_by_number(*, number: str, of_customer: str = "") -> CreditNote:
    """Return a credit note with its lines, of one customer only where its key is given; raises NotFound."""
    found = with_lines(notes=CreditNote.objects.all()).filter(number=number).first()
    if found is None or of_customer not in ("", found.customer.key):
        raise NotFound(f"there is no credit note {number!r}", field="number")
    return found


def with_lines(*, notes: "QuerySet[CreditNote]") -> "QuerySet[CreditNote]":
    """Read credit notes with their invoices, customers, credit and lines, these in the order of the invoice's."""
    lines = CreditNoteLine.objects.select_related("line").order_by("line__position")
    return notes.select_related("customer", "invoice", "grant").prefetch_related(Prefetch("lines", lines), "refunds")
