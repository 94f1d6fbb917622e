"""One day of events as a file: gzip of NDJSON, the same bytes whenever it is written, checked by two digests.

Its lines are those of `event_lines`, in the order of the event numbers. Of the file, the header carries no name and no time.
"""

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import Storage, storages
from django.db import connection

from billing_site.kernel.errors import Conflict
from metering.event_lines import EVENT_LINE, unescaped

CHUNK_BYTES = 1 << 20
COMPRESSION = 6
# What reading a damaged or missing file can raise; S3 has words of its own where it cannot be reached.
UNREADABLE: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error, ValueError)
try:
    from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-not-found]
except ImportError:
    pass
else:
    UNREADABLE += (BotoCoreError, ClientError)


class ArchiveDiffers(Conflict):
    """A file of the archive is missing, or is not what was recorded."""

    code = "archive_differs"


@dataclass(frozen=True)
class Contents:
    """What a file holds: its digest, that of its lines, its size, and the number of lines."""

    file_digest: str
    content_digest: str
    size_bytes: int
    event_count: int


def archive() -> Storage:
    """Return the storage that holds the archive."""
    return storages["archive"]


def name_of(*, day: date) -> str:
    """Return the name of a day's file."""
    return f"{day:%Y/%m}/usage-events-{day:%Y-%m-%d}.ndjson.gz"


@contextmanager
def packed_day(*, day: date, table: str = "metering_usageevent") -> Iterator[tuple[IO[bytes], Contents]]:
    """Give a day's events as a packed file on this machine, which is gone afterwards; memory does not grow with the day."""
    Path(settings.DATA_DIR).mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=settings.DATA_DIR) as file:
        lines = hashlib.sha256()
        count = 0
        with gzip.GzipFile(filename="", mode="wb", compresslevel=COMPRESSION, fileobj=file, mtime=0) as packed:
            for block in _lines_of(day=day, table=table):
                lines.update(block)
                count += block.count(b"\n")
                packed.write(block)
        size = file.tell()
        file.seek(0)
        yield file, Contents(_digest_of(file), lines.hexdigest(), size, count)


def digest_of_lines(*, day: date, table: str = "metering_usageevent") -> str:
    """Return the digest of a day's lines as the database has them now."""
    lines = hashlib.sha256()
    for block in _lines_of(day=day, table=table):
        lines.update(block)
    return lines.hexdigest()


def _lines_of(*, day: date, table: str) -> Iterator[bytes]:
    """Yield a day's events as lines, in the order of their numbers."""
    with (
        connection.cursor() as cursor,
        connection.wrap_database_errors,
        cursor.copy(
            f"""
            COPY (
                SELECT {EVENT_LINE} FROM (
                    SELECT * FROM {table} WHERE received_at >= %s AND received_at < %s ORDER BY id OFFSET 0
                ) AS e
            ) TO STDOUT
            """,
            span_of_day(day),
        ) as rows,
    ):
        gathered: list[bytes] = []
        size = 0
        for row in rows:
            gathered.append(bytes(row))
            size += len(row)
            if size >= CHUNK_BYTES:
                yield unescaped(gathered)
                gathered, size = [], 0
        if gathered:
            yield unescaped(gathered)


def span_of_day(day: date) -> tuple[str, str]:
    """Return the bounds of a UTC day for SQL."""
    return f"{day.isoformat()} 00:00+00", f"{(day + timedelta(days=1)).isoformat()} 00:00+00"


def keep(*, name: str, file: IO[bytes], contents: Contents) -> None:
    """Put a packed day into the archive and read it back; raises ArchiveDiffers where it is not what was written.

    A file of that name that no row records is the rest of a crash: the same one is taken, another is replaced.
    """
    storage = archive()
    if storage.exists(name):
        if _found(name) == contents:
            return
        storage.delete(name)
    file.seek(0)
    saved = storage.save(name, File(file, name=name))
    if saved != name:
        storage.delete(saved)
        raise ArchiveDiffers(f"the archive would not take {name}: somebody else writes there")
    if (found := _found(name)) != contents:
        raise ArchiveDiffers(f"{name} was written and reads back otherwise: {_difference(found, contents)}")


def fault_of_file(*, name: str, contents: Contents) -> str:
    """Return what is wrong with a file of the archive, read to its end; empty where it is what was recorded."""
    found = _found(name)
    return "" if found == contents else _difference(found, contents)


def _found(name: str) -> Contents | str:
    """Return what a file holds, or why it cannot be read."""
    try:
        with _opened(name) as file:
            reading = _Digested(file)
            lines, count = hashlib.sha256(), 0
            with gzip.GzipFile(fileobj=reading, mode="rb") as unpacked:
                while block := unpacked.read(CHUNK_BYTES):
                    lines.update(block)
                    count += block.count(b"\n")
            while reading.read(CHUNK_BYTES):
                pass
        return Contents(reading.digest.hexdigest(), lines.hexdigest(), reading.size_bytes, count)
    except UNREADABLE as problem:
        return f"{type(problem).__name__}: {problem}"


def _difference(found: Contents | str, contents: Contents) -> str:
    if isinstance(found, str):
        return f"it cannot be read ({found})"
    if found.content_digest == contents.content_digest:
        return (
            f"its lines are right and its bytes are not: SHA-256 {found.file_digest}, recorded {contents.file_digest}"
        )
    return (
        f"it holds {found.event_count} events with SHA-256 {found.content_digest}, "
        f"recorded are {contents.event_count} with {contents.content_digest}"
    )


@contextmanager
def unpacked(*, name: str) -> Iterator[gzip.GzipFile]:
    """Open a file of the archive for its lines."""
    with _opened(name) as file, gzip.GzipFile(fileobj=file, mode="rb") as lines:
        yield lines


@contextmanager
def _opened(name: str) -> Iterator[IO[bytes]]:
    opened = archive().open(name, "rb")
    try:
        yield opened  # type: ignore[misc]
    finally:
        opened.close()


def _digest_of(file: IO[bytes]) -> str:
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    file.seek(0)
    return digest


class _Digested:
    """A file that is digested as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size_bytes = 0

    def read(self, size: int = -1) -> bytes:
        """Read on."""
        block = self._file.read(size)
        self.digest.update(block)
        self.size_bytes += len(block)
        return block

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
