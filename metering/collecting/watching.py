"""Watch a folder: import each file that is complete, list its refused rows as dead letters, and move it away.

A file is moved only when everything in it is committed. Killed at any moment, the watcher leaves the file where it
is; read again, its rows have the same keys and are duplicates. Keys depend on row number and content, not on the
name of the file or the folder it lies in.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.db import connection, transaction

from billing_site.kernel.errors import BillingError
from metering.collecting.dead_letters import DeadLetterBox, Origin, dead_letter, shape_in_file, storable
from metering.collecting.folder import DONE, FAILED, Folder
from metering.collecting.models import Collector, Shape
from metering.core.mapping import RowMapping
from metering.importing import ImportProgress, import_rows
from metering.reading import RowFile

# Class of the advisory locks by which two watchers share a folder; the object is a hash of the file's name.
FILE_LOCK = 7_302


@dataclass(frozen=True)
class FileReport:
    """What became of one file; `problem` says why the rest of it could not be read."""

    name: str
    accepted: int
    duplicates: int
    rejected: int
    moved_to: Path | None
    problem: str = ""

    def sentence(self) -> str:
        """Return it as one line."""
        counts = f"accepted {self.accepted}, duplicates {self.duplicates}, rejected {self.rejected}"
        place = f"{self.moved_to.parent.name}/{storable(self.moved_to.name)}" if self.moved_to else "left where it is"
        return f"{self.name}: {counts}; {place}" + (f": {self.problem}" if self.problem else "")


def take_files(
    *, folder: Folder, mapping: RowMapping, clock: Callable[[], datetime], is_stopping: Callable[[], bool]
) -> Iterator[FileReport]:
    """Look at the folder once and import what is complete; a file that another watcher holds is left to it.

    Stops after the batch in hand when `is_stopping` says so. Raises django.db.OperationalError where the
    database is away: the file stays, and a later look takes it again.
    """
    for path in folder.complete():
        if is_stopping():
            return
        with _held(path.name) as is_ours:
            # The other watcher may have moved it between our look and our lock.
            if is_ours and folder.is_unchanged(path):
                report = _take(path, folder=folder, mapping=mapping, received_at=clock(), is_stopping=is_stopping)
                if report is not None:
                    yield report


def _take(
    path: Path, *, folder: Folder, mapping: RowMapping, received_at: datetime, is_stopping: Callable[[], bool]
) -> FileReport | None:
    progress = ImportProgress()
    problem = ""
    try:
        with RowFile(path, mapping.preset) as file:
            origin = Origin(Collector.FILE, path.name, mapping, shape_in_file(file_format=file.format))
            steps = import_rows(
                file=file,
                mapping=mapping,
                rejected=DeadLetterBox(origin),
                progress=progress,
                received_at=received_at,
            )
            with contextlib.closing(steps):
                for _ in steps:
                    if is_stopping():
                        return None
    except BillingError as error:
        problem = error.message
        _list_broken_file(path, mapping=mapping, rows=progress.rows, error=error)
    except FileNotFoundError:
        return None
    except OSError as error:
        folder.leave(path)
        return _report(path, progress, problem=error.strerror or str(error))
    if not folder.is_unchanged(path):
        return _report(path, progress, problem="it has changed while it was read, and is read again")
    try:
        return _report(
            path, progress, moved_to=folder.put_away(path, into=FAILED if problem else DONE), problem=problem
        )
    except OSError as error:
        folder.leave(path)
        return _report(path, progress, problem=f"it cannot be moved: {error.strerror or error}")


def _report(path: Path, progress: ImportProgress, *, problem: str, moved_to: Path | None = None) -> FileReport:
    counts = progress.receipt
    return FileReport(storable(path.name), counts.accepted, counts.duplicates, progress.rejected, moved_to, problem)


def _list_broken_file(path: Path, *, mapping: RowMapping, rows: int, error: BillingError) -> None:
    """List that the rest of a file was not read: one letter at the row where it broke off."""
    origin = Origin(Collector.FILE, path.name, mapping, lambda row: Shape.FILE)
    box = DeadLetterBox(origin)
    with transaction.atomic():
        box.take(dead_letter(origin=origin, shape=Shape.FILE, position=rows, part=0, raw=b"", error=error))
        box.save()


@contextlib.contextmanager
def _held(name: str) -> Iterator[bool]:
    """Hold the lock of a file's name in this session, or say that another session does."""
    arguments = (FILE_LOCK, storable(name))
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", arguments)
        row = cursor.fetchone()
    is_ours = bool(row and row[0])
    try:
        yield is_ours
    finally:
        # A session that is broken has given its locks back already.
        if is_ours and connection.connection is not None and connection.is_usable():
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, hashtext(%s))", arguments)
