"""Documents that could not be printed, in the admin: each is tried again by itself, and gone once it is printed."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.safestring import SafeString

from billing_site.display.admin import ReadOnlyAdmin, moment_column
from billing_site.display.figures import link
from invoicing.documents.models import RenderingFailure


@admin.register(RenderingFailure)
class RenderingFailureAdmin(ReadOnlyAdmin):
    """What waits to be printed again, and why."""

    list_display = (
        "document",
        "attempt_count",
        "last_error",
        moment_column("failed_at", "Failed"),
        moment_column("next_attempt_at", "Tried again"),
    )
    ordering = ("next_attempt_at", "id")
    empty_message = "Invoices and credit notes are printed by a job soon after they are issued; one that cannot be printed stands here until it is."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Read the documents with it."""
        queryset: QuerySet[Any] = super().get_queryset(request)
        return queryset.select_related("invoice", "credit_note")

    @admin.display(description="Document")
    def document(self, failure: RenderingFailure) -> SafeString:
        """Link to the document, where pressing PDF tries it at once."""
        of, model = (failure.invoice, "invoice") if failure.invoice else (failure.credit_note, "creditnote")
        assert of is not None, "a failure is of one of both"
        return link(reverse(f"admin:invoicing_{model}_change", args=[of.pk]), str(of.number))
