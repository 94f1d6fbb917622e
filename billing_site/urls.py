"""Which face answers which address."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("portal/", include("billing_site.portal.urls")),
    path("", include("billing_site.api.urls")),
]
