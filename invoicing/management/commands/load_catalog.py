"""`manage.py load_catalog FILE`: meters, products, plans and prices from JSON or YAML."""

import json
from argparse import ArgumentParser
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml
from django.core.management.base import BaseCommand, CommandError

from billing_site.kernel import clock
from billing_site.kernel.errors import BillingError
from invoicing.catalog.operations import load_catalog


class _ExactLoader(yaml.SafeLoader):
    """YAML without floats: a number with a point is read as Decimal, from its text."""


def _exact(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Decimal:
    return Decimal(str(node.value).replace("_", ""))


_ExactLoader.add_constructor("tag:yaml.org,2002:float", _exact)


class Command(BaseCommand):
    """Load a catalog file."""

    help = "Load meters, products, plans and prices from a JSON or YAML file; a changed price makes a new plan version."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the file."""
        parser.add_argument("file", type=Path, metavar="FILE")

    def handle(self, *args: Any, **options: Any) -> None:
        """Load the file and print what it changed."""
        document = _read(options["file"])
        try:
            summary = load_catalog(
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


def _read(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise CommandError(f"{path} cannot be read: {problem}") from problem
    try:
        if path.suffix.lower() == ".json":
            return json.loads(text, parse_float=Decimal)
        return yaml.load(text, Loader=_ExactLoader)  # noqa: S506 - a SafeLoader without floats
    except (ValueError, yaml.YAMLError, ArithmeticError) as problem:
        raise CommandError(f"{path} is not valid {path.suffix.lstrip('.') or 'YAML'}: {problem}") from problem
