"""`manage.py invoice_life`: the table of the life of an invoice, as docs/invoice-life.md has it."""

from typing import Any

from django.core.management.base import BaseCommand

from invoicing.core.invoice_life import invoice_life_page


class Command(BaseCommand):
    """Print the table."""

    help = "Print the stages of an invoice, and each move between them."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the page."""
        self.stdout.write(invoice_life_page(), ending="")
