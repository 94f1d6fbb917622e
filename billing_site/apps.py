"""Django's registration of this app."""

from django.apps import AppConfig


class BillingSiteConfig(AppConfig):
    """The app as Django sees it."""

    name = "billing_site"
    label = "billing_site"
    verbose_name = "Billing site"
