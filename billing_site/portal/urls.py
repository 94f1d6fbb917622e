"""The portal's addresses."""

from django.urls import path

from billing_site.portal import views

app_name = "portal"

urlpatterns = [
    path("", views.home, name="home"),
    path("enter/<str:token>/", views.enter, name="enter"),
    path("leave/", views.leave, name="leave"),
]
