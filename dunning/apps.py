"""Django's registration of this app."""

from django.apps import AppConfig


class DunningConfig(AppConfig):
    """The app as Django sees it."""

    name = "dunning"
    label = "dunning"
    verbose_name = "Dunning"
