"""`manage.py roles`: who does what, as docs/roles.md has it."""

from typing import Any

from django.core.management.base import BaseCommand

from billing_site.backoffice.responsibilities import roles_page


class Command(BaseCommand):
    """Print the table."""

    help = "Print the groups of staff with what each does, approves and sees."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the page."""
        self.stdout.write(roles_page(), ending="")
