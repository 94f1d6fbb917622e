"""Metering as staff see it: meters with their history, events and hourly sums as they are, never edited."""

import json
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import RangeDateTimeFilter
from unfold.paginator import InfinitePaginator
from unfold.widgets import UnfoldAdminTextareaWidget

from billing_site.display.admin import ReadOnlyAdmin, TrackedAdmin, actor_of
from billing_site.display.figures import NOTHING, link, moment, quantity
from billing_site.kernel.period import Period, hour_of
from metering.core.definition import AGGREGATIONS, MeterDefinition, check_meter
from metering.models import Meter, UsageEvent, UsageWindow
from metering.operations import create_meter
from metering.queries import events_as_known, events_found

MEANING = ("key", "event_type", "aggregation", "value_property", "filters", "dimensions", "effective_from")
DEFINITION = (
    "key",
    "name",
    "event_type",
    "aggregation",
    "value_property",
    "unit",
    "filters",
    "dimensions",
    "effective_from",
)


class MeterForm(forms.ModelForm):
    """A meter's definition and the reason for it; what is accepted is what the operation accepts."""

    reason = forms.CharField(
        max_length=300,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="It stands in the history beside your name.",
    )

    class Meta:
        model = Meter
        fields = DEFINITION

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if "effective_from" in self.fields:
            self.fields["effective_from"].required = False
            self.fields["effective_from"].initial = None
            self.fields["effective_from"].help_text = (
                "Events with an earlier timestamp do not count. Empty: from the beginning, "
                "or from now on where events of this type exist already."
            )

    def clean(self) -> dict[str, Any]:
        """Ask the operation's own check."""
        cleaned = super().clean() or {}
        if not self.errors:
            for error in check_meter(definition=MeterDefinition(**self.definition(cleaned))):
                name = error.field.partition(".")[0]
                self.add_error(name if name in self.fields else None, error.message)
        return cleaned

    def definition(self, cleaned: dict[str, Any]) -> dict[str, Any]:
        """Return the meter as it is to be: the fields of the form over those that cannot change any more."""
        definition = {name: cleaned.get(name, getattr(self.instance, name)) for name in DEFINITION}
        return {**definition, "filters": definition["filters"] or {}, "dimensions": definition["dimensions"] or []}


@admin.register(Meter)
class MeterAdmin(TrackedAdmin):
    """What is counted and how."""

    form = MeterForm
    list_display = ("key", "name", "event_type", "counts", "unit", "events_link", "created")
    list_display_links = ("key", "name")
    list_filter = ("aggregation",)
    search_fields = ("key", "name", "event_type")
    ordering = ("key",)
    fieldsets = (
        ("What it counts", {"fields": DEFINITION}),
        ("How far it is", {"fields": ("rolled_up_to",), "classes": ("tab",)}),
        ("Why", {"fields": ("reason",)}),
    )
    empty_message = "Meters come from the catalog file, the API, or from here: each counts the events of one type."

    @admin.display(description="Counts", ordering="aggregation")
    def counts(self, meter: Meter) -> str:
        """Say what is summed."""
        if meter.aggregation == "count":
            return "events"
        return f"{AGGREGATIONS[meter.aggregation].lower()} of {meter.value_property or 'quantity'}"

    @admin.display(description="Events")
    def events_link(self, meter: Meter) -> SafeString:
        """Link to the events of its type."""
        url = reverse("admin:metering_usageevent_changelist")
        return link(f"{url}?event_type__exact={meter.event_type}", "events")

    @admin.display(description="Since", ordering="created_at")
    def created(self, meter: Meter) -> SafeString:
        """Show when it was made."""
        return moment(meter.created_at)

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """Keep what billed quantities hang on."""
        return (*MEANING, "rolled_up_to") if obj else ("rolled_up_to",)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Create or rename through the operation, with actor and reason."""
        fields = form.definition(form.cleaned_data)
        obj.pk = create_meter(**fields, actor=actor_of(request), reason=form.cleaned_data["reason"]).pk


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


class FactsAdmin(ReadOnlyAdmin):
    """Lists of millions: nothing is counted, pages go on as long as there are rows."""

    paginator = InfinitePaginator
    show_full_result_count = False
    list_per_page = 50
    actions = None


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
