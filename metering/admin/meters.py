"""Meters: what is counted and how, with the history of each change."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextareaWidget

from billing_site.display.admin import TrackedAdmin, actor_of
from billing_site.display.figures import NOTHING, link, moment
from billing_site.kernel.clock import now
from metering.admin.meter_deeds import date_back, rebuild
from metering.admin.meter_usage import meter_usage
from metering.core.definition import AGGREGATIONS, MeterDefinition, check_meter
from metering.models import Meter
from metering.operations import create_meter

BACKDATE = "metering.backdate_meter"
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
        ("How far it is", {"fields": ("rolled_up_to", "dated_back"), "classes": ("tab",)}),
        ("Why", {"fields": ("reason",)}),
    )
    actions_detail = ("usage", "date_back", "rebuild")
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

    @admin.display(description="Dated back")
    def dated_back(self, meter: Meter) -> SafeString:
        """Show when it was dated back, by whom and why."""
        lines = format_html_join(
            "",
            '<span class="bo-line bo-break">{} from {} to {}, by {}: {}</span>',
            (
                (
                    moment(one.backdated_at),
                    moment(one.effective_before),
                    moment(one.effective_from),
                    one.actor,
                    one.reason,
                )
                for one in meter.backdatings.order_by("number")
            ),
        )
        return lines or NOTHING

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """Keep what billed quantities hang on."""
        return (*MEANING, "rolled_up_to", "dated_back") if obj else ("rolled_up_to", "dated_back")

    @action(description="Usage", url_path="usage")
    def usage(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show what a customer used in a month, and how it was worked out."""
        meter = self.row_or_404(request, object_id)
        page = meter_usage(meter=meter, parameters=request.GET, at=now())
        context = self.page_context(request, title=f"Usage of {meter.name}", row=meter, page=page)
        return TemplateResponse(request, "backoffice/meter_usage.html", context)

    @action(description="Date back", url_path="date-back")
    def date_back(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Let the meter count from an earlier moment on, after a page that says how much that is."""
        return date_back(self, request, self._to_change(request, object_id))

    @action(description="Rebuild windows", url_path="rebuild")
    def rebuild(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Count a period again from raw events, after a page that says what differs."""
        return rebuild(self, request, self._to_change(request, object_id))

    def _to_change(self, request: HttpRequest, object_id: str) -> Meter:
        meter: Meter = self.row_or_404(request, object_id)
        if not request.user.has_perm(BACKDATE):
            raise PermissionDenied
        return meter

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Create or rename through the operation, with actor and reason."""
        fields = form.definition(form.cleaned_data)
        obj.pk = create_meter(**fields, actor=actor_of(request), reason=form.cleaned_data["reason"]).pk
