"""Hourly sums, as the rollup wrote them."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import RangeDateTimeFilter

from billing_site.display.figures import moment, quantity
from metering.admin.facts import FactsAdmin
from metering.models import UsageWindow


@admin.register(UsageWindow)
class UsageWindowAdmin(FactsAdmin):
    """What each meter counted per customer and hour."""

    list_display = ("hour", "customer_id", "meter", "amount", "event_count", "last_event")
    list_display_links = ("hour",)
    list_filter = ("meter", ("start", RangeDateTimeFilter))
    list_select_related = ("meter",)
    search_fields = ("customer_id",)
    search_help_text = "A customer's key, whole."
    ordering = ("-id",)
    sortable_by = ()
    fields = ("hour", "customer_id", "meter", "amount", "event_count", "last_event")
    readonly_fields = fields
    empty_message = "Events are summed every minute; before that they are counted from where they lie."

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find the hours of one customer, newest first, through the index."""
        if not search_term.strip():
            return queryset, False
        return queryset.filter(customer_id=search_term.strip()).order_by("-start", "-id"), False

    @admin.display(description="Hour")
    def hour(self, window: UsageWindow) -> SafeString:
        """Show the hour."""
        return moment(window.start)

    @admin.display(description="Value")
    def amount(self, window: UsageWindow) -> str:
        """Show the value with its unit."""
        return quantity(window.value, window.meter.unit)
