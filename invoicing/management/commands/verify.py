"""`manage.py verify`: every number is still what it was proven to be, or it is named."""

import sys
from itertools import groupby
from typing import Any

from django.core.management.base import BaseCommand
from rich.console import Console
from rich.table import Table

from billing_site.kernel import clock
from invoicing.workflows.unbilled_usage import UnbilledUsage, unbilled_usage
from invoicing.workflows.verify import CHECKS, verify


class Command(BaseCommand):
    """Verify books, numbers, seals, lines and events."""

    help = "Check seals, balanced books, gapless numbers, conservation of events and re-rating; exit 1 with a table if anything differs."

    def handle(self, *args: Any, **options: Any) -> None:
        """Run every check; exit 1 if anything was found."""
        findings = verify()
        console = Console()
        if not findings:
            names = ", ".join(check.__name__.removeprefix("check_").replace("_", " ") for check in CHECKS)
            console.print(f"[green]all equal[/green]: {names}", soft_wrap=True)
            _print_unbilled(console)
            return
        table = Table(title=f"{len(findings)} findings", title_justify="left")
        for heading in ("Check", "Subject", "Difference"):
            table.add_column(heading, overflow="fold")
        for finding in findings:
            table.add_row(finding.check, finding.subject, finding.message)
        console.print(table)
        sys.exit(1)


def _print_unbilled(console: Console) -> None:
    """List what nobody is charged for: nothing is lost, but somebody should know."""
    for reason, rows in groupby(sorted(unbilled_usage(at=clock.now()), key=_reason), key=_reason):
        found = list(rows)
        events = sum(row.event_count for row in found)
        customers = len({row.customer_id for row in found})
        console.print(f"not billed: {events} events of {customers} customers: {reason}", soft_wrap=True)


def _reason(row: UnbilledUsage) -> str:
    return row.reason.value
