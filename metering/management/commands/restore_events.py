"""`manage.py restore_events`: a purged month of events back from the archive."""

import argparse
from datetime import UTC, date, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing_site.kernel.errors import BillingError
from metering.archiving.restore import restore_month


class Command(BaseCommand):
    """Restore a month."""

    help = (
        "Put the events of a purged month of receipt back, under their numbers, after every file was checked against "
        "its digest. A month comes back as a whole: --day names the month of that day."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("--month", type=_month, metavar="2026-03")
        which.add_argument("--day", type=_day, metavar="2026-03-17", dest="month")

    def handle(self, *args: Any, **options: Any) -> None:
        """Restore and print one line; raises CommandError where a file is not what was archived."""
        month: datetime = options["month"]
        try:
            report = restore_month(month=month)
        except BillingError as problem:
            raise CommandError(problem.message) from problem
        if not report.days:
            self.stdout.write(f"{month:%Y-%m} is here: nothing was purged of it, or it was restored already")
            return
        self.stdout.write(
            f"{month:%Y-%m}: {report.events} events of {len(report.days)} days restored, "
            f"{report.settled_hours} hours that waited for them counted again"
        )


def _month(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a month: write 2026-03") from None


def _day(text: str) -> datetime:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day: write 2026-03-17") from None
    return datetime(day.year, day.month, 1, tzinfo=UTC)
