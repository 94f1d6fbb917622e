"""The addresses of dunning, relative to /api/v1/."""

from django.urls import path

from dunning.api import FailedPaymentsView

urlpatterns = [path("dunning/process", FailedPaymentsView.as_view())]
