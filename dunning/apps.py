"""Django's registration of this app."""

from django.apps import AppConfig


class DunningConfig(AppConfig):
    """The app as Django sees it."""

    name = "dunning"
    label = "dunning"
    verbose_name = "Dunning"

    def ready(self) -> None:
        """Listen to what mail providers tell of mails."""
        from anymail.signals import tracking as told

        from dunning.notices.tracking import hear

        told.connect(hear, dispatch_uid="dunning.notices.tracking.hear")
