"""The events that no window holds: by type and reason, and what may be done about each."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from metering.admin.facts import FactsAdmin
from metering.admin.meters import BACKDATE
from metering.models import UnappliedEvent
from metering.queries.unapplied import unapplied_kinds


@admin.register(UnappliedEvent)
class UnappliedEventAdmin(FactsAdmin):
    """What was accepted and counts nowhere; the events themselves are in the explorer, by state."""

    list_display = ("number", "event_type", "customer_id", "reason")
    list_display_links = ("number",)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show each kind with its number, its age and what may be done."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = self.page_context(
            request,
            title="Events in no window",
            kinds=unapplied_kinds(),
            may_backdate=request.user.has_perm(BACKDATE),
        )
        return TemplateResponse(request, "backoffice/unapplied.html", {**context, **(extra_context or {})})
