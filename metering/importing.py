"""Import a file of events: accept in batches that are committed as they go, set aside what is refused."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

from billing_site.kernel.errors import BillingError
from metering.core.mapping import RowMapping, complete_mapping, map_row, mapping_of_object, refuse_without_required
from metering.core.parsing import Event, parse_event
from metering.ingest import Receipt, accept_events
from metering.reading import Row, RowFile

BATCH_EVENTS = 5_000


@dataclass
class ImportProgress:
    """How far an import is."""

    position: int = 0
    rows: int = 0
    receipt: Receipt = field(default_factory=lambda: Receipt(0, 0))
    rejected: int = 0


class RejectedRows:
    """The file of refused rows: made with the first of them, beside the source or, failing that, in the current folder."""

    def __init__(self, source: Path) -> None:
        self.path = source.with_name(f"{source.name}.rejected.ndjson")
        self._file: IO[str] | None = None

    def add(self, *, row: Row, error: BillingError) -> None:
        """Write one row with the reason."""
        if self._file is None:
            self._file = self._open()
        document: dict[str, Any] = {
            "row": row.number,
            "field": error.field,
            "code": error.code,
            "message": error.message,
        }
        document |= {"values": row.values} if row.values is not None else {"text": row.text}
        self._file.write(json.dumps(document, default=_number) + "\n")

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._file is not None:
            self._file.close()

    def _open(self) -> IO[str]:
        try:
            return self.path.open("w")
        except OSError:
            self.path = Path.cwd() / self.path.name
            return self.path.open("w")


def import_rows(
    *, file: RowFile, mapping: RowMapping, rejected: RejectedRows, progress: ImportProgress, received_at: datetime
) -> Iterator[None]:
    """Accept the events of a file, 5,000 rows per transaction; `progress` is right whenever this yields or raises.

    Raises InvalidInput for a mapping that does not fit the file, Malformed where the rest of the file
    cannot be read; what was accepted before stays accepted, and importing again adds only what is new.
    """
    if file.columns is not None:
        mapping = complete_mapping(mapping=mapping, columns=file.columns)
        refuse_without_required(mapping=mapping, columns=file.columns)
    events: list[Event] = []
    try:
        for row in file.rows():
            progress.rows += 1
            try:
                events.append(_event_of(row, file, mapping, received_at))
            except BillingError as error:
                rejected.add(row=row, error=error)
                progress.rejected += 1
            if progress.rows % BATCH_EVENTS == 0:
                _commit(events, progress, file)
                yield
    finally:
        # Also where the rest of the file is broken: what was read up to there is counted.
        _commit(events, progress, file)
    yield


def _commit(events: list[Event], progress: ImportProgress, file: RowFile) -> None:
    progress.receipt += accept_events(events=events)
    progress.position = file.position
    events.clear()


def _event_of(row: Row, file: RowFile, mapping: RowMapping, received_at: datetime) -> Event:
    if row.error is not None:
        raise row.error
    assert row.values is not None, "a row has values or an error"
    if file.columns is None:
        mapping = mapping_of_object(mapping=mapping, names=row.values)
    members = map_row(mapping=mapping, row=row.values, number=row.number)
    return parse_event(document=members, received_at=received_at)


def _number(value: Any) -> str:
    assert isinstance(value, Decimal), f"a row holds text and JSON values only: {value!r}"
    return str(value)
