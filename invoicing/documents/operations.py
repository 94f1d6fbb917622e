"""What may happen to printed documents: one is kept, its failure is noted, and the oldest are forgotten."""

from datetime import datetime, timedelta
from hashlib import sha256

from django.db import transaction

from invoicing.credit_notes.models import CreditNote
from invoicing.documents.models import RenderedDocument, RenderingFailure
from invoicing.documents.queries import of_document, rendered_of, standing_of
from invoicing.invoices.models import Invoice

ERROR_LENGTH_MAX = 500
# When what could not be printed is tried again; the last gap stays.
GAPS = tuple(timedelta(seconds=seconds) for seconds in (10, 30, 120, 600, 3600, 6 * 3600))


@transaction.atomic
def keep_rendered(
    *, document: Invoice | CreditNote, etag: str, content: bytes, e_invoice: str, at: datetime
) -> RenderedDocument:
    """Keep what was printed, and forget that it failed before; of two that print one document at once the first is kept."""
    row = RenderedDocument(
        **of_document(document),
        standing=standing_of(document=document),
        etag=etag,
        digest=sha256(content).hexdigest(),
        content=content,
        e_invoice=e_invoice,
        rendered_at=at,
    )
    RenderedDocument.objects.bulk_create([row], ignore_conflicts=True)
    RenderingFailure.objects.filter(**of_document(document)).delete()
    kept = rendered_of(document=document)
    assert kept is not None, "it was kept just now, or by another"
    return kept


@transaction.atomic
def note_failure(*, document: Invoice | CreditNote, error: str, at: datetime) -> RenderingFailure:
    """Note that a document could not be printed, and when it is tried again."""
    before = RenderingFailure.objects.select_for_update().filter(**of_document(document)).first()
    count = before.attempt_count + 1 if before else 1
    failure, _ = RenderingFailure.objects.update_or_create(
        **of_document(document),
        defaults={
            "attempt_count": count,
            "last_error": error[:ERROR_LENGTH_MAX],
            "failed_at": at,
            "next_attempt_at": at + GAPS[min(count, len(GAPS)) - 1],
        },
    )
    return failure


def forget_rendered(*, older_than_days: int, at: datetime) -> int:
    """Forget what was printed more than so many days ago, and return how many documents that are: asked for, they are printed again."""
    deleted, _ = RenderedDocument.objects.filter(rendered_at__lt=at - timedelta(days=older_than_days)).delete()
    return deleted
