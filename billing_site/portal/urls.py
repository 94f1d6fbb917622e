"""The portal's addresses."""

from django.urls import path

from billing_site.portal import views

app_name = "portal"

urlpatterns = [
    path("", views.home, name="home"),
    path("invoices/", views.invoices, name="invoices"),
    path("invoices/<str:number>/", views.invoice, name="invoice"),
    path("credit/", views.credit, name="credit"),
    path("alerts/", views.alerts, name="alerts"),
    path("saving/", views.saving, name="saving"),
    path("enter/<str:token>/", views.enter, name="enter"),
    path("leave/", views.leave, name="leave"),
    path("left/", views.left, name="left"),
]
