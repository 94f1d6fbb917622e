"""The addresses of metering, relative to /api/v1/."""

from django.urls import path

from metering.api import EventsView, MetersView, MeterView, UsageView
from metering.event_api import CorrectionsView, EventConflictsView, EventView, UnappliedEventsView

urlpatterns = [
    path("events", EventsView.as_view(), name="events"),
    path("events/corrections", CorrectionsView.as_view(), name="corrections"),
    path("events/conflicts", EventConflictsView.as_view(), name="event_conflicts"),
    path("events/unapplied", UnappliedEventsView.as_view(), name="unapplied_events"),
    # Keys may hold slashes. An event whose key is one of the three names above is read by none but people.
    path("events/<path:idempotency_key>", EventView.as_view(), name="event"),
    path("usage", UsageView.as_view(), name="usage"),
    path("meters", MetersView.as_view(), name="meters"),
    path("meters/<str:key>", MeterView.as_view(), name="meter"),
]
