"""`manage.py archive_events`: every closed day of events as a file of the archive."""

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing_site.display.figures import bytes_text
from billing_site.kernel.errors import BillingError
from metering.archiving.export import archive_closed_days


class Command(BaseCommand):
    """Archive closed days."""

    help = (
        "Archive the closed UTC days of usage events that are not archived yet, each as one compressed file with its "
        "digests. The job schedule does this every night; running it again makes nothing new."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("--days", type=int, metavar="N", help="archive at most so many days, the oldest first")

    def handle(self, *args: Any, **options: Any) -> None:
        """Archive and print one line a day; raises CommandError where a file does not read back as it was written."""
        if options["days"] is not None and options["days"] < 1:
            raise CommandError("--days is a number from 1 on")
        try:
            report = archive_closed_days(days_max=options["days"])
        except BillingError as problem:
            raise CommandError(problem.message) from problem
        for row in report.archived:
            self.stdout.write(f"{row.day}  {row.event_count} events  {bytes_text(row.size_bytes)}  {row.file_digest}")
        self.stdout.write(f"{len(report.archived)} days archived, {report.days_left} left")
