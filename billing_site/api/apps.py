"""Django's registration of this app."""

from django.apps import AppConfig


class ApiConfig(AppConfig):
    """The app as Django sees it."""

    name = "billing_site.api"
    label = "api"
    verbose_name = "Machine access"

    def ready(self) -> None:
        """Let the schema generator know our authentication; it finds extensions by their import."""
        from billing_site.api import schema  # noqa: F401
