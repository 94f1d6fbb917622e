"""Read the body of an ingest request: one event, {"events": [...]}, or NDJSON; each event stands on its own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from billing_site.kernel.errors import BillingError, FieldError, InvalidInput, Malformed, TooLarge
from metering.core.decoding import decode_json
from metering.core.parsing import Event, parse_event


@dataclass(frozen=True)
class Rejection:
    """An event that was refused: its position in the request, from 0, and the first thing that is wrong."""

    index: int
    error: FieldError

    def document(self) -> dict[str, Any]:
        """Return it as it goes over the wire."""
        return {
            "index": self.index,
            "field": self.error.field,
            "code": self.error.code,
            "message": self.error.message,
        }


@dataclass(frozen=True)
class Batch:
    """The events of one request, read."""

    events: tuple[Event, ...]
    rejections: tuple[Rejection, ...]


class Contradiction(Protocol):
    """An event that was refused because its key was accepted with another content; `place` among the batch's events."""

    @property
    def place(self) -> int:
        """Its position among the events that were read."""

    @property
    def message(self) -> str:
        """What is wrong and what to do."""


def with_conflicts(*, batch: Batch, conflicts: Sequence[Contradiction]) -> Batch:
    """Return the batch with its contradictions among the rejections, by their positions in the request."""
    refused = {rejection.index for rejection in batch.rejections}
    places = [index for index in range(len(batch.events) + len(refused)) if index not in refused]
    found = [
        Rejection(places[conflict.place], FieldError("idempotency_key", "conflict", conflict.message))
        for conflict in conflicts
    ]
    return Batch(batch.events, tuple(sorted((*batch.rejections, *found), key=lambda rejection: rejection.index)))


def read_json_batch(*, body: bytes, events_max: int, received_at: datetime, customer_key: str = "") -> Batch:
    """Read a JSON body; raises Malformed, TooLarge beyond `events_max`, InvalidInput where it is no batch at all.

    With a `customer_key` events of any other customer are rejected.
    """
    document = decode_json(body)
    if isinstance(document, list):
        raise InvalidInput(
            'an array is not taken as it is; wrap it: {"events": [...]}', field="events", code="wrong_type"
        )
    if not isinstance(document, dict):
        raise InvalidInput('send one event object, or {"events": [...]}', field="events", code="wrong_type")
    if "events" not in document:
        return _read(iter([document]), received_at=received_at, customer_key=customer_key)
    events = document["events"]
    if not isinstance(events, list):
        raise InvalidInput("must be an array of event objects", field="events", code="wrong_type")
    if len(document) > 1:
        unknown = next(name for name in document if name != "events")
        raise InvalidInput(
            'does not belong beside "events": put it into each event', field=unknown[:60], code="unknown_field"
        )
    _refuse_too_many(len(events), events_max)
    return _read(iter(events), received_at=received_at, customer_key=customer_key)


def read_ndjson_batch(*, body: bytes, events_max: int, received_at: datetime, customer_key: str = "") -> Batch:
    """Read one event per line, blank lines aside; a line that is not JSON is a rejected event.

    Raises Malformed for a body without lines, TooLarge beyond `events_max`.
    """
    lines = [line for line in body.split(b"\n") if line.strip()]
    if not lines:
        raise Malformed("the body is empty: write one event per line")
    _refuse_too_many(len(lines), events_max)
    return _read(map(_decode_line, lines), received_at=received_at, customer_key=customer_key)


def _decode_line(line: bytes) -> Any:
    try:
        return decode_json(line)
    except Malformed as error:
        return error


def _refuse_too_many(count: int, events_max: int) -> None:
    if count > events_max:
        raise TooLarge(
            f"{count} events are too many for one request; send at most {events_max}", field="events", code="too_many"
        )


def _read(documents: Iterator[Any], *, received_at: datetime, customer_key: str) -> Batch:
    events: list[Event] = []
    rejections: list[Rejection] = []
    for index, document in enumerate(documents):
        try:
            if isinstance(document, Malformed):
                raise document
            event = parse_event(document=document, received_at=received_at)
            if customer_key and event.customer_id != customer_key:
                raise InvalidInput(
                    f"this key may only send events of {customer_key}", field="customer_id", code="forbidden"
                )
        except BillingError as refused:
            rejections.append(Rejection(index, FieldError(refused.field, refused.code, refused.message)))
        else:
            events.append(event)
    return Batch(events=tuple(events), rejections=tuple(rejections))
