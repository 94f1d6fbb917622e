"""`manage.py replay_dead_letters`: read dead letters again, after what was wrong is mended."""

import argparse
import sys
from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError
from metering.collecting.models import DeadLetter, Outcome
from metering.collecting.replay import ReplayReport, preview_replay, replay_dead_letters

BATCH_LETTERS = 1_000
ACTOR = "replay_dead_letters"


class Command(BaseCommand):
    """Replay dead letters."""

    help = (
        "Read waiting dead letters again: what is an event now is accepted, the rest stays listed. "
        "Exit 1 if any is refused again or conflicts."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("--source", help="only those of this file, or TOPIC/PARTITION")
        parser.add_argument("--code", help="only those refused with this code, such as out_of_range")
        parser.add_argument("--dry-run", action="store_true", help="say what would happen, change nothing")
        parser.add_argument("--reason", default="", help="why; stands with each letter that is settled")

    def handle(self, *args: Any, **options: Any) -> None:
        """Replay in batches of a thousand and print one line."""
        letters = DeadLetter.objects.filter(outcome=Outcome.WAITING)
        for name in ("source", "code"):
            letters = letters.filter(**{name: options[name]}) if options[name] else letters
        counts: Counter[str] = Counter()
        after = 0
        try:
            while ids := list(letters.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True)[:BATCH_LETTERS]):
                report = _replayed(
                    ids, is_dry_run=options["dry_run"], reason=options["reason"] or "replayed by command"
                )
                counts.update(verdict.outcome for verdict in report.verdicts)
                self._tell_refusals(report)
                after = ids[-1]
        except BillingError as error:
            raise CommandError(error.message) from None
        prefix = "would be: " if options["dry_run"] else ""
        self.stdout.write(
            f"{prefix}accepted {counts['accepted']}, duplicates {counts['duplicate']}, "
            f"conflicts {counts['conflict']}, refused {counts['refused']}"
        )
        if counts["conflict"] or counts["refused"]:
            sys.exit(1)

    def _tell_refusals(self, report: ReplayReport) -> None:
        for verdict in report.verdicts:
            if verdict.outcome in ("refused", "conflict"):
                told = f"{verdict.field} {verdict.message}" if verdict.field else verdict.message
                self.stderr.write(f"{verdict.place}: {told}")


def _replayed(ids: list[int], *, is_dry_run: bool, reason: str) -> ReplayReport:
    if is_dry_run:
        return preview_replay(ids=ids, at=now())
    return replay_dead_letters(ids=ids, at=now(), actor=ACTOR, reason=reason)
