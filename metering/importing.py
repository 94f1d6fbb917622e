"""Import a file of events: accept in batches that are committed as they go, set aside what is refused."""

import json
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, Protocol

import msgspec
from django.db import transaction

from billing_site.kernel.errors import BillingError, Conflict
from metering.core.mapping import (
    RowMapping,
    complete_mapping,
    documents_of,
    map_row,
    mapping_of_object,
    refuse_without_required,
)
from metering.core.parsing import Event, parse_event
from metering.ingest import Receipt, accept_events
from metering.reading import Row, RowFile

BATCH_EVENTS = 5_000
_encoder = msgspec.json.Encoder(decimal_format="number")


@dataclass
class ImportProgress:
    """How far an import is; `rejected` counts refused rows and conflicts."""

    position: int = 0
    rows: int = 0
    receipt: Receipt = field(default_factory=lambda: Receipt(0, 0))
    rejected: int = 0


@dataclass(frozen=True)
class Found:
    """What one part of a row is: an event, or why it is none.

    `part` counts from 0 within a row that holds several events; `raw` is the part as it can be read again.
    """

    part: int
    raw: bytes
    event: Event | None = None
    error: BillingError | None = None


class Refusals(Protocol):
    """Where refused rows go."""

    @property
    def is_full(self) -> bool:
        """Say that what is held in memory should be saved now."""

    def add(self, *, row: Row, found: Found) -> None:
        """Take one refused part of a row."""

    def add_conflict(self, *, number: int, event: Event, error: BillingError) -> None:
        """Take an event whose key was accepted with other content."""

    def save(self) -> None:
        """Save what was taken; runs in the transaction that accepts the batch."""


class RejectedRows:
    """The file of refused rows: made with the first of them, beside the source or, failing that, in the current folder."""

    is_full = False

    def __init__(self, source: Path) -> None:
        self.path = source.with_name(f"{source.name}.rejected.ndjson")
        self._file: IO[str] | None = None

    def add(self, *, row: Row, found: Found) -> None:
        """Write one row with the reason."""
        assert found.error is not None, "what is refused has a reason"
        content = {"values": row.values} if row.values is not None else {"text": row.text}
        self._write(row.number, found.error, content)

    def add_conflict(self, *, number: int, event: Event, error: BillingError) -> None:
        """Write an event that conflicts with one that was accepted, as it was read."""
        self._write(number, error, {"values": json.loads(_encoder.encode(event), parse_float=str)})

    def save(self) -> None:
        """Leave it to the file: a row written twice after a crash does no harm."""

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._file is not None:
            self._file.close()

    def _write(self, number: int, error: BillingError, content: dict[str, Any]) -> None:
        if self._file is None:
            self._file = self._open()
        document = {"row": number, "field": error.field, "code": error.code, "message": error.message, **content}
        self._file.write(json.dumps(document, default=_number) + "\n")

    def _open(self) -> IO[str]:
        try:
            return self.path.open("w")
        except OSError:
            self.path = Path.cwd() / self.path.name
            return self.path.open("w")


def import_rows(
    *, file: RowFile, mapping: RowMapping, rejected: Refusals, progress: ImportProgress, received_at: datetime
) -> Generator[None, None, None]:
    """Accept the events of a file, 5,000 rows per transaction; `progress` is right whenever this yields or raises.

    Raises InvalidInput for a mapping that does not fit the file, Malformed where the rest of the file
    cannot be read; what was accepted before stays accepted, and importing again adds only what is new.
    """
    if file.columns is not None:
        mapping = complete_mapping(mapping=mapping, columns=file.columns)
        refuse_without_required(mapping=mapping, columns=file.columns)
    is_object = file.columns is None
    batch = Batch(rejected)
    try:
        for row in file.rows():
            progress.rows += 1
            for found in find_events(
                row=row,
                mapping=mapping,
                is_object=is_object,
                place=f"row-{row.number}",
                received_at=received_at,
            ):
                if found.event is not None:
                    batch.events.append(found.event)
                    batch.numbers.append(row.number)
                else:
                    rejected.add(row=row, found=found)
                    progress.rejected += 1
            if progress.rows % BATCH_EVENTS == 0 or len(batch.events) >= BATCH_EVENTS or rejected.is_full:
                batch.commit(progress)
                progress.position = file.position
                yield
    finally:
        # Also where the rest of the file is broken: what was read up to there is counted.
        batch.commit(progress)
        progress.position = file.position
    yield


def find_events(
    *, row: Row, mapping: RowMapping, is_object: bool, place: str, received_at: datetime
) -> Iterator[Found]:
    """Read one row: an event or a refusal for each part of it; most rows have one part.

    `is_object` lets members that are named like fields serve them; `place` (row-7) begins the keys of events that
    bring none.
    """
    documents: Sequence[Any] = ()
    try:
        if row.error is not None:
            raise row.error
        assert row.values is not None, "a row has values or an error"
        documents = documents_of(mapping=mapping, values=row.values)
    except BillingError as error:
        yield Found(0, row.raw, error=error)
    for part, document in enumerate(documents):
        try:
            applied = mapping_of_object(mapping=mapping, names=document) if is_object else mapping
            members = map_row(mapping=applied, row=document, position=f"{place}.{part}" if part else place)
            yield Found(part, b"", event=parse_event(document=members, received_at=received_at))
        except BillingError as error:
            raw = row.raw if row.raw and len(documents) == 1 else _as_json(document)
            yield Found(part, raw, error=error)


class Batch:
    """Events that are accepted together, and the numbers of their rows."""

    def __init__(self, rejected: Refusals) -> None:
        self.events: list[Event] = []
        self.numbers: list[int] = []
        self._rejected = rejected

    def commit(self, progress: ImportProgress) -> None:
        """Accept the events and save the refusals in one transaction, and count them."""
        with transaction.atomic():
            receipt = accept_events(events=self.events)
            self._rejected.save()
        for conflict in receipt.conflicts:
            self._rejected.add_conflict(
                number=self.numbers[conflict.place],
                event=self.events[conflict.place],
                error=Conflict(conflict.message, field="idempotency_key"),
            )
        progress.rejected += len(receipt.conflicts)
        progress.receipt += Receipt(receipt.accepted, receipt.duplicates)
        self.events.clear()
        self.numbers.clear()


def _as_json(document: Any) -> bytes:
    try:
        return _encoder.encode(document)
    except UnicodeEncodeError:
        # Cells that are no UTF-8 are shown, and have to be corrected before they can be read.
        return json.dumps(document, default=_number).encode()


def _number(value: Any) -> str:
    assert isinstance(value, Decimal), f"a row holds text and JSON values only: {value!r}"
    return str(value)
