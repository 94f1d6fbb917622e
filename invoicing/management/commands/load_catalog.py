"""`manage.py load_catalog FILE`: meters, products, plans and prices from JSON or YAML."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing_site.kernel import clock
from billing_site.kernel.errors import BillingError
from invoicing.catalog.file import read_catalog_file
from invoicing.workflows.publish_prices import load_prices


class Command(BaseCommand):
    """Load a catalog file."""

    help = "Load meters, products, plans and prices from a JSON or YAML file; a changed price makes a new plan version."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the file."""
        parser.add_argument("file", type=Path, metavar="FILE")

    def handle(self, *args: Any, **options: Any) -> None:
        """Load the file and print what it changed."""
        try:
            document = read_catalog_file(path=options["file"])
            summary = load_prices(
                document=document, at=clock.now(), actor="load_catalog", reason=f"file {options['file'].name}"
            )
        except BillingError as problem:
            for error in problem.field_errors:
                self.stderr.write(f"{error.field}: {error.message}")
            raise CommandError(f"{options['file']} was not loaded: {problem}") from problem
        for verb, things in (("created", summary.created), ("changed", summary.changed)):
            for thing in things:
                self.stdout.write(f"{verb} {thing}")
        self.stdout.write(
            f"created {len(summary.created)}, changed {len(summary.changed)}, unchanged {len(summary.unchanged)}"
        )
