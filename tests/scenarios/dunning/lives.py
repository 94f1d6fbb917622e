"""Customers as chance has them: how they pay, what their bank says, and what happens to them over the months."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from tests.scenarios.dunning.facts import Record
from tests.scenarios.dunning.twin import UNDER_WAY

ZONES = (
    "Asia/Kathmandu",
    "America/Sao_Paulo",
    "America/New_York",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "Pacific/Kiritimati",
    "Pacific/Honolulu",
)
# How many of a hundred live so.
HABITS = {"prompt": 45, "late": 25, "very late": 10, "mixed": 16, "never": 4}
DAYS = {"prompt": (0, 8), "late": (8, 26), "very late": (20, 65), "never": (0, 1)}
CODES = {
    "card_declined": 30,
    "insufficient_funds": 30,
    "processing_error": 15,
    "authentication_required": 10,
    "stolen_card": 8,
    "expired_card": 7,
}


@dataclass(frozen=True)
class Coming:
    """Something that a customer, its bank or somebody of the house will do at a moment; `after` a look of the same moment."""

    at: datetime
    what: str
    invoice: int = -1
    after: bool = False
    said: str = ""
    share: Decimal = Decimal(1)
    days: int = 0


@dataclass
class Paper:
    """An invoice as the world knows it: what is truly paid of it, and what the bank will answer."""

    row: int
    total: Decimal
    due: date
    is_charged: bool
    answers: list[str] = field(default_factory=list)
    paid: Decimal = Decimal(0)
    credited: Decimal = Decimal(0)
    objected: Decimal = Decimal(0)
    objection: int = 0
    is_paid_elsewhere_meanwhile: bool = False
    payments: list[tuple[int, Decimal]] = field(default_factory=list)
    # From where in the world to where a debit was under way.
    debits: list[list[int | None]] = field(default_factory=list)

    @property
    def open(self) -> Decimal:
        return self.total - self.paid - self.credited

    def is_being_paid_at(self, number: int) -> bool:
        """Whether a debit was truly under way at a place of the world."""
        return any(begun is not None and begun < number and (end is None or number < end) for begun, end in self.debits)

    def open_at(self, number: int) -> Decimal:
        """What was truly open at a place of the world."""
        return self.total - sum((amount for place, amount in self.payments if place < number), Decimal(0))


@dataclass
class Life(Record):
    """A customer of the world with a chance of its own: it lives the same whoever else is there."""

    chance: Random = field(default_factory=Random)
    habit: str = ""
    begins: datetime = datetime(2027, 1, 1, tzinfo=UTC)
    cadence: str = "month"
    email: str = ""
    row: int = 0
    card: str = ""
    papers: list[Paper] = field(default_factory=list)
    subscriptions: int = 0
    promise: int = 0
    hold: int = 0
    holds: int = 0


def a_life(number: int, *, seed: int, begin: datetime) -> Life:
    """A customer, where and how chance has it."""
    key = f"cust_{number}"
    chance = Random(f"{seed} {key}")
    life = Life(
        key=key,
        zone=ZoneInfo(chance.choice(ZONES)),
        policy=chance.choice(("standard", "standard", "short", "careful")),
        has_card=chance.random() < 0.4,
        registered_at=begin,
        chance=chance,
        habit=chance.choices(list(HABITS), list(HABITS.values()))[0],
        begins=begin + timedelta(days=chance.randrange(12), minutes=chance.randrange(1440)),
        cadence=chance.choice(("month", "month", "quarter")),
    )
    life.email = f"{key}@{'bounces' if chance.random() < 0.03 else 'mail'}.example"
    return life


def what_comes(life: Life, *, months: int) -> list[Coming]:
    """What happens to a customer over the months whatever it owes: plan changes, an end, perhaps a return, holds, another card."""
    chance, found = life.chance, []
    days = months * 30

    def some_day(least: int = 5) -> datetime:
        return life.begins + timedelta(
            days=chance.randrange(least, max(days, least + 1)), minutes=chance.randrange(1440)
        )

    found += [Coming(some_day(), "plan") for _ in range(chance.choice((0, 0, 0, 1, 2)))]
    if chance.random() < 0.15:
        end = some_day(20)
        found.append(Coming(end, "cancel", days=chance.choice((0, 0, 10))))
        if chance.random() < 0.5:
            found.append(Coming(end + timedelta(days=chance.randrange(15, 90)), "return"))
    for kind in ("vip", "legal"):
        if chance.random() < 0.12:
            held = some_day()
            found.append(Coming(held, "hold", said=kind, days=chance.choice((0, 3, 20, 40))))
            found.append(Coming(held + timedelta(days=chance.randrange(2, 50)), "lift"))
    if life.has_card and chance.random() < 0.3:
        found.append(Coming(some_day(), "card"))
    return found


def on_invoice(life: Life, place: int, *, at: datetime, looks: list[datetime]) -> list[Coming]:
    """What a customer does about an invoice that was just issued."""
    chance, paper = life.chance, life.papers[place]
    how = chance.choice(("prompt", "late", "very late", "never")) if life.habit == "mixed" else life.habit
    paid_at = at + timedelta(days=chance.randrange(*DAYS[how]), minutes=chance.randrange(1, 1440))
    found: list[Coming] = []
    if paper.is_charged:
        refusals = {"prompt": 0.04, "late": 0.5, "very late": 0.8, "never": 1}[how]
        if chance.random() < refusals:
            count = chance.choice((1, 1, 2, 3, 5)) if how != "never" else 99
            code = chance.choices(list(CODES), list(CODES.values()))[0]
            paper.answers = [code if chance.random() < 0.8 else "card_declined" for _ in range(count)]
            if how != "never":
                what = chance.choice(("page", "page", "transfer", "card", "wait"))
                if what != "wait":
                    found.append(_snapped(Coming(paid_at, what, place), chance, looks))
        paper.is_paid_elsewhere_meanwhile = chance.random() < 0.01
        if how != "never" and chance.random() < 0.15:
            # From its account, which takes days: at once, or on Stripe's page. Some debits come back.
            if chance.random() < 0.5:
                paper.answers.insert(0, UNDER_WAY)
            else:
                found.append(_snapped(Coming(paid_at, "debit", place), chance, looks))
    elif how != "never":
        parts = chance.choice((1, 1, 1, 2, 3))
        shares = [Decimal("0.30"), Decimal("0.25"), Decimal(1)][-parts:] if parts > 1 else [Decimal(1)]
        for number, share in enumerate(shares):
            moment = paid_at + timedelta(days=number * chance.randrange(1, 9))
            if number == 2 and chance.random() < 0.2:
                continue
            found.append(_snapped(Coming(moment, "transfer", place, share=share), chance, looks))
    elif chance.random() < 0.3:
        found.append(Coming(paid_at + timedelta(days=5), "transfer", place, share=Decimal("0.4")))
    if chance.random() < 0.12:
        asked = at + timedelta(days=chance.randrange(9, 40), minutes=chance.randrange(1440))
        found.append(Coming(asked, "promise", place, share=Decimal(str(chance.choice(("1", "1", "0.5", "0.34"))))))
        if chance.random() < 0.1:
            found.append(Coming(asked + timedelta(days=chance.randrange(2, 20)), "withdraw"))
    if chance.random() < 0.06:
        asked = at + timedelta(days=chance.randrange(1, 25), minutes=chance.randrange(1440))
        found.append(Coming(asked, "object", place, share=Decimal(str(chance.choice(("1", "0.5", "0.2"))))))
        said = "accept" if chance.random() < 0.5 and not paper.is_charged else "refuse"
        found.append(Coming(asked + timedelta(days=chance.randrange(3, 30)), "decide", place, said=said))
    return found


def _snapped(coming: Coming, chance: Random, looks: list[datetime]) -> Coming:
    """Now and then in the very second of a look: before it, or between its decision and its mail."""
    if chance.random() > 0.2:
        return coming
    near = next((look for look in looks if look >= coming.at), None)
    members: dict[str, Any] = {"at": near or coming.at, "after": chance.random() < 0.5}
    return Coming(what=coming.what, invoice=coming.invoice, share=coming.share, **members)
