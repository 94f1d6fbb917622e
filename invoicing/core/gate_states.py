"""The life of an invoice before it is issued as one table: code and the database's triggers are made of it."""

from dataclasses import dataclass
from enum import StrEnum


class GateState(StrEnum):
    """Where an invoice of a period stands before it is issued, and that it is."""

    DRAFT = "draft"
    HELD = "held"
    READY = "ready"
    ISSUED = "issued"


@dataclass(frozen=True)
class GateMove:
    """One row: from where to where, when, and who drives it."""

    start: GateState
    to: GateState
    when: str
    drivers: tuple[str, ...]


GATE_MOVES = (
    GateMove(GateState.DRAFT, GateState.HELD, "a check before issue finds something", ("gate",)),
    GateMove(GateState.DRAFT, GateState.ISSUED, "no check finds anything", ("billing run", "person")),
    GateMove(GateState.HELD, GateState.READY, "a person releases it as it is, with a reason", ("person",)),
    GateMove(
        GateState.HELD,
        GateState.DRAFT,
        "it says something else by now, is gone, or the checks find something else or nothing",
        ("gate",),
    ),
    GateMove(GateState.READY, GateState.ISSUED, "it still is what was released", ("billing run", "person")),
    GateMove(GateState.READY, GateState.DRAFT, "it says something else by now, or is gone", ("gate",)),
)
# A draft in one of these may be issued.
ISSUED_FROM = tuple(move.start for move in GATE_MOVES if move.to is GateState.ISSUED)


def may_move(*, start: GateState, to: GateState) -> bool:
    """Say whether the table knows a move."""
    return any((move.start, move.to) == (start, to) for move in GATE_MOVES)


def moves_in_sql(*, starts: tuple[GateState, ...]) -> str:
    """Return the moves from some states to others before the issue, as a list of pairs of SQL."""
    known = (move for move in GATE_MOVES if move.start in starts and move.to is not GateState.ISSUED)
    return ", ".join(f"('{move.start.value}', '{move.to.value}')" for move in known)
