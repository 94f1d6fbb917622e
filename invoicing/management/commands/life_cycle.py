"""`manage.py life_cycle`: the table of the life of a customer, as docs/life-cycle.md has it."""

from typing import Any

from django.core.management.base import BaseCommand

from invoicing.core.life_cycle import life_cycle_page


class Command(BaseCommand):
    """Print the table."""

    help = "Print the states of a customer, and each move between them with what it does to billing."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the page."""
        self.stdout.write(life_cycle_page(), ending="")
