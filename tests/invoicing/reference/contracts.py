"""Random contracts and what happened under them, drawn so that they meet at the edges: month ends, clock changes, tier bounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import takewhile
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from tests.invoicing.reference.billing import FOR_EVER, Account, Agreement, Stretch
from tests.invoicing.reference.dates import boundaries
from tests.metering.reference import Fact, Rule

ZONES = (
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "America/New_York",
    "America/St_Johns",
    "America/Sao_Paulo",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Auckland",
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
)
# Days on which something is odd: the last and first of months, leap days, clock changes of those zones.
ODD_DAYS = (
    date(2023, 12, 31),
    date(2024, 1, 30),
    date(2024, 1, 31),
    date(2024, 2, 29),
    date(2024, 3, 10),
    date(2024, 3, 31),
    date(2024, 4, 7),
    date(2024, 8, 31),
    date(2024, 9, 29),
    date(2024, 10, 27),
    date(2024, 11, 3),
    date(2025, 1, 1),
    date(2025, 2, 28),
    date(2025, 3, 30),
    date(2025, 4, 6),
    date(2025, 5, 31),
    date(2025, 10, 26),
    date(2025, 11, 2),
    date(2025, 12, 31),
)
RULES = {
    "units": Rule("thing.used"),
    "calls": Rule("thing.called", aggregation="count"),
    "peak": Rule("thing.seen", aggregation="max"),
    "users": Rule("thing.opened", aggregation="unique_count", value_property="user"),
    "lately": Rule("thing.set", aggregation="latest"),
    "held": Rule("thing.held", aggregation="time_weighted_sum"),
}
METERS = [
    {"key": key, "event_type": rule.event_type, "aggregation": rule.aggregation, "value_property": rule.value_property}
    for key, rule in RULES.items()
]
LONGEST = {"week": 4, "month": 3, "quarter": 2, "year": 1}


@dataclass(frozen=True)
class Deed:
    """What was done to a running agreement: another `plan`, so many `seats`, a `pause`, or to `resume`."""

    agreement: str
    what: str
    at: datetime
    plan: Mapping[str, Any] | None
    seats: int


@dataclass(frozen=True)
class Story:
    """A contract and how it changed, what was known when it was first billed, what came late, and when it was billed."""

    account: Account
    deeds: tuple[Deed, ...]
    early: tuple[Fact, ...]
    late: tuple[Fact, ...]
    billed_at: datetime
    billed_again_at: datetime

    @property
    def facts(self) -> tuple[Fact, ...]:
        """Everything that happened."""
        return (*self.early, *self.late)


def draw_story(dice: Random, name: str) -> Story:
    """One contract with its events; the same dice make the same story."""
    account, deeds = _account(dice, name)
    first = account.agreements[0]
    count = dice.randint(1, LONGEST[first.stretches[0].plan["cadence"]]) + 1
    bounds = _bounds(first, account.timezone, count)
    moments = [moment for agreement in account.agreements for moment in _edges(agreement, account.timezone, bounds[-1])]
    facts = [_fact(dice, name, number, moments, bounds[-1]) for number in range(dice.randint(0, 30))]
    billed_at = dice.choice(bounds[1:])
    # What happened after the first run cannot have been known then.
    known = [fact for fact in facts if fact.at < billed_at and dice.random() < 0.8]
    after = [fact for fact in facts if fact not in known]
    return Story(account, deeds, tuple(known), tuple(after), billed_at, bounds[-1])


def _account(dice: Random, name: str) -> tuple[Account, tuple[Deed, ...]]:
    zone = dice.choice(ZONES)
    currency = dice.choice(("USD", "EUR", "JPY", "KWD"))
    started_at = _moment(dice, zone)
    cadence = dice.choice(("week", "month", "month", "month", "quarter", "year"))
    meters = list(RULES)
    dice.shuffle(meters)
    cut = dice.randint(1, 4)
    ended_at = started_at + _span(dice, cadence) if dice.random() < 0.4 else None
    # Another agreement beside the first one with other meters, or right after it with any.
    has_second = dice.random() < 0.4
    is_after = has_second and ended_at is not None and dice.random() < 0.7
    first, deeds = _agreement(
        dice,
        f"{name}_1",
        cadence,
        currency,
        meters[:cut] if has_second and not is_after else meters,
        started_at,
        ended_at,
    )
    agreements = [first]
    if has_second:
        begins = started_at + timedelta(seconds=dice.randint(0, 40 * 86400))
        if is_after and ended_at is not None:
            begins = ended_at
        second, more = _agreement(
            dice, f"{name}_2", cadence, currency, meters if is_after else meters[cut:], begins, None
        )
        agreements.append(second)
        deeds += more
    return Account(f"cust_{name}", currency, zone, tuple(agreements)), deeds


def _agreement(
    dice: Random,
    name: str,
    cadence: str,
    currency: str,
    meters: Sequence[str],
    started_at: datetime,
    ended_at: datetime | None,
) -> tuple[Agreement, tuple[Deed, ...]]:
    """An agreement and what was done to it after its start, in the order of time."""
    key, end = f"sub_{name}", ended_at or FOR_EVER
    plan = _plan(dice, f"plan_{name}_0", cadence, currency, dice.sample(meters, dice.randint(1, len(meters))))
    stretches = [Stretch(started_at, end, plan, dice.choice((1, 1, 1, 3)))]
    if dice.random() < 0.25:
        trial_end = _later(dice, started_at, cadence, end)
        if trial_end is not None:
            stretches = [
                replace(stretches[0], end=trial_end, kind="trial"),
                replace(stretches[0], start=trial_end),
            ]
    deeds: list[Deed] = []
    at = started_at
    for number in range(dice.choice((0, 0, 1, 2, 4))):
        moment = _later(dice, at, cadence, end)
        if moment is None:
            break
        at = moment
        now = next(stretch for stretch in stretches if stretch.start <= at < stretch.end)
        what = dice.choice(("plan", "seats", "pause") if now.kind != "paused" else ("resume", "plan", "resume"))
        if what == "pause" and now.kind == "trial":
            what = "seats"
        new = None
        if what == "plan":
            new_cadence = dice.choice((cadence, cadence, cadence, "week", "month", "quarter"))
            chosen = dice.sample(meters, dice.randint(1, len(meters)))
            new = _plan(dice, f"plan_{name}_{number + 1}", new_cadence, currency, chosen)
        deed = Deed(key, what, at, new, dice.choice((2, 5)) if what == "seats" else 0)
        stretches = [changed for stretch in stretches for changed in _done_to(stretch, deed)]
        deeds.append(deed)
    return Agreement(key, dice.choice(("calendar", "anniversary")), tuple(stretches)), tuple(deeds)


def _later(dice: Random, at: datetime, cadence: str, end: datetime) -> datetime | None:
    """A moment after this one and before the end; often at an odd hour of the day, or on the same day."""
    days = {"week": 9, "month": 40, "quarter": 70, "year": 200}[cadence]
    moment = at + timedelta(
        days=dice.randint(0, days), seconds=dice.choice((1, 3600, 43200, 86400, dice.randint(1, 86399)))
    )
    if dice.random() < 0.2:
        moment = moment.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return moment if moment < end else None


def _done_to(stretch: Stretch, deed: Deed) -> list[Stretch]:
    """What a deed makes of a stretch: everything from its moment on is another."""
    if stretch.end <= deed.at or (deed.what == "seats" and deed.seats == stretch.seats):
        return [stretch]
    before = [replace(stretch, end=deed.at)] if stretch.start < deed.at else []
    after = replace(stretch, start=max(stretch.start, deed.at))
    if deed.what == "plan":
        after = replace(after, plan=deed.plan)
    elif deed.what == "seats":
        after = replace(after, seats=deed.seats)
    else:
        after = replace(after, kind="paused" if deed.what == "pause" else "active")
    return [*before, after]


def _moment(dice: Random, zone: str) -> datetime:
    """An odd day, or the one after, or any; midnight, the hours of clock changes, or any second, there."""
    day = dice.choice(ODD_DAYS) + timedelta(days=dice.choice((0, 0, 1, dice.randint(0, 60))))
    clock = dice.choice((time(0), time(1, 30), time(2), time(2, 30), time(3), time(23, 59, 59)))
    if dice.random() < 0.3:
        clock = time(dice.randint(0, 23), dice.randint(0, 59), dice.randint(0, 59), dice.choice((0, 1, 999_999)))
    return datetime.combine(day, clock, ZoneInfo(zone)).astimezone(UTC)


def _span(dice: Random, cadence: str) -> timedelta:
    days = {"week": 21, "month": 100, "quarter": 200, "year": 400}[cadence]
    return timedelta(days=dice.randint(0, days), seconds=dice.choice((1, 3600, dice.randint(1, 86399))))


def _bounds(agreement: Agreement, timezone: str, count: int) -> list[datetime]:
    every = boundaries(agreement.started_at, agreement.anchor, agreement.stretches[0].plan["cadence"], timezone)
    return [bound for bound, _ in zip(every, range(count), strict=False)]


def _edges(agreement: Agreement, timezone: str, until: datetime) -> list[datetime]:
    """The moments at which something changes for an agreement."""
    edges = [stretch.start for stretch in agreement.stretches]
    edges += [stretch.end for stretch in agreement.stretches if stretch.end != FOR_EVER]
    cadence = agreement.stretches[0].plan["cadence"]
    return edges + list(takewhile(until.__ge__, boundaries(agreement.started_at, agreement.anchor, cadence, timezone)))


def _fact(dice: Random, name: str, number: int, moments: Sequence[datetime], until: datetime) -> Fact:
    rule = dice.choice(list(RULES.values()))
    if dice.random() < 0.4:
        at = dice.choice(moments) + dice.choice((-1, 0, 0, 1)) * timedelta(microseconds=1)
    else:
        begins = min(moments) - timedelta(days=1)
        at = begins + (until - begins) * Fraction(dice.randint(0, 10**6), 10**6).__float__()
    at = min(at, until + timedelta(hours=1))
    return Fact(
        number=number,
        customer=f"cust_{name}",
        key=f"event-{name}-{number:04}",
        event_type=rule.event_type,
        at=at,
        quantity=Fraction(_quantity(dice)),
        properties={"user": f"user-{dice.randint(1, 4)}"},
    )


def _quantity(dice: Random) -> Decimal:
    return dice.choice(
        (
            Decimal(dice.randint(0, 5)),
            Decimal(dice.randint(1, 1000)),
            Decimal(dice.randint(1, 10**6)) / 1000,
            Decimal(dice.randint(1, 10**12)) / 10**12,
            Decimal(10 * dice.randint(1, 10)),
        )
    )


def _plan(dice: Random, key: str, cadence: str, currency: str, meters: Sequence[str]) -> dict[str, Any]:
    prices = [_price(dice, meter, currency) for meter in meters]
    if dice.random() < 0.7:
        fee = {"model": "flat", "unit_amount": _amount(dice)}
        prices.insert(dice.randint(0, len(prices)), {"key": "fee", "meter": None, "currency": currency, **fee})
    plan = {"key": key, "product": "product", "cadence": cadence, "prices": prices}
    return plan | {"proration": way} if (way := dice.choice(("", "second", "day", "day", "none"))) else plan


def _price(dice: Random, meter: str, currency: str) -> dict[str, Any]:
    model = dice.choice(("per_unit", "graduated", "volume", "package", "percentage", "graduated_percentage"))
    price: dict[str, Any] = {"key": meter, "meter": meter, "currency": currency, "model": model}
    if model == "per_unit":
        price["unit_amount"] = _amount(dice)
    elif model == "percentage":
        price["rate"] = _rate(dice)
    elif model == "package":
        price |= {"package_size": dice.choice(("1", "10", "0.5", "7")), "package_amount": _amount(dice)}
    else:
        price["tiers"] = _tiers(dice, "rate" if model == "graduated_percentage" else "unit_amount")
    if dice.random() < 0.3:
        price["free_units"] = dice.choice(("1", "2.5", "10", "100"))
    if dice.random() < 0.2:
        price["minimum_amount"] = _amount(dice)
    if dice.random() < 0.2:
        price["maximum_amount"] = str(Decimal(price.get("minimum_amount", "0")) + dice.randint(0, 500))
    return price


def _tiers(dice: Random, rate: str) -> list[dict[str, Any]]:
    tiers: list[dict[str, Any]] = []
    bound = Decimal(0)
    for number in range(count := dice.randint(1, 4)):
        bound += dice.choice((Decimal(1), Decimal(10), Decimal(dice.randint(1, 300)) / 4))
        tier: dict[str, Any] = {"up_to": None if number == count - 1 else str(bound)}
        tier[rate] = _rate(dice) if rate == "rate" else _amount(dice)
        if dice.random() < 0.4:
            tier["flat_amount"] = _amount(dice)
        tiers.append(tier)
    return tiers


def _amount(dice: Random) -> str:
    """From nothing to many decimals."""
    decimals = dice.choice((0, 0, 1, 2, 2, 3, 6, 12))
    return str(Decimal(dice.randint(0, 10 ** min(decimals + 2, 12))).scaleb(-decimals))


def _rate(dice: Random) -> str:
    return str(Decimal(dice.randint(0, 1000)).scaleb(-dice.choice((3, 4, 6))))
