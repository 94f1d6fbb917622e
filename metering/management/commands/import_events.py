"""`manage.py import_events`: usage events from a file of any size."""

import argparse
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError
from metering.collecting.arguments import add_mapping_arguments, mapping_of_options
from metering.importing import ImportProgress, RejectedRows, import_rows
from metering.reading import RowFile


class Command(BaseCommand):
    """Import usage events."""

    help = (
        "Import usage events from CSV, NDJSON, a JSON array or an access log, plain or .gz. A file may be imported again: "
        "what was accepted before is counted as duplicate. Exit 1 if any row was rejected."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("file", type=Path, metavar="FILE")
        add_mapping_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Import and print one line; raises CommandError for arguments that make no sense."""
        path: Path = options["file"]
        notices = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
        rejected = RejectedRows(path)
        progress = ImportProgress()
        problem = ""
        try:
            mapping = mapping_of_options(options)
            if mapping.zone is not None:
                notices.print(f"timestamps without an offset are read as {mapping.zone}")
            with RowFile(path, mapping.preset) as file, _bar(notices) as bar:
                task = bar.add_task(path.name, total=file.size)
                for _ in import_rows(
                    file=file, mapping=mapping, rejected=rejected, progress=progress, received_at=now()
                ):
                    bar.update(task, completed=progress.position)
        except BillingError as error:
            problem = error.message
        except OSError as error:
            problem = f"{path}: {error.strerror or error}"
        finally:
            rejected.close()
        if problem and not progress.rows:
            raise CommandError(problem)
        if progress.rejected:
            notices.print(f"the rejected rows and the reasons are in {rejected.path}")
        counts = progress.receipt
        self.stdout.write(f"accepted {counts.accepted}, duplicates {counts.duplicates}, rejected {progress.rejected}")
        if problem:
            raise CommandError(f"after row {progress.rows}: {problem}")
        if progress.rejected:
            sys.exit(1)


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
