"""Pages: banks cut a day, or a span, into several statements. Lines of two pages are two lines, however equal they are."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from moneyed import Money

from invoicing.core.bank.statement import Statement, StatementLine, contents


@dataclass(frozen=True)
class Kept:
    """A statement that is here: its span, its balances, from where its lines were counted, and its lines for who needs them."""

    from_date: date
    to_date: date
    opening: Money
    closing: Money
    counted_from: Mapping[str, int]
    lines: Callable[[], Sequence[StatementLine]]


def counted_from(*, statement: Statement, kept: Sequence[Kept]) -> dict[str, int]:
    """Return from where the lines of a statement are counted among equals; `kept` are the statements of its account that are here.

    A statement that opens as another closed, on a day that both have, is another page: its lines come after that one's. One with the same
    two balances is the same again. Every other overlaps, and its lines are those that are here.
    """
    if statement.opening is None or statement.closing is None or not statement.lines:
        return {}
    days = [line.booked_on for line in statement.lines]
    near = [one for one in kept if one.from_date <= max(days) and one.to_date >= min(days)]
    for one in near:
        if (one.opening, one.closing) == (statement.opening, statement.closing):
            return dict(one.counted_from)
    ours = set(contents(lines=statement.lines))
    found: Counter[str] = Counter()
    for page in [*_pages(statement, near, _follows), *_pages(statement, near, lambda one, two: _follows(two, one))]:
        there = Counter(contents(lines=page.lines()))
        for content in ours & set(there):
            found[content] = max(found[content], page.counted_from.get(content, 0) + there[content])
    return dict(found)


def _pages(start: Statement, near: Sequence[Kept], follows: Callable[..., bool]) -> list[Kept]:
    """Return the pages in a row from a statement on, in one direction."""
    found: list[Kept] = []
    reached: list[Statement | Kept] = [start]
    while reached:
        here = reached.pop()
        step = [one for one in near if follows(here, one) and one not in found]
        found += step
        reached += step
    return found


def _follows(later: Statement | Kept, earlier: Statement | Kept) -> bool:
    """Say whether one is the next page after another; where one of them moves nothing, they may as well be the same."""
    return (
        later.opening == earlier.closing
        and later.opening != earlier.opening
        and later.closing != earlier.closing
        and earlier.from_date <= later.from_date
        and earlier.to_date <= later.to_date
    )
