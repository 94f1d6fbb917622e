"""What may be asked about printed documents."""

from datetime import datetime, timedelta
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet

from billing_site.kernel.money import plain
from invoicing.credit_notes.models import CreditNote
from invoicing.credit_notes.queries import with_lines
from invoicing.documents.models import RenderedDocument, RenderingFailure
from invoicing.invoices.models import Invoice, InvoiceStatus

# What was issued longer ago than this, and never printed, is printed when somebody asks for it.
WAITS_FOR = timedelta(days=7)


def of_document(document: Invoice | CreditNote) -> dict[str, Any]:
    """Return what finds the rows of a document."""
    return {"invoice": document} if isinstance(document, Invoice) else {"credit_note": document}


def standing_of(*, document: Invoice | CreditNote) -> str:
    """Return all that is printed of a document and may still change: of an issued invoice its state, and what it has received."""
    if isinstance(document, CreditNote):
        return ""
    return f"{document.status} {plain(document.amount_paid.amount)} {plain(document.amount_credited.amount)}"


def rendered_of(*, document: Invoice | CreditNote) -> RenderedDocument | None:
    """Return a document as it was printed in its present standing, its bytes unread; None where it was not."""
    rows = RenderedDocument.objects.filter(**of_document(document), standing=standing_of(document=document))
    return rows.defer("content").first()


def invoices_to_render(*, at: datetime) -> "QuerySet[Invoice]":
    """Return the issued invoices that were never printed, and whose turn it is, the oldest first."""
    issued = Invoice.objects.filter(status__in=(InvoiceStatus.ISSUED, InvoiceStatus.PAID))
    return _waiting(issued.select_related("customer"), "invoice", at=at)


def credit_notes_to_render(*, at: datetime) -> "QuerySet[CreditNote]":
    """Return the credit notes that were never printed, and whose turn it is, with their lines, the oldest first."""
    return _waiting(with_lines(notes=CreditNote.objects.select_related("invoice__customer")), "credit_note", at=at)


def _waiting(documents: "QuerySet[Any]", kind: str, *, at: datetime) -> "QuerySet[Any]":
    mine = {kind: OuterRef("pk")}
    failed = RenderingFailure.objects.filter(**mine)
    return (
        documents.filter(Q(issued_at__gt=at - WAITS_FOR) | Exists(failed))
        .exclude(Exists(RenderedDocument.objects.filter(**mine)))
        .exclude(Exists(failed.filter(next_attempt_at__gt=at)))
        .order_by("issued_at", "pk")
    )
