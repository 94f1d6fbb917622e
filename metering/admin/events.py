"""Usage events: the explorer, the life of one event, and its corrections."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from billing_site.display.admin import ReasonForm, actor_of, add_field_errors, attempt, confirmation, go
from billing_site.display.figures import quantity
from billing_site.kernel.digest import digest_of
from billing_site.kernel.errors import BillingError
from billing_site.kernel.money import plain
from metering.admin.event_list import event_list
from metering.admin.facts import FactsAdmin
from metering.admin.layout import stored_json_text
from metering.core.decoding import decode_json
from metering.correcting import MeterEffect, amend_event, cancel_event, effect_of_amending, effect_of_cancelling
from metering.models import EventCancellation, UsageEvent
from metering.queries.chains import chain_of
from metering.queries.events import STATES, EventLife, event_life

CORRECT = "metering.correct_usageevent"


class AmendForm(ReasonForm):
    """What is right about an event, and why it is amended."""

    event_type = forms.CharField(max_length=200, widget=UnfoldAdminTextInputWidget)
    quantity = forms.CharField(max_length=100, widget=UnfoldAdminTextInputWidget)
    timestamp = forms.CharField(
        max_length=40, widget=UnfoldAdminTextInputWidget, help_text="With an offset: 2026-07-01T12:00:00Z."
    )
    namespace_id = forms.CharField(max_length=200, required=False, widget=UnfoldAdminTextInputWidget)
    properties = forms.CharField(
        required=False, widget=UnfoldAdminTextareaWidget(attrs={"rows": 4}), help_text="A JSON object, as a whole."
    )
    field_order = ("event_type", "quantity", "timestamp", "namespace_id", "properties", "reason")

    def clean_properties(self) -> Any:
        """Decode the properties without a float."""
        try:
            return decode_json((self.cleaned_data["properties"].strip() or "{}").encode())
        except (BillingError, UnicodeEncodeError) as problem:
            raise forms.ValidationError(str(problem)) from None

    def changes(self) -> dict[str, Any]:
        """Return the fields that somebody changed."""
        return {name: self.cleaned_data[name] for name in self.changed_data if name != "reason"}


@admin.register(UsageEvent)
class UsageEventAdmin(FactsAdmin):
    """Events as they were accepted, and what became of each."""

    list_display = ("number", "event_id", "event_type", "customer_id", "quantity", "timestamp")
    list_display_links = ("number",)
    search_fields = ("customer_id",)
    actions_detail = ("cancel", "amend")

    @admin.display(description="No.")
    def number(self, event: UsageEvent) -> int:
        """Show its place in the order of acceptance."""
        return event.pk

    def billed_on(self, event: UsageEvent) -> SafeString | None:
        """Say which invoice lines hold the event; those who bill say it."""
        return None

    def money_effect(self, event: UsageEvent, correct: Callable[[], EventCancellation]) -> str | SafeString:
        """Say what a correction would mean in money; those who bill say it."""
        return ""

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the explorer: found along indexes, a page at a time, nothing counted."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        found = event_list(parameters=request.GET)
        context = self.page_context(request, title="Usage events", found=found, states=STATES)
        return TemplateResponse(request, "backoffice/events.html", {**context, **(extra_context or {})})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the event's life, from its acceptance to the invoice."""
        event = self.row_or_404(request, object_id)
        if request.method == "POST":
            raise PermissionDenied
        life = event_life(number=event.pk)
        numbers = UsageEvent.objects.filter(pk__in=life.chain.numbers)
        context = self.page_context(
            request,
            title=f"Event {event.pk}",
            row=event,
            life=life,
            content=_content(life),
            why=STATES[life.state],
            keys=dict(numbers.values_list("id", "idempotency_key")),
            billed_on=self.billed_on(event),
            may_correct=request.user.has_perm(CORRECT) and life.cancellation is None,
        )
        return TemplateResponse(request, "backoffice/event.html", context)

    @action(description="Cancel", url_path="cancel")
    def cancel(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Let the event count no more, after a page that says what that does to each meter."""
        event = self._to_correct(request, object_id)
        if (done := chain_of(number=event.pk)).last != event.pk:
            messages.info(request, "This event was replaced: correct the one that counts in its place.")
            return go(reverse("admin:metering_usageevent_change", args=[done.last]))
        key = {"customer_id": event.customer_id, "idempotency_key": event.idempotency_key}
        page = reverse("admin:metering_usageevent_change", args=[event.pk])
        form = ReasonForm(request.POST or None)
        if form.is_valid():
            reason = form.cleaned_data["reason"]
            attempt(
                request,
                lambda: cancel_event(**key, actor=actor_of(request), reason=reason),
                done=lambda done: f"Cancelled: from number {done.number} on it does not count.",
            )
            return go(page)
        effects, refusal = _effects(lambda: effect_of_cancelling(**key))
        return confirmation(
            request,
            admin=self,
            title=f"Cancel event {event.pk}",
            effect=self._told(event, effects, lambda: cancel_event(**key, **PREVIEW)),
            warnings=[refusal] if refusal else [],
            form=form,
            submit="Cancel the event",
            back=page,
            dangerous=True,
            row=event,
        )

    @action(description="Amend", url_path="amend")
    def amend(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Put another event in its place: first what is right, then what that does to each meter."""
        event = self._to_correct(request, object_id)
        if (done := chain_of(number=event.pk)).last != event.pk:
            messages.info(request, "This event was replaced: correct the one that counts in its place.")
            return go(reverse("admin:metering_usageevent_change", args=[done.last]))
        key = {"customer_id": event.customer_id, "idempotency_key": event.idempotency_key}
        page = reverse("admin:metering_usageevent_change", args=[event.pk])
        form = AmendForm(request.POST or None, initial=_initial(event_life(number=event.pk)))
        effect: str | SafeString = (
            "Change what is wrong. Another event takes this one's place; this one stays as it was accepted."
        )
        seen = ""
        if form.is_valid():
            try:
                changes = form.changes()
                effects = effect_of_amending(**key, changes=changes)
                effect = self._told(event, effects, lambda: amend_event(**key, changes=changes, **PREVIEW))
                # Who confirms has seen these changes with this effect; where either is another by now, the page is shown again.
                seen = digest_of([repr(changes), str(effect)])
            except BillingError as problem:
                add_field_errors(form, problem, renamed={f"changes.{name}": name for name in form.fields})
        if seen and request.POST.get("confirmed") == seen:
            reason = form.cleaned_data["reason"]
            done = attempt(
                request,
                lambda: amend_event(**key, changes=changes, actor=actor_of(request), reason=reason),
                done=lambda done: f"Amended: event {done.replacement_number} counts in its place.",
            )
            return go(reverse("admin:metering_usageevent_change", args=[done.replacement_number]) if done else page)
        return confirmation(
            request,
            admin=self,
            title=f"Amend event {event.pk}",
            effect=effect,
            form=form,
            submit="Amend the event" if seen else "See the effect",
            hidden=[("confirmed", seen)] if seen else [],
            warnings=[CHANGED_SINCE] if seen and request.POST.get("confirmed") else [],
            back=page,
            row=event,
        )

    def _told(
        self, event: UsageEvent, effects: list[MeterEffect], correct: Callable[[], EventCancellation]
    ) -> str | SafeString:
        """Say what a correction does: first to quantities, then, where those who bill know it, to money."""
        if not effects:
            return "No quantity changes: no meter counts this event."
        return format_html("{}{}", effect_text(effects, ""), self.money_effect(event, correct))

    def _to_correct(self, request: HttpRequest, object_id: str) -> UsageEvent:
        event: UsageEvent = self.row_or_404(request, object_id)
        if not request.user.has_perm(CORRECT):
            raise PermissionDenied
        return event


PREVIEW = {"actor": "preview", "reason": "preview"}
CHANGED_SINCE = "What you entered, or its effect, is not what the page showed before: look at it again."


def effect_text(effects: list[MeterEffect], nothing: str) -> str | SafeString:
    """Write what a correction does to each meter's quantity of the month."""
    if not effects:
        return nothing
    return format_html_join(
        "",
        '<span class="bo-line">{}, {} (UTC): {} → {} ({}{})</span>',
        (
            (
                one.meter.name,
                f"{one.month.start:%Y-%m}",
                quantity(one.before),
                quantity(one.after, one.meter.unit),
                "−" if one.change < 0 else "+" if one.change else "±",
                quantity(abs(one.change)),
            )
            for one in effects
        ),
    )


def _effects(ask: Callable[[], list[MeterEffect]]) -> tuple[list[MeterEffect], str]:
    try:
        return ask(), ""
    except BillingError as problem:
        return [], problem.message


def _initial(life: EventLife) -> dict[str, Any]:
    event = life.event
    return {
        "event_type": event.event_type,
        "quantity": plain(event.quantity),
        "timestamp": event.timestamp.isoformat().replace("+00:00", "Z"),
        "namespace_id": event.namespace_id,
        "properties": _content(life),
    }


def _content(life: EventLife) -> str:
    return stored_json_text(life.properties_text) if life.properties else ""
