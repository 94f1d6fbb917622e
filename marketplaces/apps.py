"""Django's registration of this app."""

from django.apps import AppConfig


class MarketplacesConfig(AppConfig):
    """The app as Django sees it."""

    name = "marketplaces"
    label = "marketplaces"
    verbose_name = "Marketplaces"
