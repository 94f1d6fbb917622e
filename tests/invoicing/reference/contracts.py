"""Random contracts and what happened under them, drawn so that they meet at the edges: month ends, clock changes, tier bounds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import takewhile
from random import Random
from zoneinfo import ZoneInfo

from tests.invoicing.reference.billing import FOR_EVER, Account, Agreement, Stretch
from tests.invoicing.reference.dates import boundaries
from tests.invoicing.reference.deeds import Deed, Drawn, changed_by, done
from tests.invoicing.reference.discounts import Redeemed
from tests.invoicing.reference.extras import draw_add_on, draw_grants, draw_promise
from tests.invoicing.reference.moments import later, span
from tests.invoicing.reference.plans import RULES, Plan, draw_coupon, draw_own_price, draw_plan, sold
from tests.metering.reference import Fact

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
LONGEST = {"week": 4, "month": 3, "quarter": 2, "year": 2}


@dataclass(frozen=True)
class Wave:
    """What became known, and the billing run after that."""

    facts: tuple[Fact, ...]
    billed_at: datetime


@dataclass(frozen=True)
class Story:
    """A contract as it begins and what was done to it, and when what became known and was billed."""

    account: Account
    plans: tuple[Plan, ...]
    deeds: tuple[Deed, ...]
    waves: tuple[Wave, ...]

    def known_at(self, wave: int) -> list[Fact]:
        """Everything that was known at a billing run."""
        return [fact for told in self.waves[: wave + 1] for fact in told.facts]

    def done_at(self, wave: int) -> Account:
        """What the contract was by a billing run."""
        return done(self.account, [deed for deed in self.deeds if deed.wave <= wave])


def draw_story(dice: Random, name: str) -> Story:
    """One contract with its events; the same dice make the same story."""
    account, plans, deeds = _account(dice, name)
    first = account.agreements[0]
    count = dice.randint(1, LONGEST[first.stretches[0].plan["cadence"]]) + 1
    bounds = _bounds(first, account.timezone, count)
    moments = [
        moment
        for agreement in done(account, deeds).agreements
        for moment in _edges(agreement, account.timezone, bounds[-1])
    ]
    facts = [_fact(dice, name, number, moments, bounds[-1]) for number in range(dice.randint(0, 30))]
    runs = [*sorted(dice.choice(bounds[1:-1] or bounds[1:]) for _ in range(dice.choice((1, 1, 2)))), bounds[-1]]
    return Story(account, plans, _in_time(dice, deeds, runs), _waves(dice, facts, runs))


def _waves(dice: Random, facts: Sequence[Fact], runs: Sequence[datetime]) -> tuple[Wave, ...]:
    """Each event becomes known before some run after it happened; of one that is still to come, before the last."""
    known: list[list[Fact]] = [[] for _ in runs]
    for fact in facts:
        possible = [wave for wave, billed_at in enumerate(runs) if fact.at < billed_at] or [len(runs) - 1]
        known[possible[0] if dice.random() < 0.75 else dice.choice(possible)].append(fact)
    return tuple(Wave(tuple(told), billed_at) for told, billed_at in zip(known, runs, strict=True))


def _in_time(dice: Random, deeds: Sequence[Deed], runs: Sequence[datetime]) -> tuple[Deed, ...]:
    """Some people plan everything at the start; the others change their contract when its time has come."""
    if dice.random() < 0.5:
        return tuple(deeds)
    started = {deed.agreement: deed.at for deed in deeds if deed.what == "start"}
    last = len(runs) - 1
    told = []
    for deed in deeds:
        at = started[deed.agreement] if deed.what in ("move", "refused") else deed.at
        told.append(replace(deed, wave=next((wave for wave, billed_at in enumerate(runs) if at < billed_at), last)))
    return tuple(sorted(told, key=lambda deed: deed.wave))


def _account(dice: Random, name: str) -> tuple[Account, tuple[Plan, ...], tuple[Deed, ...]]:
    zone = dice.choice(ZONES)
    currency = dice.choice(("USD", "EUR", "JPY", "KWD"))
    started_at = _moment(dice, zone)
    cadence = dice.choice(("week", "month", "month", "month", "quarter", "year"))
    meters = list(RULES)
    dice.shuffle(meters)
    cut = dice.randint(1, 4)
    ended_at = started_at + span(dice, cadence) if dice.random() < 0.4 else None
    # Another agreement beside the first one with other meters, added to it or not; or right after it with any.
    has_second = dice.random() < 0.45
    is_after = has_second and ended_at is not None and dice.random() < 0.6
    first = _agreement(
        dice,
        f"{name}_1",
        cadence,
        currency,
        meters[:cut] if has_second and not is_after else meters,
        started_at,
        ended_at,
        can_go_on=not is_after,
    )
    drawn = [first]
    if has_second and not is_after and dice.random() < 0.6:
        drawn += draw_add_on(dice, f"{name}_2", currency, meters[cut:], first)
    elif has_second:
        begins = started_at + timedelta(seconds=dice.randint(0, 40 * 86400))
        if is_after and ended_at is not None:
            begins = ended_at
        others = meters if is_after else meters[cut:]
        drawn.append(_agreement(dice, f"{name}_2", cadence, currency, others, begins, None))
    deeds = [deed for one in drawn for deed in one.deeds]
    account = Account(f"cust_{name}", currency, zone, tuple(one.agreement for one in drawn))
    at_last = done(account, deeds)
    for one in drawn:
        deeds = draw_promise(dice, one, at_last, deeds)
    for number in range(dice.choice((0, 0, 1, 2, 3))):
        redeemed = _redeemed(dice, name, number, currency, at_last.agreements)
        deeds.append(Deed(redeemed.agreement, "redeem", redeemed.at, redeemed=redeemed))
    plans = tuple(plan for one in drawn for plan in one.plans)
    deeds += draw_grants(dice, name, currency, started_at, [plan[0]["key"] for plan in plans])
    return account, plans, tuple(deeds)


def _redeemed(dice: Random, name: str, number: int, currency: str, agreements: Sequence[Agreement]) -> Redeemed:
    """A coupon that one agreement or all of them use; where several cadences meet, it holds for ever."""
    agreement = dice.choice(agreements)
    is_for_all = dice.random() < 0.4
    about = agreements if is_for_all else [agreement]
    plans = [stretch.plan for one in about for stretch in one.stretches]
    coupon = draw_coupon(dice, f"C{name}X{number}", currency, plans)
    if (is_for_all and len(agreements) > 1) or len({plan["cadence"] for plan in plans}) > 1:
        coupon = {key: value for key, value in coupon.items() if key != "periods"} | {"duration": "forever"}
    at = later(dice, agreement.started_at, "month", FOR_EVER)
    assert at is not None
    return Redeemed(coupon | {"position": number + 1}, "" if is_for_all else agreement.key, at)


def _agreement(
    dice: Random,
    name: str,
    cadence: str,
    currency: str,
    meters: Sequence[str],
    started_at: datetime,
    ended_at: datetime | None,
    *,
    can_go_on: bool = True,
) -> Drawn:
    """An agreement as it begins and what was done to it after its start, in the order of time."""
    key, end = f"sub_{name}", ended_at or FOR_EVER
    plans = [draw_plan(dice, f"plan_{name}_0", cadence, currency, meters)]
    stretch = Stretch(started_at, end, sold(plans[0], started_at), dice.choice((1, 1, 1, 3)))
    stretches, moved, trial_ends_at = [stretch], list[Deed](), None
    if dice.random() < 0.3:
        stretches, moved, trial_ends_at = _trial(dice, key, cadence, stretch)
    begun = now = Agreement(key, dice.choice(("calendar", "anniversary")), tuple(stretches), ended_at, trial_ends_at)
    deeds = [Deed(key, "start", started_at), *moved]
    for deed in moved:
        now = changed_by(now, deed)
    at = started_at
    for number in range(dice.choice((0, 0, 1, 2, 4, 5))):
        moment = later(dice, at, cadence, end)
        if moment is None:
            break
        at = moment
        then = next(stretch for stretch in now.stretches if stretch.start <= at < stretch.end)
        what = dice.choice(
            ("plan", "version", "seats", "pause", "own") if then.kind != "paused" else ("resume", "plan", "own")
        )
        if what == "pause" and then.kind == "trial":
            deeds.append(Deed(key, "refused", at))
            continue
        if what == "own":
            deeds.append(Deed(key, "own", at, own=draw_own_price(dice, then.plan, at, FOR_EVER)))
            continue
        new = None
        if what == "plan":
            new_cadence = dice.choice((cadence, cadence, cadence, "week", "month", "quarter", "year"))
            plans.append(draw_plan(dice, f"plan_{name}_{number + 1}", new_cadence, currency, meters))
            new = sold(plans[-1], at)
        elif what == "version":
            what, new = "plan", sold(next(plan for plan in plans if plan[0]["key"] == then.plan["key"]), at)
        deeds.append(Deed(key, what, at, new, dice.choice((2, 5)) if what == "seats" else 0))
        now = changed_by(now, deeds[-1])
    if ended_at is not None and can_go_on and dice.random() < 0.4:
        deeds.append(Deed(key, "reactivate", ended_at + dice.choice((timedelta(), span(dice, "week")))))
    elif ended_at is None and dice.random() < 0.25 and (moment := later(dice, at, cadence, end)) is not None:
        deeds.append(Deed(key, "end", moment))
    return Drawn(begun, tuple(plans), tuple(deeds))


def _trial(dice: Random, key: str, cadence: str, stretch: Stretch) -> tuple[list[Stretch], list[Deed], datetime | None]:
    """Begin with a trial until the moment that is returned; some of these ends are moved, some trials cut by the end."""
    agreed, moved = [later(dice, stretch.start, cadence, stretch.end) for _ in range(2)]
    if agreed is None:
        return [replace(stretch, kind="trial")], [], stretch.end + timedelta(days=1)
    deeds = [Deed(key, "move", moved)] if moved is not None and dice.random() < 0.4 else []
    last = deeds[0].at if deeds else agreed
    return [replace(stretch, end=last, kind="trial"), replace(stretch, start=last)], deeds, agreed


def _moment(dice: Random, zone: str) -> datetime:
    """An odd day, or the one after, or any; midnight, the hours of clock changes, or any second, there."""
    day = dice.choice(ODD_DAYS) + timedelta(days=dice.choice((0, 0, 1, dice.randint(0, 60))))
    clock = dice.choice((time(0), time(1, 30), time(2), time(2, 30), time(3), time(23, 59, 59)))
    if dice.random() < 0.3:
        clock = time(dice.randint(0, 23), dice.randint(0, 59), dice.randint(0, 59), dice.choice((0, 1, 999_999)))
    return datetime.combine(day, clock, ZoneInfo(zone)).astimezone(UTC)


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
        properties={"user": f"user-{dice.randint(1, 4)}"} | dice.choice(({}, {"size": "small"}, {"size": "large"})),
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
