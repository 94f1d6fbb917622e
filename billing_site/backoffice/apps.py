"""Django's registration of the admin site and of the pages around it."""

from importlib import import_module

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

    def ready(self) -> None:
        """Let every app register its admin, then dress those of other packages."""
        super().ready()
        import_module("billing_site.backoffice.other_packages")
