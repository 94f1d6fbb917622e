"""Two invoices of one period beside each other, line by line: as it is, and as it would be."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from moneyed import Money

from billing_site.kernel.period import Period


class ComparedLine(Protocol):
    """What is compared of a line."""

    @property
    def reference(self) -> str:
        """What names it within its invoice."""

    @property
    def description(self) -> str:
        """What it is called."""

    @property
    def amount(self) -> Money:
        """What it comes to."""


@dataclass(frozen=True)
class LineEffect:
    """One line of an invoice without and with a change; None where it is not on it."""

    description: str
    service_period: Period | None
    before: Money | None
    after: Money | None

    @property
    def difference(self) -> Money:
        """How much more the line costs with the change."""
        if self.after is None:
            assert self.before is not None, "a line is on one of the two"
            return -self.before
        return self.after if self.before is None else self.after - self.before


def line_effects(*, before: Iterable[ComparedLine], after: Iterable[ComparedLine]) -> tuple[LineEffect, ...]:
    """Return each line with what it was and what it would be: those there are now first, then those that are new.

    A price of another plan may have the same reference: it is another line where it is called otherwise.
    """
    was, would_be = ({(line.reference, line.description): line for line in lines} for lines in (before, after))
    return tuple(_line_effect(was.get(name), would_be.get(name)) for name in {**was, **would_be})


def _line_effect(before: ComparedLine | None, after: ComparedLine | None) -> LineEffect:
    line = after or before
    assert line is not None, "a line is on one of the two"
    return LineEffect(
        description=line.description,
        service_period=getattr(line, "service_period", None),
        before=before.amount if before else None,
        after=after.amount if after else None,
    )
