"""Django's registration of this app."""

from django.apps import AppConfig


class ApiConfig(AppConfig):
    """The app as Django sees it."""

    name = "billing_site.api"
    label = "api"
    verbose_name = "Machine access"
