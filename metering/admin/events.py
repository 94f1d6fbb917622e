"""Usage events: the list, and the page of one event."""

import json
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import RangeDateTimeFilter

from billing_site.display.figures import NOTHING, link, moment, quantity
from billing_site.kernel.period import Period, hour_of
from metering.admin.facts import FactsAdmin
from metering.models import Meter, UsageEvent, UsageWindow
from metering.queries import events_as_known, events_found


class EventTypeFilter(admin.SimpleListFilter):
    """Events of one type; the choices are those of the meters, so that no list of all types has to be read."""

    title = "event type"
    parameter_name = "event_type__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the types that meters count."""
        types = Meter.objects.order_by("event_type").values_list("event_type", flat=True).distinct()
        return [(name, name) for name in types]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the events of the type."""
        return queryset.filter(event_type=self.value()) if self.value() else queryset


@admin.register(UsageEvent)
class UsageEventAdmin(FactsAdmin):
    """Events as they were accepted."""

    list_display = ("number", "event_id", "event_type", "customer_link", "amount", "times")
    list_display_links = ("number", "event_id")
    list_filter = (EventTypeFilter, ("timestamp", RangeDateTimeFilter))
    search_fields = ("customer_id",)
    search_help_text = "A customer's key, an idempotency key or an event id, whole."
    ordering = ("-id",)
    sortable_by = ("number",)
    fields: tuple[str, ...] = (
        "number",
        "event_id",
        "idempotency_key",
        "event_type",
        "customer_link",
        "amount",
        "namespace_id",
        "happened",
        "received",
        "content",
        "windows",
    )
    readonly_fields = fields
    empty_message = "Events arrive by POST /api/v1/events or `manage.py import_events`."

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find events by whole keys, through the indexes."""
        return (queryset if not search_term.strip() else events_found(events=queryset, term=search_term.strip())), False

    @admin.display(description="No.", ordering="id")
    def number(self, event: UsageEvent) -> int:
        """Show its place in the order of acceptance."""
        return event.pk

    @admin.display(description="Customer")
    def customer_link(self, event: UsageEvent) -> SafeString:
        """Link to all events of the customer."""
        return link(f"{reverse('admin:metering_usageevent_changelist')}?q={event.customer_id}", event.customer_id)

    @admin.display(description="Quantity")
    def amount(self, event: UsageEvent) -> str:
        """Show the quantity."""
        return quantity(event.quantity)

    @admin.display(description="Happened")
    def happened(self, event: UsageEvent) -> SafeString:
        """Show when the usage happened."""
        return moment(event.timestamp)

    @admin.display(description="Happened, accepted")
    def times(self, event: UsageEvent) -> SafeString:
        """Show when the usage happened, and below it when it was accepted."""
        return format_html(
            '<span class="bo-line">{}</span><span class="bo-line bo-small bo-faint">{}</span>',
            moment(event.timestamp),
            moment(event.received_at),
        )

    @admin.display(description="Accepted")
    def received(self, event: UsageEvent) -> SafeString:
        """Show when it was accepted."""
        return moment(event.received_at)

    @admin.display(description="Properties")
    def content(self, event: UsageEvent) -> SafeString:
        """Show the properties as JSON."""
        if not event.properties:
            return NOTHING
        text = json.dumps(event.properties, indent=2, sort_keys=True, ensure_ascii=False, default=str)
        return format_html('<pre class="bo-break">{}</pre>', text)

    @admin.display(description="Counted in")
    def windows(self, event: UsageEvent) -> SafeString:
        """Link to the hourly sum of each meter of its type that holds it, or say why one does not."""
        meters = list(Meter.objects.filter(event_type=event.event_type).order_by("key"))
        if not meters:
            return format_html("<p>No meter counts events of the type {}.</p>", event.event_type)
        return format_html_join("", "<p>{}: {}</p>", ((meter.name, _window_of(event, meter)) for meter in meters))


def _window_of(event: UsageEvent, meter: Meter) -> SafeString | str:
    if event.pk > meter.rolled_up_to:
        return "not summed yet; events are summed every minute."
    hour = hour_of(event.timestamp)
    window = UsageWindow.objects.filter(meter=meter, customer_id=event.customer_id, start=hour).first()
    counted = events_as_known(
        meter_key=meter.key,
        customer_id=event.customer_id,
        period=Period(event.timestamp, event.timestamp + timedelta(microseconds=1)),
        known_through=event.pk,
        after=(event.timestamp, event.pk - 1),
        limit=1,
    )
    if window is None or not counted:
        return f"does not count it: the property {meter.value_property} is missing or is no number that can be summed."
    page = reverse("admin:metering_usagewindow_change", args=[window.pk])
    total = link(page, quantity(window.value, meter.unit))
    return format_html("counts {} of the {} in the hour from {}", quantity(counted[0].counted), total, moment(hour))
