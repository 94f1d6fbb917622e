"""Anchors: the heads of the chains, to be kept outside of this house."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from billing_site.display.admin import ReadOnlyAdmin, moment_column
from billing_site.display.figures import quantity
from invoicing.evidence.anchors import document_text
from invoicing.evidence.models import Anchor


@admin.register(Anchor)
class AnchorAdmin(ReadOnlyAdmin):
    """One a day; whoever has kept one can tell whether everything was written anew since."""

    list_display = (moment_column("made_at", "Made"), "file", "rows", "block_number", "short_digest")
    date_hierarchy = "made_at"
    ordering = ("-made_at", "-id")
    empty_message = "Every night one is made; `manage.py anchor` does it now. Keep the files where nobody of this house can change them."

    def get_urls(self) -> list[URLPattern]:
        """Add the download."""
        view = self.admin_site.admin_view(self.download)
        return [path("<int:anchor_id>/file/", view, name="invoicing_anchor_file"), *super().get_urls()]

    @admin.display(description="Rows in the chain")
    def rows(self, anchor: Anchor) -> str:
        """Show how many carved rows it stands for."""
        return quantity(anchor.document["rows"])

    @admin.display(description="Digest")
    def short_digest(self, anchor: Anchor) -> SafeString:
        """Show its beginning; the whole stands in the mail's subject and over the pointer."""
        return format_html('<span title="{}">{}</span>', anchor.digest, anchor.digest[:16])

    @admin.display(description="File")
    def file(self, anchor: Anchor) -> SafeString:
        """Offer the document."""
        return format_html('<a href="{}">Download</a>', reverse("admin:invoicing_anchor_file", args=[anchor.pk]))

    def download(self, request: HttpRequest, anchor_id: int) -> HttpResponse:
        """Answer with the document, as `verify --anchor` reads it."""
        anchor: Anchor = self.row_or_404(request, str(anchor_id))
        name = f"anchor-{anchor.made_at:%Y-%m-%d}-{anchor.block_number}.json"
        return HttpResponse(
            document_text(document=anchor.document),
            content_type="application/json",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )
