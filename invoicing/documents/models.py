"""Printed documents: the bytes of each as they were printed, with their digest, and those whose printing failed."""

from django.db import models
from django.db.models import F, Func, Q, Value

from billing_site.kernel.model import stays
from invoicing.credit_notes.models import CreditNote
from invoicing.invoices.models import Invoice

# The digest is that of the bytes: PostgreSQL computes it once more.
DIGEST_OF_CONTENT = Func(Func(F("content"), function="sha256"), Value("hex"), function="encode")
OF_ONE = Q(invoice__isnull=False, credit_note__isnull=True) | Q(invoice__isnull=True, credit_note__isnull=False)


class RenderedDocument(models.Model):
    """A document as it was printed: an invoice once for each standing in which somebody asked for it, a credit note once.

    Whoever asks gets these bytes, also after a release that would set them otherwise. They may be forgotten: printing again gives them again.
    """

    invoice = models.ForeignKey(Invoice, null=True, blank=True, on_delete=models.PROTECT, related_name="rendered")
    credit_note = models.ForeignKey(
        CreditNote, null=True, blank=True, on_delete=models.PROTECT, related_name="rendered"
    )
    standing = models.CharField(
        max_length=100,
        blank=True,
        help_text="What is printed of an invoice that may still change: state, paid, credited.",
    )
    etag = models.CharField(max_length=64, help_text="Over everything that decides about the bytes.")
    digest = models.CharField(max_length=64, help_text="SHA-256 of the bytes.")
    content = models.BinaryField(help_text="PDF/A-3b.")
    e_invoice = models.TextField(blank=True, help_text="The file that stands in it (CII); empty where there is none.")
    rendered_at = models.DateTimeField()

    objects = models.Manager["RenderedDocument"]()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=OF_ONE, name="rendered_document_is_of_an_invoice_or_a_credit_note"),
            models.UniqueConstraint(fields=["invoice", "standing"], name="invoice_is_rendered_once_a_standing"),
            models.UniqueConstraint(fields=["credit_note"], name="credit_note_is_rendered_once"),
            models.CheckConstraint(condition=Q(digest=DIGEST_OF_CONTENT), name="rendered_document_has_its_digest"),
            models.CheckConstraint(
                condition=Q(invoice__isnull=True, standing="") | Q(invoice__isnull=False) & ~Q(standing=""),
                name="rendered_invoice_has_a_standing",
            ),
        ]
        indexes = [models.Index(fields=["rendered_at"], name="rendered_document_by_time")]
        triggers = [
            stays(
                noun="rendered document",
                columns=[
                    *("invoice_id", "credit_note_id", "standing"),
                    *("etag", "digest", "content", "e_invoice", "rendered_at"),
                ],
            )
        ]

    def __str__(self) -> str:
        return f"{self.invoice or self.credit_note} as of {self.rendered_at:%Y-%m-%d %H:%M}"


class RenderingFailure(models.Model):
    """A document that could not be printed when its turn came: it is tried again, and gone once it is printed."""

    invoice = models.OneToOneField(
        Invoice, null=True, blank=True, on_delete=models.CASCADE, related_name="rendering_failure"
    )
    credit_note = models.OneToOneField(
        CreditNote, null=True, blank=True, on_delete=models.CASCADE, related_name="rendering_failure"
    )
    attempt_count = models.PositiveIntegerField()
    last_error = models.CharField(max_length=500)
    failed_at = models.DateTimeField(help_text="The newest attempt.")
    next_attempt_at = models.DateTimeField()

    objects = models.Manager["RenderingFailure"]()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=OF_ONE, name="rendering_failure_is_of_an_invoice_or_a_credit_note"),
            models.CheckConstraint(
                condition=Q(attempt_count__gt=0) & ~Q(last_error=""), name="rendering_failure_was_tried_and_says_why"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.invoice or self.credit_note}: {self.last_error}"
