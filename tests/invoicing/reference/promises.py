"""Commitments, told again: spend that was promised is drawn from what was paid before it, or made up for when its time is over."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from itertools import islice, pairwise

from tests.invoicing.reference.billing import Agreement
from tests.invoicing.reference.dates import boundaries
from tests.invoicing.reference.pricing import to_minor_units

NOTHING = Fraction(0)


@dataclass(frozen=True)
class Promise:
    """Amounts that are promised, each for so many billing periods, from the period on that holds `at`."""

    agreement: str
    at: datetime
    tranches: tuple[tuple[int, str], ...]
    is_paid_before: bool
    overage_rate: str = "1"
    rolls_over: bool = False
    rollover_max: str | None = None


@dataclass
class Tranche:
    """One amount of a promise and what became of it.

    `counted` is what charges took of it, at most all; of one that is made up for at its end `spent` is all that was
    charged, and `missing` what was made up for then, less than nothing where more was spent later.
    """

    promise: Promise
    start: datetime
    end: datetime
    promised: Fraction
    following: "Tranche | None" = None
    rolled_in: Fraction = NOTHING
    is_begun: bool = False
    is_over: bool = False
    counted: Fraction = NOTHING
    spent: Fraction = NOTHING
    missing: Fraction = NOTHING
    expired: Fraction = NOTHING
    rolled_over: Fraction = NOTHING

    @property
    def left(self) -> Fraction:
        """What charges may still take of it."""
        if self.promise.is_paid_before:
            return self.promised + self.rolled_in - self.counted - self.expired - self.rolled_over
        return max(self.promised - self.spent, NOTHING)

    @property
    def taken(self) -> Fraction:
        """What charges took of it."""
        return self.counted if self.promise.is_paid_before else min(self.spent, self.promised)

    @property
    def made_up(self) -> Fraction:
        """What is owed at its end because less was spent than was promised."""
        return max(self.missing, NOTHING)

    def is_due(self, end: datetime) -> bool:
        """Whether it begins with, or before, the end of a bill, and is not over."""
        return self.start <= end and not self.is_over

    def holds(self, start: datetime) -> bool:
        """Whether what is charged in a billing period that begins then counts."""
        return self.start <= start < self.end

    def ends_with(self, start: datetime, end: datetime, ended_at: datetime) -> bool:
        """Whether a bill is its last: the one in which it ends or its agreement does, or the first after that."""
        return self.start <= start and (self.end <= end or ended_at <= end)

    def close(self, ended_at: datetime) -> None:
        """Let what is left expire, or go on into the next one as far as was agreed."""
        left, most = self.left, self.promise.rollover_max
        if self.promise.rolls_over and self.following is not None and ended_at > self.end:
            self.rolled_over = left if most is None else min(left, Fraction(most))
            self.following.rolled_in = self.rolled_over
        self.expired = left - self.rolled_over


@dataclass
class Draw:
    """What the charges of one bill took of a tranche, and what more, or less, those beyond it cost."""

    tranche: Tranche
    spent: Fraction
    counted: Fraction
    beyond: Fraction
    parts: Sequence[Fraction] = field(default_factory=tuple)
    parts_beyond: Sequence[Fraction] = field(default_factory=tuple)

    @property
    def is_settled(self) -> bool:
        """Say whether what was paid before is over, on a bill that was written: then each line keeps what was taken off it."""
        return self.tranche.promise.is_paid_before and self.tranche.is_over and bool(self.parts)

    def again(self, spent: Fraction, decimals: int) -> None:
        """Take what the tranche has left today, as more or less was spent; once it is over what was taken stays."""
        tranche = self.tranche
        if tranche.promise.is_paid_before and tranche.is_over:
            return
        tranche.missing -= spent - self.spent if tranche.is_over else NOTHING
        before = self.counted
        self.counted = min(spent, before + tranche.left)
        tranche.counted += self.counted - before
        tranche.spent += spent - self.spent
        self.spent = spent
        self.beyond = beyond(tranche.promise, spent - self.counted, decimals)


def first_draw(tranche: Tranche, spent: Fraction, decimals: int) -> Draw:
    """Take as much of a tranche as was spent, and it has left."""
    counted = min(spent, tranche.left)
    tranche.counted += counted
    tranche.spent += spent
    return Draw(tranche, spent, counted, beyond(tranche.promise, spent - counted, decimals))


def beyond(promise: Promise, excess: Fraction, decimals: int) -> Fraction:
    """What spend beyond a promise costs more, or less, than its list price."""
    return to_minor_units(excess * (Fraction(promise.overage_rate) - 1), decimals)


def tranches_of(promise: Promise, agreement: Agreement, timezone: str) -> list[Tranche]:
    """The tranches of a promise, counted in the billing periods of its agreement."""
    spans = list(spans_of(promise, agreement, timezone))
    found = [
        Tranche(promise, start, end, Fraction(amount))
        for (start, end), (_, amount) in zip(spans, promise.tranches, strict=True)
    ]
    for tranche, following in pairwise(found):
        tranche.following = following
    return found


def spans_of(promise: Promise, agreement: Agreement, timezone: str) -> Iterator[tuple[datetime, datetime]]:
    """When each tranche begins and ends."""
    periods = periods_held(promise, agreement, timezone)
    for number, _ in promise.tranches:
        held = list(islice(periods, number))
        yield held[0][0], held[-1][1]


def periods_held(promise: Promise, agreement: Agreement, timezone: str) -> Iterator[tuple[datetime, datetime]]:
    """The billing periods from that one on that holds the moment of a promise."""
    first = agreement.stretches[0]
    since = agreement.counted_from or first.start
    for start, end in pairwise(boundaries(since, agreement.anchor, first.plan["cadence"], timezone)):
        if promise.at < end:
            yield start, end
