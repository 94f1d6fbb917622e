"""Which face answers which address."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from billing_site.drills.page import drill, end_drill

# Browsers ask for it wherever a page names no icon.
ICON = f"{settings.STATIC_URL}billing/backoffice-icon.svg"

urlpatterns = [
    path("favicon.ico", RedirectView.as_view(url=ICON)),
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/drill/", admin.site.admin_view(drill), name="drill"),
    path("admin/drill/end/", admin.site.admin_view(end_drill), name="end-drill"),
    path("admin/", admin.site.urls),
    path("portal/", include("billing_site.portal.urls")),
    path("", include("billing_site.api.urls")),
]
# Anymail's views take what anybody says where no secret is set: then there are none.
if settings.MAIL_WEBHOOK_SECRET:
    urlpatterns.append(path("webhooks/mail/", include("anymail.urls")))
