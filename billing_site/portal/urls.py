"""The portal's addresses."""

from django.urls import path

from billing_site.portal import views

app_name = "portal"

urlpatterns = [
    path("", views.home, name="home"),
    path("invoices/", views.invoices, name="invoices"),
    path("invoices/<str:number>/", views.invoice, name="invoice"),
    path("invoices/<str:number>/proof.json", views.proof, name="proof"),
    path("invoices/<str:number>/events.ndjson", views.events, name="events"),
    path("invoices/<str:number>/inclusion.json", views.inclusion, name="inclusion"),
    path("invoices/<str:number>/lines/<int:position>/", views.line_usage, name="line-usage"),
    path("invoices/<str:number>/event/", views.event, name="event"),
    path("invoices/<str:number>/pay/", views.pay, name="pay"),
    path("statement/", views.statement_of_a_year, name="statement-page"),
    path("card/", views.card, name="card"),
    path("card/leave/", views.leave_card, name="leave-card"),
    path("check_invoice.py", views.checker, name="checker"),
    path("credit/", views.credit, name="credit"),
    path("notices/", views.notices, name="notices"),
    path("notices/<int:number>/", views.notice, name="notice"),
    path("alerts/", views.alerts, name="alerts"),
    path("saving/", views.saving, name="saving"),
    path("data/", views.data, name="data"),
    path("data/statement.csv", views.statement, name="statement"),
    path("data/account.zip", views.export, name="export"),
    path("enter/<str:token>/", views.enter, name="enter"),
    path("leave/", views.leave, name="leave"),
    path("left/", views.left, name="left"),
]
