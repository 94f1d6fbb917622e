"""Read dead letters again: what is an event now is accepted, what is not stays listed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from billing_site.kernel.errors import BillingError, InvalidInput, NotFound
from metering.collecting.arguments import mapping_of_words
from metering.collecting.models import SETTLEMENT, Collector, DeadLetter, Outcome, Shape
from metering.core.mapping import complete_mapping
from metering.core.parsing import Event
from metering.importing import Found, find_events
from metering.ingest import accept_events, dedup_key
from metering.reading import ROW_BYTES_MAX, Row, read_line, read_object

SETTLING = (Outcome.ACCEPTED, Outcome.DUPLICATE)


@dataclass(frozen=True)
class Verdict:
    """What a replay makes of one letter: accepted, duplicate, conflict, refused, or settled (before, and left alone)."""

    letter_id: int
    place: str
    outcome: str
    event: Event | None = None
    field: str = ""
    code: str = ""
    message: str = ""


@dataclass(frozen=True)
class ReplayReport:
    """The verdicts of a replay, in the order of the letters."""

    verdicts: tuple[Verdict, ...]

    def count(self, outcome: str) -> int:
        """Return how many letters had this outcome."""
        return sum(verdict.outcome == outcome for verdict in self.verdicts)


class _Undone(Exception):
    """Carries the report of a dry run out of its transaction."""

    def __init__(self, report: ReplayReport) -> None:
        super().__init__("a dry run is rolled back")
        self.report = report


@transaction.atomic
def replay_dead_letters(
    *, ids: Sequence[int], at: datetime, actor: str, reason: str, document: str | None = None
) -> ReplayReport:
    """Read letters again by the mapping they came with and accept what is an event; a second call changes nothing.

    A letter that ends as an event (new, or accepted before) is settled. One that is refused again, or conflicts
    with an accepted event, stays as it is. `document` is read in place of the content of the one letter in `ids`, in
    the same shape: JSON, a line, or the cells of a row as a JSON object; the content itself stays. Keys that are
    made from the position are those which the content would have had. Raises NotFound, InvalidInput.
    """
    _refuse_without_reason(actor=actor, reason=reason)
    letters = _locked(ids)
    report = _replayed(letters, at=at, document=document)
    for letter, verdict in zip(letters, report.verdicts, strict=True):
        if verdict.outcome not in SETTLING:
            continue
        assert verdict.event is not None, "what was accepted is an event"
        letter.customer_id = verdict.event.customer_id
        letter.idempotency_key = verdict.event.idempotency_key
        letter.corrected = document or ""
        _settle(letter, outcome=verdict.outcome, at=at, actor=actor, reason=reason)
    return report


def preview_replay(*, ids: Sequence[int], at: datetime, document: str | None = None) -> ReplayReport:
    """Return what a replay would do: the same statements, rolled back. Raises NotFound, InvalidInput."""
    try:
        with transaction.atomic():
            raise _Undone(_replayed(_locked(ids), at=at, document=document))
    except _Undone as undone:
        return undone.report


@transaction.atomic
def dismiss_dead_letters(*, ids: Sequence[int], at: datetime, actor: str, reason: str) -> int:
    """Settle letters that shall never be events, and return how many; settled ones stay. Raises NotFound, InvalidInput."""
    _refuse_without_reason(actor=actor, reason=reason)
    waiting = [letter for letter in _locked(ids) if letter.outcome == Outcome.WAITING]
    for letter in waiting:
        _settle(letter, outcome=Outcome.DISMISSED, at=at, actor=actor, reason=reason)
    return len(waiting)


def _refuse_without_reason(*, actor: str, reason: str) -> None:
    for name, text in (("actor", actor), ("reason", reason)):
        if not text.strip():
            raise InvalidInput("say who does it, and why", field=name, code="blank")


def _locked(ids: Sequence[int]) -> list[DeadLetter]:
    letters = list(DeadLetter.objects.select_for_update().filter(pk__in=ids).order_by("pk"))
    missing = set(ids) - {letter.pk for letter in letters}
    if missing:
        raise NotFound(f"there is no dead letter {min(missing)}", field="ids")
    return letters


def _settle(letter: DeadLetter, *, outcome: str, at: datetime, actor: str, reason: str) -> None:
    letter.outcome = outcome
    letter.settled_at = at
    letter.settled_by = actor
    letter.settlement_reason = reason
    letter.save(update_fields=SETTLEMENT)


def _replayed(letters: Sequence[DeadLetter], *, at: datetime, document: str | None) -> ReplayReport:
    if document is not None and len(letters) != 1:
        raise InvalidInput("a corrected document is for one letter", field="document")
    verdicts: dict[int, Verdict] = {}
    events: list[tuple[DeadLetter, Event]] = []
    for letter in letters:
        if letter.outcome != Outcome.WAITING:
            message = f"was {letter.get_outcome_display().lower()} before"
            verdicts[letter.pk] = _verdict(letter, "settled", message=message)
            continue
        found = _read_again(letter, document=document, at=at)
        if found.event is not None:
            events.append((letter, found.event))
        else:
            assert found.error is not None, "what is no event has a reason"
            verdicts[letter.pk] = _refusal(letter, found.error)
    # In the order of the keys, as ingest takes them: so a replay and a batch never wait for each other in a circle.
    events.sort(key=lambda pair: dedup_key(customer_id=pair[1].customer_id, idempotency_key=pair[1].idempotency_key))
    for letter, event in events:
        verdicts[letter.pk] = _accepted(letter, event)
    return ReplayReport(tuple(verdicts[letter.pk] for letter in letters))


def _accepted(letter: DeadLetter, event: Event) -> Verdict:
    receipt = accept_events(events=[event])
    if receipt.accepted:
        return _verdict(letter, Outcome.ACCEPTED, event=event)
    if receipt.duplicates:
        return _verdict(letter, Outcome.DUPLICATE, event=event, message="the same event was accepted before")
    return _verdict(
        letter,
        "conflict",
        event=event,
        field="idempotency_key",
        code="conflict",
        message=receipt.conflicts[0].message,
    )


def _read_again(letter: DeadLetter, *, document: str | None, at: datetime) -> Found:
    """Read a letter, or what is given in its place, as it was read at first; one refusal or one event comes of it."""
    is_file = letter.collector == Collector.FILE
    place = f"row-{letter.position}" if is_file else f"kafka-{letter.source}-{letter.position}"
    place += f".{letter.part}" if letter.part else ""
    try:
        row = _row_of(letter, document=document)
        mapping = mapping_of_words(preset=letter.preset, rules=letter.rules, zone_name=letter.zone)
        is_object = letter.shape == Shape.OBJECT
        if letter.shape in (Shape.ROW, Shape.TEXT) and row.values is not None:
            mapping = complete_mapping(mapping=mapping, columns=list(row.values))
        found = list(find_events(row=row, mapping=mapping, is_object=is_object, place=place, received_at=at))
    except BillingError as error:
        return Found(0, b"", error=error)
    if len(found) != 1:
        return Found(0, b"", error=InvalidInput(f"holds {len(found)} events; give one", field="document"))
    return found[0]


def _row_of(letter: DeadLetter, *, document: str | None) -> Row:
    if letter.shape == Shape.FILE:
        raise InvalidInput("the rest of a file cannot be replayed; put the mended file into the folder", code="file")
    raw = bytes(letter.raw) if document is None else document.encode("utf-8", "surrogateescape")
    if len(raw) > ROW_BYTES_MAX:
        raise InvalidInput(f"is longer than {ROW_BYTES_MAX} bytes", field="document", code="too_long")
    if letter.shape == Shape.LINE:
        return read_line(letter.position, raw.strip())
    if not raw.strip():
        raise InvalidInput("the message has no value", code="no_value")
    if letter.shape == Shape.TEXT and document is None:
        raise InvalidInput(letter.message, field=letter.field, code=letter.code)
    return read_object(letter.position, raw)


def _refusal(letter: DeadLetter, error: BillingError) -> Verdict:
    return _verdict(letter, "refused", field=error.field, code=error.code, message=error.message)


def _verdict(letter: DeadLetter, outcome: str, **members: Any) -> Verdict:
    return Verdict(letter_id=letter.pk, place=str(letter), outcome=str(outcome), **members)
