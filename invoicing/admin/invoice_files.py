"""What an invoice's page hands out beside the PDF: the events behind it, its proof document, and the checker of both."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import path, reverse

from billing_site.display.admin import TrackedAdmin, go
from billing_site.display.downloads import document_file, lines_file, program_file
from billing_site.kernel.errors import BillingError
from invoicing.checker import CHECKER
from invoicing.workflows.event_evidence import event_file, proof_document


class FilesOfInvoices(TrackedAdmin):
    """The same files as in the portal, for staff who may see the invoice."""

    def get_urls(self) -> list[Any]:
        """Add the addresses of the files."""
        wrap = self.admin_site.admin_view
        return [
            path("checker/", wrap(self.checker_file), name="invoicing_invoice_checker"),
            path("<int:object_id>/events/", wrap(self.events_file), name="invoicing_invoice_events_file"),
            path("<int:object_id>/proof-document/", wrap(self.proof_file), name="invoicing_invoice_proof_file"),
            *super().get_urls(),
        ]

    def events_file(self, request: HttpRequest, object_id: int) -> HttpResponseBase:
        """Hand out the events that an invoice counts."""
        invoice = self.row_or_404(request, str(object_id))
        try:
            return lines_file(lines=event_file(invoice=invoice), name=f"{invoice.number}-events.ndjson")
        except BillingError as problem:
            messages.warning(request, problem.message)
            return go(reverse("admin:invoicing_invoice_change", args=[invoice.pk]))

    def proof_file(self, request: HttpRequest, object_id: int) -> HttpResponseBase:
        """Hand out what the checker reads of an invoice."""
        invoice = self.row_or_404(request, str(object_id))
        try:
            document = proof_document(invoice=invoice)
        except BillingError as problem:
            messages.warning(request, problem.message)
            return go(reverse("admin:invoicing_invoice_change", args=[invoice.pk]))
        return document_file(document=document, name=f"{invoice.number}-proof.json")

    def checker_file(self, request: HttpRequest) -> HttpResponse:
        """Hand out the checker itself."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return program_file(path=CHECKER)
