"""What a policy would have done: the steps that it takes over recorded facts, worked out from moment to moment, without a clock or a database.

The facts are taken as they were: what was paid is paid at its moment, whoever was reminded before. Money on account, cards that were never
charged, and mails that did not arrive keep the sweep waiting, and are no part of this.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from dunning.core.calendar import Anchor, Planned, first_allowed, is_allowed, local_day, local_moment, plan, plan_after
from dunning.core.policy import CountsFrom, PolicyTerms, Step

TermsAt = Callable[[datetime], PolicyTerms]


@dataclass(frozen=True)
class Gone:
    """What an invoice is less from a moment on: a payment, or something else that settles it."""

    at: datetime
    amount: Decimal
    is_payment: bool


@dataclass(frozen=True)
class Stretch:
    """From a moment on until another one, or for good; `amount` is what is objected to meanwhile."""

    start: datetime
    end: datetime | None
    amount: Decimal = Decimal(0)

    def holds(self, at: datetime) -> bool:
        """Say whether it is in force at a moment."""
        return self.start <= at and (self.end is None or at < self.end)


@dataclass(frozen=True)
class Claim:
    """An issued invoice: over how much, due when and where, what went off it, when its charge was refused, what was objected to."""

    invoice_id: int
    number: str
    issued_at: datetime
    due_date: date
    zone: ZoneInfo
    amount: Decimal
    gone: tuple[Gone, ...] = ()
    refusals: tuple[datetime, ...] = ()
    objections: tuple[Stretch, ...] = ()

    @property
    def overdue_at(self) -> datetime:
        """When its due date is over."""
        return local_moment(day=self.due_date + timedelta(days=1), hour=time(), zone=self.zone)

    def open_at(self, at: datetime) -> Decimal:
        """What is owed of it at a moment and not objected to: what comes in the same second counts as paid."""
        if at < self.issued_at:
            return Decimal(0)
        less = sum((one.amount for one in self.gone if one.at <= at), Decimal(0))
        objected = sum((one.amount for one in self.objections if one.holds(at)), Decimal(0))
        return max(self.amount - less - objected, Decimal(0))

    def is_late(self, at: datetime) -> bool:
        """Say whether it is past its due date, or refused by then."""
        return at >= self.overdue_at or self.is_refused(at)

    def is_refused(self, at: datetime) -> bool:
        """Say whether its charge was refused by then."""
        return bool(self.refusals) and self.refusals[0] <= at

    def counts(self, at: datetime, terms: PolicyTerms) -> bool:
        """Say whether a policy chases it at a moment."""
        return (at >= self.overdue_at or (self.is_refused(at) and terms.counts_from is CountsFrom.FAILURE)) and (
            self.open_at(at) > 0
        )

    def anchor(self, at: datetime, terms: PolicyTerms, zone: ZoneInfo) -> Anchor:
        """Return from which day on its days are counted."""
        if not self.is_refused(at) or terms.counts_from is CountsFrom.DUE:
            return Anchor(self.due_date)
        refused_on = local_day(at=self.refusals[0], zone=zone)
        return Anchor(refused_on, self.refusals[0]) if refused_on <= self.due_date else Anchor(self.due_date)

    @property
    def moments(self) -> Iterator[datetime]:
        """The moments at which it becomes another."""
        yield from (self.issued_at, self.overdue_at, *self.refusals)
        yield from (one.at for one in self.gone)
        for one in self.objections:
            yield from (one.start, *([one.end] if one.end else []))


@dataclass(frozen=True)
class History:
    """What is on record of a customer: its invoices, and when its steps had to wait for a hold or a promise."""

    customer_id: int
    currency: str
    zone: ZoneInfo
    claims: tuple[Claim, ...]
    waits: tuple[Stretch, ...] = ()


@dataclass(frozen=True)
class Taken:
    """A step that would have been taken: its place in the policy, when it was due and taken, and over how much."""

    number: int
    step: Step
    due_at: datetime
    at: datetime
    amount: Decimal


@dataclass(frozen=True)
class Chase:
    """A case that would have been: with which invoice it begins, by which terms, its steps, and when it is settled (None: not yet)."""

    anchor: Claim
    terms: PolicyTerms
    opened_at: datetime
    taken: tuple[Taken, ...]
    ahead: tuple[Planned, ...]
    settled_at: datetime | None


def course_of(*, history: History, terms_at: TermsAt, until: datetime, changes: Sequence[datetime] = ()) -> list[Chase]:
    """Return the cases of a customer up to a moment, in order; `changes` are the moments at which `terms_at` says something else."""
    moments = sorted(
        {one for claim in history.claims for one in claim.moments}
        | {one.start for one in history.waits}
        | {one.end for one in history.waits if one.end}
        | set(changes)
    )
    moments = [one for one in moments if one <= until]
    found: list[Chase] = []
    place = 0
    while place < len(moments):
        chase = _opened(history, terms_at, moments[place], moments, until)
        if chase is None:
            place += 1
            continue
        found.append(chase)
        if chase.settled_at is None or chase.settled_at > until:
            break
        # What else is late at that moment is a case of its own from then on.
        place = moments.index(chase.settled_at)
    return found


def _opened(
    history: History, terms_at: TermsAt, at: datetime, moments: Sequence[datetime], until: datetime
) -> Chase | None:
    """Return the case that is opened at a moment, as it goes on from there; None where nobody is late enough."""
    terms = terms_at(at)
    debts = [claim for claim in history.claims if claim.counts(at, terms)]
    if not debts or sum(claim.open_at(at) for claim in debts) < terms.minimum(history.currency):
        return None
    anchors = [(claim.anchor(at, terms, history.zone), claim) for claim in debts]
    anchor, claim = min(anchors, key=lambda pair: (pair[0].day, pair[1].invoice_id))
    settled_at = next((one for one in moments if one >= at and claim.open_at(one) <= 0), None)
    taken: list[Taken] = []
    delay, now = 0, at
    ahead: Sequence[Planned] = plan(terms=terms, anchor=anchor, zone=history.zone)
    while ahead:
        moment = _free(history, terms, max(now, ahead[0].due_at), moments, settled_at or until)
        if moment is None or moment > until or (settled_at is not None and moment >= settled_at):
            break
        one, now = ahead[0], moment
        delay, ahead = plan_after(
            taken=one, done_at=moment, terms=terms, anchor=anchor, zone=history.zone, delay_days=delay
        )
        taken.append(Taken(one.number, one.step, one.due_at, moment, _chased(history, terms, moment)))
    return Chase(claim, terms, at, tuple(taken), tuple(ahead), settled_at)


def _free(
    history: History, terms: PolicyTerms, at: datetime, moments: Sequence[datetime], last: datetime
) -> datetime | None:
    """Return the first moment from one on at which a step may be taken; None where there is none up to the last one."""
    moment = at
    while moment <= last:
        wait = next((one for one in history.waits if one.holds(moment)), None)
        if wait is not None:
            if wait.end is None:
                return None
            moment = wait.end
        elif not is_allowed(at=moment, terms=terms, zone=history.zone):
            moment = first_allowed(at=moment, terms=terms, zone=history.zone)
        elif _chased(history, terms, moment) < max(terms.minimum(history.currency), Decimal("1E-9")):
            following = next((one for one in moments if one > moment), None)
            if following is None:
                return None
            moment = following
        else:
            return moment
    return None


def _chased(history: History, terms: PolicyTerms, at: datetime) -> Decimal:
    return sum((claim.open_at(at) for claim in history.claims if claim.counts(at, terms)), Decimal(0))
