"""Django's registration of this app."""

from django.apps import AppConfig


class InvoicingConfig(AppConfig):
    """The app as Django sees it."""

    name = "invoicing"
    label = "invoicing"
    verbose_name = "Invoicing"
