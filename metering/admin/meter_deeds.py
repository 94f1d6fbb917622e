"""What may be done with a meter beside naming it: dating it back, and rebuilding its windows; each says its effect first."""

from datetime import timedelta
from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from billing_site.display.admin import (
    ConfirmedTable,
    ReasonForm,
    StaffAdmin,
    actor_of,
    add_field_errors,
    attempt,
    confirmation,
    go,
)
from billing_site.display.figures import quantity
from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError
from billing_site.kernel.period import Period, as_utc
from metering.models import Meter
from metering.operations import backdate_meter
from metering.queries.backdating import BackdatingPreview, preview_backdating
from metering.replaying import Replay, preview_replay, replay_windows

REBUILT_DAYS_MAX = 400
_TIME = forms.DateTimeInput(
    attrs={"type": "datetime-local", "class": "bo-input"},
    format="%Y-%m-%dT%H:%M",
)


class BackdatingForm(ReasonForm):
    """From when the meter is to count."""

    effective_from = forms.DateTimeField(widget=_TIME, label="Count from (UTC)")
    field_order = ("effective_from", "reason")


class RebuildForm(ReasonForm):
    """Which hours are counted again."""

    start = forms.DateTimeField(widget=_TIME, label="From (UTC)")
    end = forms.DateTimeField(widget=_TIME, label="Before (UTC)")
    field_order = ("start", "end", "reason")

    def clean(self) -> dict[str, Any]:
        """Refuse a period that is none, or so long that nobody would wait for it."""
        cleaned = super().clean() or {}
        start, end = cleaned.get("start"), cleaned.get("end")
        if start and end and not timedelta(0) < end - start <= timedelta(days=REBUILT_DAYS_MAX):
            self.add_error("end", f"must be after the start, by {REBUILT_DAYS_MAX} days at most")
        return cleaned

    @property
    def period(self) -> Period:
        """The period to count again."""
        return Period(as_utc(self.cleaned_data["start"]), as_utc(self.cleaned_data["end"]))


def date_back(admin: StaffAdmin, request: HttpRequest, meter: Meter) -> HttpResponse:
    """Ask for the date, show what it would count, then date the meter back."""
    page = reverse("admin:metering_meter_change", args=[meter.pk])
    form = BackdatingForm(request.POST or None)
    effect = f"{meter.key} counts from {meter.effective_from:%Y-%m-%d %H:%M} UTC on. Say from when it should."
    preview = None
    if form.is_valid():
        try:
            preview = preview_backdating(meter_key=meter.key, effective_from=form.cleaned_data["effective_from"])
            effect = _backdating_effect(preview)
        except BillingError as problem:
            add_field_errors(form, problem)
    seen = f"{preview.period.start.isoformat()} {preview.event_count}" if preview is not None else ""
    if preview is not None and request.POST.get("confirmed") == seen:
        moment, reason = preview.period.start, form.cleaned_data["reason"]
        attempt(
            request,
            lambda: backdate_meter(key=meter.key, effective_from=moment, actor=actor_of(request), reason=reason),
            done=lambda dated: f"{dated.key} counts from {dated.effective_from:%Y-%m-%d %H:%M} UTC on.",
        )
        return go(page)
    return confirmation(
        request,
        admin=admin,
        title=f"Date {meter.key} back",
        effect=effect,
        table=_backdating_table(preview) if preview else None,
        form=form,
        submit="Date the meter back" if preview else "See the effect",
        # Who confirms has seen this date and this number; with another date, or if more has arrived since, the page is shown again.
        hidden=[("confirmed", seen)] if preview else [],
        back=page,
        row=meter,
    )


def rebuild(admin: StaffAdmin, request: HttpRequest, meter: Meter) -> HttpResponse:
    """Ask for the period, show what differs, then replace the windows that do."""
    page = reverse("admin:metering_meter_change", args=[meter.pk])
    month = now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    form = RebuildForm(
        request.POST or None, initial={"start": month, "end": (month + timedelta(days=31)).replace(day=1)}
    )
    effect = (
        "Hours are counted again from raw events and compared with their windows. Nothing changes before you confirm."
    )
    replay = None
    if form.is_valid():
        replay = preview_replay(meter_key=meter.key, period=form.period)
        effect = _replay_effect(replay)
        if request.POST.get("confirmed") and replay.difference_count:
            period, reason = form.period, form.cleaned_data["reason"]
            attempt(
                request,
                lambda: replay_windows(meter_key=meter.key, period=period, actor=actor_of(request), reason=reason),
                done=lambda done: (
                    f"Rebuilt: {done.difference_count} of {done.window_count} windows say what their events do."
                ),
            )
            return go(page)
    found = replay is not None and replay.difference_count > 0
    return confirmation(
        request,
        admin=admin,
        title=f"Rebuild windows of {meter.key}",
        effect=effect,
        table=_replay_table(replay) if replay and found else None,
        form=form,
        submit="Rebuild what differs" if found else "Count again and compare",
        hidden=[("confirmed", "1")] if found else [],
        back=page,
        dangerous=found,
        row=meter,
    )


def _backdating_effect(preview: BackdatingPreview) -> str:
    if not preview.event_count:
        return f"No event is between {preview.period.start:%Y-%m-%d %H:%M} and {preview.period.end:%Y-%m-%d %H:%M} UTC."
    return (
        f"{preview.event_count:,} events of {preview.customer_count:,} customers would count, from"
        f" {preview.period.start:%Y-%m-%d %H:%M} to {preview.period.end:%Y-%m-%d %H:%M} UTC."
        " What is billed already stays as it was known; the difference is late usage."
    )


def _backdating_table(preview: BackdatingPreview) -> ConfirmedTable | None:
    if not preview.customers:
        return None
    left_out = preview.customer_count - len(preview.customers)
    return ConfirmedTable(
        titles=("Customer", "Events", "Quantity"),
        rows=[
            (one.customer_id, quantity(one.event_count), quantity(one.quantity, preview.meter.unit))
            for one in preview.customers
        ],
        more=f"and {left_out:,} customers with fewer events" if left_out else "",
    )


def _replay_effect(replay: Replay) -> str:
    span = f"{replay.period.start:%Y-%m-%d %H:%M} to {replay.period.end:%Y-%m-%d %H:%M} UTC"
    left_out = (
        f" {replay.archived_count:,} more hold archived events and were not compared." if replay.archived_count else ""
    )
    if not replay.difference_count:
        return (
            f"All {replay.window_count:,} windows from {span} say what their raw events do: there is nothing to rebuild."
            f"{left_out}"
        )
    return f"{replay.difference_count:,} of {replay.window_count:,} windows from {span} differ from their raw events.{left_out}"


def _replay_table(replay: Replay) -> ConfirmedTable:
    left_out = replay.difference_count - len(replay.differences)
    return ConfirmedTable(
        titles=("Customer and hour (UTC)", "Stored", "Counted again", "Events stored", "counted again"),
        rows=[
            (
                f"{one.customer_id} {one.start:%Y-%m-%d %H:%M} {one.grouping}".strip(),
                quantity(one.stored_value),
                quantity(one.recounted_value),
                quantity(one.stored_count),
                quantity(one.recounted_count),
            )
            for one in replay.differences
        ],
        more=f"and {left_out:,} more" if left_out else "",
    )
