"""The addresses of metering, relative to /api/v1/."""

from django.urls import path

from metering.api import EventsView, MetersView, MeterView, UsageView

urlpatterns = [
    path("events", EventsView.as_view(), name="events"),
    path("usage", UsageView.as_view(), name="usage"),
    path("meters", MetersView.as_view(), name="meters"),
    path("meters/<str:key>", MeterView.as_view(), name="meter"),
]
