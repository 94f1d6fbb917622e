"""What happened to one customer, in its order: all that the oracle knows, and all that a difference is explained by."""

from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from zoneinfo import ZoneInfo


@dataclass(frozen=True)
class Rule:
    """One step of a ladder as its requirement line says: so many days, what is done, and what is told ("": nothing)."""

    day: int
    act: str
    notice: str = ""


@dataclass(frozen=True)
class Ladder:
    """A policy, written down a second time from the requirements."""

    rules: tuple[Rule, ...]
    hour: time = time(9)
    quiet: tuple[time, time] = (time(20), time(8))
    days_off: tuple[int, ...] = ()
    holidays: tuple[date, ...] = ()
    minimum: Decimal = Decimal(0)
    from_failure: bool = True
    retries: int = 4


LADDERS = {
    # S0-125..129.
    "standard": Ladder(
        (
            Rule(0, "notice", "payment_failed"),
            Rule(3, "notice", "reminder"),
            Rule(7, "notice", "reminder"),
            Rule(11, "notice", "warning"),
            Rule(14, "suspend", "suspended"),
            Rule(21, "notice", "final_notice"),
            Rule(28, "close", "closed"),
        )
    ),
    # S1-021..024.
    "short": Ladder(
        (
            Rule(1, "notice", "reminder"),
            Rule(4, "notice", "warning"),
            Rule(7, "restrict", "restricted"),
            Rule(8, "suspend", "suspended"),
        )
    ),
    # A house's own: business days, holidays, a minimum, days from the due date only, an attempt to charge, people in the end.
    "careful": Ladder(
        (
            Rule(2, "notice", "reminder"),
            Rule(5, "retry"),
            Rule(9, "notice", "warning"),
            Rule(12, "restrict", "restricted"),
            Rule(20, "suspend", "suspended"),
            Rule(35, "hand_over"),
        ),
        hour=time(10),
        quiet=(time(18), time(9)),
        days_off=(5, 6),
        holidays=tuple(date(year, *day) for year in range(2027, 2031) for day in ((1, 1), (5, 1), (12, 25), (12, 26))),
        minimum=Decimal(20),
        from_failure=False,
        retries=2,
    ),
}


@dataclass(frozen=True)
class Fact:
    """Something that happened, or that the product heard of: `number` is its place among all that happened in the world."""

    number: int
    at: datetime
    what: str
    invoice: int = -1
    amount: Decimal = Decimal(0)
    said: str = ""
    moment: datetime | None = None
    days: tuple[tuple[date, Decimal], ...] = ()


@dataclass(frozen=True)
class Look:
    """A moment at which the worker looked: what happened before `begins` was there, what came before `ends` came while it looked."""

    at: datetime
    begins: int
    ends: int
    lives: int = 0
    is_without_stripe: bool = False


@dataclass
class Record:
    """One customer of the world: where it is, how it is chased, how it pays, and what happened."""

    key: str
    zone: ZoneInfo
    policy: str
    has_card: bool
    registered_at: datetime
    facts: list[Fact] = field(default_factory=list)


@dataclass(frozen=True)
class Timeline:
    """What came of it: steps (case, number, act, outcome, notice, when), notices (kind, when), moves (from, to, when), charges (invoice, when)."""

    steps: tuple[tuple[int, int, str, str, str, datetime], ...]
    notices: tuple[tuple[str, datetime], ...]
    moves: tuple[tuple[str, str, datetime], ...]
    charges: tuple[tuple[int, datetime], ...]
