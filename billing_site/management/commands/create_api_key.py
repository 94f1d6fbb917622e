"""`manage.py create_api_key`: a key for a machine, printed once."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing_site.api.operations import create_api_key
from billing_site.api.scopes import SCOPES
from billing_site.kernel.errors import BillingError


class Command(BaseCommand):
    """Print a new API key, alone on standard output."""

    help = "Make an API key and print it, once. Only its digest is kept."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare NAME, --scope (repeatable) and --customer."""
        parser.add_argument("name", metavar="NAME", help="what the key is for, or who has it")
        parser.add_argument(
            "--scope", action="append", required=True, metavar="S", help=f"repeatable; one of {', '.join(SCOPES)}"
        )
        parser.add_argument("--customer", default="", metavar="KEY", help="bind the key to one customer's resources")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make the key."""
        try:
            key = create_api_key(name=options["name"], scopes=options["scope"], customer_key=options["customer"])
        except BillingError as problem:
            raise CommandError(problem.message) from None
        self.stdout.write(key)
