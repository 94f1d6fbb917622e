"""`manage.py anchor`: the head of the chains, now, to be kept where nobody of this house can change it."""

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing_site.kernel import clock
from invoicing.evidence.anchors import document_text, make_anchor


class Command(BaseCommand):
    """Make an anchor and write its document."""

    help = "Take what is new into the chain of evidence and write its head: to standard output, or to a file with --to."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--to", type=Path, default=None, metavar="FILE", help="A file that does not exist yet.")

    def handle(self, *args: Any, to: Path | None, **options: Any) -> None:
        """Make it and write it."""
        if to is not None and to.exists():
            raise CommandError(f"{to} exists: an anchor is kept, not replaced")
        made = make_anchor(at=clock.now())
        if made is None:
            raise CommandError("Nothing is carved in stone yet: there is nothing to anchor.")
        text = document_text(document=made.document)
        if to is None:
            sys.stdout.write(text)
        else:
            to.write_text(text)
