"""`manage.py purge_events`: which months of events may leave the database, and with CONFIRM their departure."""

import argparse
import getpass
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.table import Table

from billing_site.display.figures import bytes_text
from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError
from metering.archiving.purge import look_at_retention, purge_events
from metering.archiving.retention import Retention

WORD = "CONFIRM"


class Command(BaseCommand):
    """Say what could be purged; purge it when told so twice (S2-033, S2-035)."""

    help = (
        "Show which months of usage events may leave the database, and why the others may not. Nothing is purged "
        f"without --apply and the word {WORD}. What is purged stays in the archive and can be restored."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("--apply", action="store_true", help=f"purge the months that may go; asks for {WORD}")
        parser.add_argument("--confirm", metavar=WORD, help="the word, where nobody is there to be asked")
        parser.add_argument("--actor", help="who stands in the record (default: the user of this machine)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the months, and purge where that is confirmed; raises CommandError where it is not, or is refused."""
        actor = options["actor"] or getpass.getuser()
        looked_at = look_at_retention(at=now(), actor=actor)
        self._print(looked_at)
        if not options["apply"]:
            self.stdout.write("Nothing was purged: this was a dry run. --apply purges the months that may go.")
            return
        if not looked_at.ready:
            self.stdout.write("Nothing was purged: no month may go.")
            return
        self._confirm(looked_at, given=options["confirm"])
        try:
            report = purge_events(at=now(), actor=actor)
        except BillingError as problem:
            raise CommandError(f"nothing was purged: {problem.message}") from problem
        for month in report.purged:
            self.stdout.write(f"{month.name}: {month.event_count} events purged; the archive holds them")
        if report.refused:
            raise CommandError("; ".join(f"{name} stays: {why}" for name, why in report.refused))

    def _confirm(self, looked_at: Retention, *, given: str | None) -> None:
        if given is None:
            events = sum(month.event_count for month in looked_at.ready)
            try:
                given = input(f"{events} events leave the database. Type {WORD} to purge them: ")
            except EOFError:
                given = ""
        if given != WORD:
            raise CommandError(f"nothing was purged: {WORD} was not given")

    def _print(self, looked_at: Retention) -> None:
        console = Console(file=self.stdout, soft_wrap=True, highlight=False, markup=False)  # type: ignore[arg-type]
        table = Table(box=None, pad_edge=False)
        for title in ("month", "events", "size", "windows", "may go?"):
            table.add_column(title, justify="left" if title in ("month", "may go?") else "right")
        for month in looked_at.months:
            table.add_row(
                month.name,
                f"{month.event_count:,}",
                bytes_text(month.month.bytes_used),
                f"{month.windows:,}" if month.windows else "",
                "yes" if month.may_go else f"no: {'; '.join(month.reasons)}",
            )
        console.print(table)
        console.print(f"Events accepted from {looked_at.needed_from:%Y-%m-%d} on are needed in any case.")
