"""Two policies over the same history: how often each step would have been taken, who had paid before it, what came before it, and who differs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from dunning.core.backtest import Chase, History, Taken
from dunning.core.calendar import local_day
from dunning.core.policy import Act, Step


@dataclass(frozen=True)
class Line:
    """A step on a customer's course: the local day, what is done, and what is told."""

    day: date
    step: Step


@dataclass
class StepFigures:
    """One step of a policy: how often it was taken; before how often the case was settled between the step before it and it, and what was paid then."""

    number: int
    step: Step
    taken: int = 0
    spared: int = 0
    paid: dict[str, Decimal] = field(default_factory=dict)


@dataclass
class Side:
    """What a policy did, or would have done: customers and cases, acts, and its steps in order."""

    customers: int = 0
    cases: int = 0
    notices: int = 0
    acts: dict[Act, int] = field(default_factory=lambda: dict.fromkeys(Act, 0))
    steps: dict[tuple[int, Step], StepFigures] = field(default_factory=dict)

    @property
    def ladder(self) -> list[StepFigures]:
        """Its steps in the order of their days."""
        return sorted(self.steps.values(), key=lambda one: (one.step.day, one.number))


@dataclass(frozen=True)
class Difference:
    """A customer who would have had another course: both, and which grave acts only one of them has."""

    customer_id: int
    held: tuple[Line, ...]
    tried: tuple[Line, ...]
    spared: tuple[Act, ...]
    burdened: tuple[Act, ...]
    has_paid: bool


@dataclass(frozen=True)
class Course:
    """A customer's history, and what both policies make of it."""

    history: History
    held: Sequence[Chase]
    tried: Sequence[Chase]


@dataclass(frozen=True)
class Comparison:
    """Both sides, and the customers who differ."""

    held: Side
    tried: Side
    differences: tuple[Difference, ...]


def compare(*, courses: Iterable[Course], start: datetime, end: datetime) -> Comparison:
    """Compare what happened in `[start, end)` under both policies; the same policy twice gives no difference."""
    held, tried = Side(), Side()
    differences = []
    for course in courses:
        _count(held, course.history, course.held, start, end)
        _count(tried, course.history, course.tried, start, end)
        difference = _difference(course, start, end)
        if difference is not None:
            differences.append(difference)
    return Comparison(held, tried, tuple(differences))


def lines_of(*, history: History, chases: Iterable[Chase], start: datetime, end: datetime) -> tuple[Line, ...]:
    """Return the steps that fall into a span, on their local days."""
    return tuple(
        Line(local_day(at=one.at, zone=history.zone), one.step)
        for chase in chases
        for one in chase.taken
        if start <= one.at < end
    )


def _count(side: Side, history: History, chases: Sequence[Chase], start: datetime, end: datetime) -> None:
    touched = False
    for chase in chases:
        within = [one for one in chase.taken if start <= one.at < end]
        ended = chase.settled_at
        if within or (ended is not None and start <= ended < end):
            side.cases += 1
            touched = True
        for one in within:
            side.acts[one.step.act] += 1
            side.notices += one.step.notice is not None
            _figures(side, one.number, one.step).taken += 1
        _count_money(side, history, chase, start, end)
    side.customers += touched


def _count_money(side: Side, history: History, chase: Chase, start: datetime, end: datetime) -> None:
    """Count what was paid before each step, and the settlement before the one that never came."""
    since = chase.opened_at
    until = chase.settled_at or end
    for one in (*chase.taken, None):
        following = one or _next(chase)
        if following is None:
            return
        before = one.at if one else until
        figures = _figures(side, following.number, following.step)
        for claim in history.claims:
            for gone in claim.gone:
                # What settles the case comes before the step that is not taken any more.
                is_within = since <= gone.at < before or (one is None and gone.at == before)
                if gone.is_payment and is_within and start <= gone.at < end and claim.is_late(gone.at):
                    figures.paid[history.currency] = figures.paid.get(history.currency, Decimal(0)) + gone.amount
        if one is None and chase.settled_at is not None and start <= chase.settled_at < end:
            figures.spared += 1
        since = before


def _next(chase: Chase) -> "Taken | None":
    if not chase.ahead:
        return None
    ahead = chase.ahead[0]
    return Taken(ahead.number, ahead.step, ahead.due_at, ahead.due_at, Decimal(0))


def _figures(side: Side, number: int, step: Step) -> StepFigures:
    return side.steps.setdefault((number, step), StepFigures(number, step))


def _difference(course: Course, start: datetime, end: datetime) -> Difference | None:
    history = course.history
    held = lines_of(history=history, chases=course.held, start=start, end=end)
    tried = lines_of(history=history, chases=course.tried, start=start, end=end)
    if held == tried:
        return None
    were, would_be = _grave(held), _grave(tried)
    is_settled = all(claim.open_at(end) <= 0 for claim in history.claims if claim.is_late(end))
    return Difference(
        customer_id=history.customer_id,
        held=held,
        tried=tried,
        spared=tuple(act for act in were if act not in would_be),
        burdened=tuple(act for act in would_be if act not in were),
        has_paid=is_settled,
    )


def _grave(lines: Sequence[Line]) -> list[Act]:
    return list(dict.fromkeys(line.step.act for line in lines if line.step.is_grave))
