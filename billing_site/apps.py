"""Django's registration of this app."""

from django.apps import AppConfig


class BillingSiteConfig(AppConfig):
    """The app as Django sees it."""

    name = "billing_site"
    label = "billing_site"
    verbose_name = "Billing site"

    def ready(self) -> None:
        """Register the system checks, and what names the jobs of a worker."""
        from billing_site import checks  # noqa: F401 - registers itself; it needs the settings to be there
        from billing_site.kernel import jobs  # noqa: F401 - hears of each job that begins
