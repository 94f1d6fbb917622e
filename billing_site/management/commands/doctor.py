"""`manage.py doctor`: what is wrong with this installation, and how to mend it."""

import sys
from typing import Any

from django.core.management.base import BaseCommand
from rich.console import Console
from rich.table import Table

from billing_site.serving.diagnosis import State, diagnose

COLOURS = {State.WELL: "green", State.NOTE: "yellow", State.WRONG: "bold red"}


class Command(BaseCommand):
    """Look at everything that can be looked at; exit status 1 if anything is wrong."""

    help = (
        "Check configuration, database, migrations, triggers, queue, Stripe keys, clock; say how to mend what is wrong."
    )
    # The checks are findings here, not a reason to stop before the first one.
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the findings."""
        findings = diagnose()
        table = Table(box=None, pad_edge=False)
        for heading in ("", "What", "Found", "How to mend it"):
            table.add_column(heading, no_wrap=heading in ("", "What"), overflow="fold")
        for finding in findings:
            colour = COLOURS[finding.state]
            table.add_row(f"[{colour}]{finding.state}[/]", finding.subject, finding.found, finding.remedy)
        Console(highlight=False).print(table)
        if any(finding.state is State.WRONG for finding in findings):
            sys.exit(1)
