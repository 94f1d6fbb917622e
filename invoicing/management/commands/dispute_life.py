"""`manage.py dispute_life`: the table of the life of a disputed payment, as docs/dispute-life.md has it."""

from typing import Any

from django.core.management.base import BaseCommand

from invoicing.core.dispute_life import dispute_life_page


class Command(BaseCommand):
    """Print the table."""

    help = "Print the statuses of a disputed payment, and each move between them."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the page."""
        self.stdout.write(dispute_life_page(), ending="")
