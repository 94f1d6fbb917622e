"""Random contracts and what happened under them, drawn so that they meet at the edges: month ends, clock changes, tier bounds."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from tests.invoicing.reference.billing import Account, Agreement
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
class Story:
    """A contract, what was known when it was first billed, what came late, and the moments of the two billing runs."""

    account: Account
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
    account = _account(dice, name)
    first = account.agreements[0]
    count = dice.randint(1, LONGEST[first.plan["cadence"]]) + 1
    bounds = _bounds(first, account.timezone, count)
    moments = [moment for agreement in account.agreements for moment in _edges(agreement, account.timezone, bounds[-1])]
    facts = [_fact(dice, name, number, moments, bounds[-1]) for number in range(dice.randint(0, 30))]
    billed_at = dice.choice(bounds[1:])
    # What happened after the first run cannot have been known then.
    known = [fact for fact in facts if fact.at < billed_at and dice.random() < 0.8]
    after = [fact for fact in facts if fact not in known]
    return Story(account, tuple(known), tuple(after), billed_at, bounds[-1])


def _account(dice: Random, name: str) -> Account:
    zone = dice.choice(ZONES)
    currency = dice.choice(("USD", "EUR", "JPY", "KWD"))
    started_at = _moment(dice, zone)
    cadence = dice.choice(("week", "month", "month", "month", "quarter", "year"))
    anchor = dice.choice(("calendar", "anniversary"))
    meters = list(RULES)
    dice.shuffle(meters)
    cut = dice.randint(1, 4)
    ended_at = started_at + _span(dice, cadence) if dice.random() < 0.5 else None
    agreements = [
        Agreement(
            f"sub_{name}_1",
            _plan(dice, f"plan_{name}_1", cadence, currency, meters[:cut]),
            started_at,
            ended_at,
            anchor,
        )
    ]
    if dice.random() < 0.4:
        # Beside the first one with other meters, or right after it with any.
        after = ended_at is not None and dice.random() < 0.7
        begins = (
            ended_at if after and ended_at is not None else started_at + timedelta(seconds=dice.randint(0, 40 * 86400))
        )
        free = meters if after else meters[cut:]
        plan = _plan(dice, f"plan_{name}_2", cadence, currency, free[: dice.randint(1, 2)])
        agreements.append(Agreement(f"sub_{name}_2", plan, begins, None, dice.choice(("calendar", "anniversary"))))
    return Account(f"cust_{name}", currency, zone, tuple(agreements))


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
    every = boundaries(agreement.started_at, agreement.anchor, agreement.plan["cadence"], timezone)
    return [bound for bound, _ in zip(every, range(count), strict=False)]


def _edges(agreement: Agreement, timezone: str, until: datetime) -> list[datetime]:
    """The moments at which something changes for an agreement."""
    edges = [agreement.started_at, *([agreement.ended_at] if agreement.ended_at else [])]
    for bound in boundaries(agreement.started_at, agreement.anchor, agreement.plan["cadence"], timezone):
        if bound > until:
            return edges
        edges.append(bound)
    return edges


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
    return {"key": key, "product": "product", "cadence": cadence, "prices": prices}


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
