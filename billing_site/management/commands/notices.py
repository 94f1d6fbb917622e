"""`manage.py notices`: what customers are told and when, as docs/notices.md has it."""

from typing import Any

from django.core.management.base import BaseCommand

from dunning.core.built_in.page import notices_page


class Command(BaseCommand):
    """Print the page."""

    help = "Print the escalation paths and the words of the notices that come with the product."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the page."""
        self.stdout.write(notices_page(), ending="")
