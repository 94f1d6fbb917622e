"""The archive of usage events: each day with its file, and what retention would purge; purged is by command only."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import F, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.safestring import SafeString

from billing_site.display.admin import ReadOnlyAdmin, moment_column
from billing_site.display.figures import bytes_text, quantity
from billing_site.display.pills import AMBER, GREEN, pill
from metering.models import EventArchive, RetentionRun, UnsettledHour

RUNS_SHOWN = 10
HOURS_SHOWN = 50
STATES = {"archived": "in the database, too", "purged": "in the archive only", "restored": "purged once, and back"}
_CONDITIONS = {
    "archived": Q(purged_at__isnull=True),
    "purged": Q(purged_at__isnull=False, restored_at__isnull=True),
    "restored": Q(restored_at__isnull=False),
}


class StateFilter(admin.SimpleListFilter):
    """Archives by where their events are."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the states."""
        return list(STATES.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the archives in the chosen state."""
        condition = _CONDITIONS.get(self.value() or "")
        return queryset if condition is None else queryset.filter(condition)


@admin.register(EventArchive)
class EventArchiveAdmin(ReadOnlyAdmin):
    """The archived days."""

    list_display = ("day", "state", "events", "size", "digest", moment_column("archived_at", "Archived"))
    list_display_links = ("day",)
    list_filter = (StateFilter,)
    list_before_template = "backoffice/archive_links.html"
    search_fields = ("file_name", "file_digest")
    search_help_text = "A part of the file's name, such as 2026-03, or its digest."
    ordering = ("-day",)
    sortable_by = ("day", "events", "size")
    fields: tuple[str, ...] = (
        "day",
        "state",
        "events",
        "numbers",
        "first_at",
        "last_at",
        "file_name",
        "size",
        "file_digest",
        "content_digest",
        "archived_at",
        "purged_at",
        "restored_at",
    )
    readonly_fields = fields
    empty_message = "Every night the days that are over are archived; `manage.py archive_events` does it now."

    @admin.display(description="State")
    def state(self, row: EventArchive) -> SafeString:
        """Say where the events are."""
        word = "purged" if row.is_purged else "restored" if row.restored_at else "archived"
        return pill(word, why=STATES[word], tone=AMBER if row.is_purged else GREEN)

    @admin.display(description="Events", ordering="event_count")
    def events(self, row: EventArchive) -> str:
        """Show how many there are."""
        return quantity(row.event_count)

    @admin.display(description="Event numbers")
    def numbers(self, row: EventArchive) -> str:
        """Show the first and the last."""
        return f"{row.first_number} to {row.last_number}"

    @admin.display(description="Size", ordering="size_bytes")
    def size(self, row: EventArchive) -> str:
        """Show the size of the file."""
        return bytes_text(row.size_bytes)

    @admin.display(description="SHA-256 of the file")
    def digest(self, row: EventArchive) -> str:
        """Show the beginning of the digest."""
        return f"{row.file_digest[:16]}…"

    def get_urls(self) -> list[URLPattern]:
        """Add the page of retention."""
        page = path("retention/", self.admin_site.admin_view(self.retention), name="metering_eventarchive_retention")
        return [page, *super().get_urls()]

    def retention(self, request: HttpRequest) -> HttpResponse:
        """Show what the last look at retention found, who purged when, and which hours wait for a restore."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        runs = list(RetentionRun.objects.order_by("-id")[:RUNS_SHOWN])
        hours = UnsettledHour.objects.annotate(meter_key=F("meter__key")).order_by("start", "id")
        context = self.page_context(
            request,
            title="Retention of usage events",
            latest=runs[0] if runs else None,
            months=[{**month, "size": bytes_text(month["bytes"])} for month in (runs[0].months if runs else [])],
            runs=runs,
            hours=hours[:HOURS_SHOWN],
            hour_count=hours.count(),
        )
        return TemplateResponse(request, "backoffice/retention.html", context)
