"""`manage.py backtest`: what other terms would have done to everybody who was late, however many they are."""

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing_site.kernel.clock import now
from dunning.backtest_words import count_rows, difference_lines, effect_words
from dunning.backtesting import DAYS, Trial, backtest, late_customers
from dunning.core.policy import TermsMistake, read_terms
from dunning.policies.models import PolicyVersion
from invoicing.reports.tabular import csv_lines


class Command(BaseCommand):
    """Compare terms with the policies in force over the last days."""

    help = "Say what terms would have done over the last days, beside the policies that were in force, to everybody who was late."

    def add_arguments(self, parser: CommandParser) -> None:
        """Ask for the terms."""
        parser.add_argument("terms", type=Path, help="a file of terms as a version of a policy has them, JSON")
        parser.add_argument("--policy", default="", help="in place of which policy; every one where none is named")
        parser.add_argument("--days", type=int, default=DAYS, help="over how many days (%(default)s)")
        parser.add_argument("--csv", type=Path, help="write whoever differs into this file")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the counts, and write the file."""
        at, days = now(), options["days"]
        if not 1 <= days <= 365:
            raise CommandError("--days lies between 1 and 365")
        if options["policy"] and not PolicyVersion.objects.filter(key=options["policy"]).exists():
            raise CommandError(f"there is no dunning policy {options['policy']!r}")
        try:
            terms = read_terms(json.loads(options["terms"].read_text()))
        except (OSError, ValueError, TermsMistake) as problem:
            raise CommandError(f"{options['terms']}: {problem}") from problem
        customers = late_customers(at=at, days=days)
        found = backtest(trial=Trial(terms, options["policy"]), at=at, days=days, customers=customers)
        self.stdout.write(f"{len(customers):,} customers were late in the last {days} days. {effect_words(found)}")
        for words, before, after, difference in count_rows(found):
            self.stdout.write(
                f"{words:<16} in force {before:>9,}   these terms {after:>9,}   difference {difference:>+9,}"
            )
        if options["csv"]:
            with options["csv"].open("w", newline="") as sink:
                sink.writelines(csv_lines(rows=difference_lines(found)))
            self.stdout.write(f"{len(found.differences):,} customers who differ are in {options['csv']}")
