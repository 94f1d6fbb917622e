"""`manage.py watch_events`: usage events from the files that arrive in a folder."""

import argparse
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import InterfaceError, OperationalError, connection

from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError
from metering.collecting.arguments import add_mapping_arguments, mapping_of_options
from metering.collecting.folder import Folder
from metering.collecting.stopping import StopFlag
from metering.collecting.watching import FileReport, take_files
from metering.core.mapping import RowMapping


class Command(BaseCommand):
    """Watch a folder."""

    help = (
        "Import each file that arrives in FOLDER and move it to FOLDER/done, or to FOLDER/failed where it cannot be "
        "read to its end. Refused rows become dead letters. Rename complete files into the folder; a file written "
        "in place is taken when two looks find it unchanged. SIGTERM stops after the batch in hand."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("folder", type=Path, metavar="FOLDER")
        add_mapping_arguments(parser)
        parser.add_argument(
            "--once",
            action="store_true",
            help="look twice, import what is complete, and end; exit 1 if a file failed or a row was refused",
        )
        parser.add_argument(
            "--interval", type=float, default=2, metavar="SECONDS", help="how long to wait between two looks (2)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Watch until told to stop; raises CommandError for arguments that make no sense."""
        try:
            mapping = mapping_of_options(options)
            folder = Folder(options["folder"])
        except BillingError as error:
            raise CommandError(error.message) from None
        except OSError as error:
            raise CommandError(f"{options['folder']}: {error.strerror or error}") from None
        if mapping.zone is not None:
            self.stderr.write(f"timestamps without an offset are read as {mapping.zone}")
        with StopFlag() as flag:
            if options["once"]:
                self._look_twice(folder, mapping, flag, interval=options["interval"])
            else:
                self._watch(folder, mapping, flag, interval=options["interval"])

    def _look_twice(self, folder: Folder, mapping: RowMapping, flag: StopFlag, *, interval: float) -> None:
        try:
            reports = self._look(folder, mapping, flag)
            flag.wait(interval)
            reports += self._look(folder, mapping, flag)
        except (OperationalError, InterfaceError) as error:
            raise CommandError(f"the database is away: {str(error).splitlines()[0]}") from None
        if any(report.problem or report.rejected for report in reports):
            sys.exit(1)

    def _watch(self, folder: Folder, mapping: RowMapping, flag: StopFlag, *, interval: float) -> None:
        while not flag.is_raised():
            try:
                self._look(folder, mapping, flag)
            except (OperationalError, InterfaceError) as error:
                # Nothing is lost: the file lies where it lay, and the next look takes it again.
                self.stderr.write(f"the database is away, looking again: {str(error).splitlines()[0]}")
                connection.close()
            flag.wait(interval)

    def _look(self, folder: Folder, mapping: RowMapping, flag: StopFlag) -> list[FileReport]:
        reports = []
        for report in take_files(folder=folder, mapping=mapping, clock=now, is_stopping=flag.is_raised):
            self.stdout.write(report.sentence())
            self.stdout.flush()
            reports.append(report)
        return reports
