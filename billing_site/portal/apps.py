"""Django's registration of this app."""

from django.apps import AppConfig


class PortalConfig(AppConfig):
    """The app as Django sees it."""

    name = "billing_site.portal"
    label = "portal"
    verbose_name = "Portal"
