"""`manage.py verify`: every number is still what it was proven to be, or it is named."""

import sys
from argparse import ArgumentParser
from itertools import groupby
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.table import Table

from billing_site.kernel import clock
from billing_site.kernel.errors import BillingError
from dunning.faults import check_dunning_holds
from invoicing.evidence.anchors import read_document
from invoicing.workflows.unbilled_usage import UnbilledUsage, unbilled_usage
from invoicing.workflows.verify import CHAIN_CHECKS, CHECKS, verify, verify_chains

# Of the apps above invoicing, which does not know them.
BESIDE = (check_dunning_holds,)


class Command(BaseCommand):
    """Verify books, numbers, seals, lines and events."""

    help = "Check seals, balanced books, gapless numbers, conservation of events and re-rating; exit 1 with a table if anything differs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--anchor",
            type=Path,
            action="append",
            default=[],
            metavar="FILE",
            help="An anchor that was kept; may repeat.",
        )
        parser.add_argument("--chains", action="store_true", help="Walk the chains only; count and rate nothing again.")

    def handle(self, *args: Any, anchor: list[Path], chains: bool, **options: Any) -> None:
        """Run the checks; exit 1 if anything was found."""
        kept = [_read(file) for file in anchor]
        findings = verify_chains(anchors=kept) if chains else verify(anchors=kept, beside=BESIDE)
        console = Console()
        if not findings:
            checks = CHAIN_CHECKS if chains else (*CHECKS, *BESIDE)
            names = ", ".join(check.__name__.removeprefix("check_").replace("_", " ") for check in checks)
            console.print(f"[green]all equal[/green]: {names}", soft_wrap=True)
            if not chains:
                _print_unbilled(console)
            return
        table = Table(title=f"{len(findings)} findings", title_justify="left")
        for heading in ("Check", "Subject", "Difference"):
            table.add_column(heading, overflow="fold")
        for finding in findings:
            table.add_row(finding.check, finding.subject, finding.message)
        console.print(table)
        sys.exit(1)


def _read(file: Path) -> dict[str, Any]:
    try:
        return read_document(text=file.read_text())
    except OSError as problem:
        raise CommandError(f"{file}: {problem.strerror}") from problem
    except BillingError as problem:
        raise CommandError(f"{file} {problem.message}") from problem


def _print_unbilled(console: Console) -> None:
    """List what nobody is charged for: nothing is lost, but somebody should know."""
    for reason, rows in groupby(sorted(unbilled_usage(at=clock.now()), key=_reason), key=_reason):
        found = list(rows)
        events = sum(row.event_count for row in found)
        customers = len({row.customer_id for row in found})
        console.print(f"not billed: {events} events of {customers} customers: {reason}", soft_wrap=True)


def _reason(row: UnbilledUsage) -> str:
    return row.reason.value
