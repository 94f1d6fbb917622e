"""Django's registration of this app."""

from django.apps import AppConfig


class SandboxConfig(AppConfig):
    """The app as Django sees it."""

    name = "billing_site.sandbox"
    label = "sandbox"
    verbose_name = "Sandbox"
