"""List what a collector could not read as an event: once, with the content as it came and the first reason."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from billing_site.kernel.errors import BillingError
from metering.collecting.models import Collector, DeadLetter, Shape
from metering.core.mapping import RowMapping
from metering.core.parsing import Event
from metering.importing import Found
from metering.reading import ROW_BYTES_MAX, Row

PENDING_BYTES_MAX = 16 * 1024 * 1024
# Names of files have at most 255 bytes, but those that are no UTF-8 are written longer.
SOURCE_LENGTH_MAX = 300


@dataclass(frozen=True)
class Origin:
    """Where content came from, and how its rows look."""

    collector: Collector
    source: str
    mapping: RowMapping
    shape_of: Callable[[Row], Shape]


class DeadLetterBox:
    """Takes refused rows and lists them in the transaction that accepts their batch; a row read again is listed once."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._pending: list[DeadLetter] = []
        self._pending_bytes = 0

    @property
    def is_full(self) -> bool:
        """Say that enough is held in memory."""
        return self._pending_bytes > PENDING_BYTES_MAX

    def add(self, *, row: Row, found: Found) -> None:
        """Take one refused part of a row."""
        assert found.error is not None, "what is refused has a reason"
        letter = dead_letter(
            origin=self._origin,
            shape=self._origin.shape_of(row),
            position=row.number,
            part=found.part,
            raw=found.raw,
            error=found.error,
        )
        self.take(letter)

    def take(self, letter: DeadLetter) -> None:
        """Take a letter that is written already."""
        self._pending.append(letter)
        self._pending_bytes += len(letter.raw)

    def add_conflict(self, *, number: int, event: Event, error: BillingError) -> None:
        """Leave it to the list of conflicts, where ingest has put it with both contents."""

    def save(self) -> None:
        """List what was taken."""
        DeadLetter.objects.bulk_create(self._pending, ignore_conflicts=True, batch_size=1_000)
        self._pending.clear()
        self._pending_bytes = 0


def dead_letter(
    *, origin: Origin, shape: Shape, position: int, part: int, raw: bytes, error: BillingError
) -> DeadLetter:
    """Return the row, not saved yet; of content beyond 1 MiB the beginning is kept, the digest is of all of it."""
    mapping = origin.mapping
    return DeadLetter(
        collector=origin.collector,
        source=storable(origin.source)[:SOURCE_LENGTH_MAX],
        position=position,
        part=part,
        raw=raw[:ROW_BYTES_MAX],
        digest=hashlib.sha256(raw).hexdigest(),
        shape=shape,
        preset=mapping.preset.name if mapping.preset else "",
        rules=list(mapping.rules),
        zone=str(mapping.zone or ""),
        field=storable(error.field)[:300],
        code=error.code,
        message=storable(error.message),
    )


def shape_in_file(*, file_format: str) -> Callable[[Row], Shape]:
    """Return how the rows of a file of this format look."""
    if file_format == "csv":
        return lambda row: Shape.TEXT if row.values is None else Shape.ROW
    return lambda row: Shape.LINE if file_format == "lines" else Shape.OBJECT


def storable(text: str) -> str:
    """Write what PostgreSQL cannot keep as text (bytes of file names that are no UTF-8, NUL) in a readable way."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")
