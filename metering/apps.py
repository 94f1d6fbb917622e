"""Django's registration of this app."""

from django.apps import AppConfig


class MeteringConfig(AppConfig):
    """The app as Django sees it."""

    name = "metering"
    label = "metering"
    verbose_name = "Metering"
