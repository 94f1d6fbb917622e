"""The life of a dunning case as one table: code, the database's trigger and the admin are made of it.

That a case is held, promised or objected to is read from its holds, promises and objections: a stored word beside them could say something
else than they do.
"""

from dataclasses import dataclass
from enum import StrEnum


class CaseState(StrEnum):
    """Where a case stands."""

    OPEN = "open"
    EXHAUSTED = "exhausted"
    HANDED_OVER = "handed_over"
    SETTLED = "settled"
    WRITTEN_OFF = "written_off"
    SUPERSEDED = "superseded"


# A customer has one of these at a time.
LIVE = (CaseState.OPEN, CaseState.EXHAUSTED, CaseState.HANDED_OVER)
CLOSED = tuple(state for state in CaseState if state not in LIVE)


@dataclass(frozen=True)
class CaseMove:
    """One row: from where to where, and when."""

    start: CaseState
    to: CaseState
    when: str


_PAID = "nothing is overdue of the invoice that it began with: paid, credited or void"
_GIVEN_UP = "the invoice that it began with is written off"
_CAME_BACK = "the customer has come back since: what it still owes is chased anew, from the first step"
CASE_MOVES = (
    CaseMove(CaseState.OPEN, CaseState.SETTLED, _PAID),
    CaseMove(CaseState.OPEN, CaseState.WRITTEN_OFF, _GIVEN_UP),
    CaseMove(CaseState.OPEN, CaseState.EXHAUSTED, "all steps of its policy are done, and it is not paid"),
    CaseMove(CaseState.OPEN, CaseState.HANDED_OVER, "the policy, or somebody, hands it over to people"),
    CaseMove(CaseState.OPEN, CaseState.SUPERSEDED, _CAME_BACK),
    CaseMove(CaseState.EXHAUSTED, CaseState.HANDED_OVER, "somebody hands it over to people"),
    CaseMove(CaseState.EXHAUSTED, CaseState.SETTLED, _PAID),
    CaseMove(CaseState.EXHAUSTED, CaseState.WRITTEN_OFF, _GIVEN_UP),
    CaseMove(CaseState.EXHAUSTED, CaseState.SUPERSEDED, _CAME_BACK),
    CaseMove(CaseState.HANDED_OVER, CaseState.SETTLED, _PAID),
    CaseMove(CaseState.HANDED_OVER, CaseState.WRITTEN_OFF, _GIVEN_UP),
    CaseMove(CaseState.HANDED_OVER, CaseState.SUPERSEDED, _CAME_BACK),
)


def is_case_move(*, start: CaseState, to: CaseState) -> bool:
    """Say whether the table knows a move."""
    return any((row.start, row.to) == (start, to) for row in CASE_MOVES)


def case_moves_in_sql() -> str:
    """Return the moves as a list of pairs of SQL."""
    return ", ".join(f"('{row.start}', '{row.to}')" for row in CASE_MOVES)


def states_in_sql(states: tuple[CaseState, ...]) -> str:
    """Return states as a list of SQL."""
    return ", ".join(f"'{state}'" for state in states)


def state_words(state: str) -> str:
    """Return a state as people read it."""
    return state.replace("_", " ")
