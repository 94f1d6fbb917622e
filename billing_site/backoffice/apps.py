"""Django's registration of the admin site and of the pages around it."""

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class BackofficeConfig(AppConfig):
    """The app that owns the index, the theme and the cross-app pages of the admin."""

    name = "billing_site.backoffice"
    label = "backoffice"
    verbose_name = "Back office"


class BackofficeAdminConfig(AdminConfig):
    """django.contrib.admin with our site as `admin.site`."""

    default_site = "billing_site.backoffice.site.BackofficeSite"
