"""Random additions to a contract: add-ons, promised spend, and credit."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice
from random import Random

from tests.invoicing.reference.billing import FOR_EVER, Account, Agreement, Stretch
from tests.invoicing.reference.deeds import Deed, Drawn, changed_by
from tests.invoicing.reference.grants import Grant
from tests.invoicing.reference.moments import later
from tests.invoicing.reference.plans import draw_own_price, draw_plan, sold
from tests.invoicing.reference.promises import Promise, periods_held


def draw_add_on(dice: Random, name: str, currency: str, meters: Sequence[str], to: Drawn) -> list[Drawn]:
    """Something that is added to an agreement that keeps its billing periods, if it does."""
    parent = to.agreement
    for deed in to.deeds:
        parent = changed_by(parent, deed)
    cadences = {plan["cadence"] for versions in to.plans for plan in versions}
    begins = parent.started_at if dice.random() < 0.2 else later(dice, parent.started_at, min(cadences), FOR_EVER)
    assert begins is not None, "it has no end"
    if len(cadences) > 1 or begins >= parent.stretches[-1].end or any(deed.what == "reactivate" for deed in to.deeds):
        return []
    [cadence] = cadences
    key, plans = f"sub_{name}", [draw_plan(dice, f"plan_{name}_0", cadence, currency, meters)]
    begun = Agreement(
        key,
        parent.anchor,
        (Stretch(begins, FOR_EVER, sold(plans[0], begins), dice.choice((1, 2))),),
        parent=parent.key,
        counted_from=parent.started_at,
    )
    deeds, at = [Deed(key, "start", begins)], begins
    for number in range(dice.choice((0, 1, 2, 3))):
        moment = later(dice, at, cadence, parent.stretches[-1].end)
        if moment is None:
            break
        at, what = moment, dice.choice(("plan", "seats", "own", "end"))
        if what == "plan":
            plans.append(draw_plan(dice, f"plan_{name}_{number + 1}", cadence, currency, meters))
            deeds.append(Deed(key, "plan", at, sold(plans[-1], at)))
        elif what == "own":
            now = next(plan for deed in reversed(deeds) if (plan := deed.plan)) if _has_plan(deeds) else None
            deeds.append(Deed(key, "own", at, own=draw_own_price(dice, now or begun.stretches[0].plan, at, FOR_EVER)))
        else:
            deeds.append(Deed(key, what, at, seats=dice.choice((2, 5))))
        if what == "end":
            break
    with_whom = [versions[0]["key"] for versions in to.plans]
    sold_with = tuple(tuple({**version, "add_on_to": with_whom} for version in plan) for plan in plans)
    return [Drawn(begun, sold_with, tuple(deeds))]


def _has_plan(deeds: Sequence[Deed]) -> bool:
    return any(deed.plan for deed in deeds)


def draw_promise(dice: Random, drawn: Drawn, account: Account, deeds: list[Deed]) -> list[Deed]:
    """The deeds with a promise of spend among them, of an agreement that keeps its billing periods."""
    agreement = next((one for one in account.agreements if one.key == drawn.agreement.key), None)
    cadences = {plan["cadence"] for versions in drawn.plans for plan in versions}
    if agreement is None or len(cadences) > 1 or dice.random() < 0.6:
        return deeds
    [cadence] = cadences
    at = agreement.started_at if dice.random() < 0.3 else later(dice, agreement.started_at, cadence, FOR_EVER)
    is_paid_before = dice.random() < 0.6
    rolls_over = is_paid_before and dice.random() < 0.5
    amounts = (
        ("1", "10", "100", "1000", "100000") if account.currency == "JPY" else ("0.5", "10", "99.99", "1000", "100000")
    )
    assert at is not None, "it has no end"
    promise = Promise(
        agreement.key,
        at,
        tuple((dice.choice((1, 1, 2, 3)), dice.choice(amounts)) for _ in range(dice.choice((1, 1, 2, 3)))),
        is_paid_before,
        dice.choice(("1", "1", "0.8", "1.5", "0", "2")),
        rolls_over,
        dice.choice((None, "1", "20")) if rolls_over else None,
    )
    known_end = drawn.agreement.stretches[-1].end
    if agreement.parent:
        known_end = next(one.stretches[-1].end for one in account.agreements if one.key == agreement.parent)
    ends = [deed.at for deed in deeds if deed.agreement == agreement.key and deed.what == "end"]
    number = sum(periods for periods, _ in promise.tranches)
    last_begins, _ = next(islice(periods_held(promise, agreement, account.timezone), number - 1, None))
    # It reaches beyond no end that is known then; an end that is said later may cut it.
    if at >= min([*ends, known_end, agreement.stretches[-1].end]) or last_begins >= known_end:
        return deeds
    place = next(
        (
            n
            for n, deed in enumerate(deeds)
            if deed.agreement == agreement.key and deed.what != "start" and deed.at > at
        ),
        None,
    )
    if place is None:
        place = max(n for n, deed in enumerate(deeds) if deed.agreement == agreement.key) + 1
    return [*deeds[:place], Deed(agreement.key, "promise", at, promise=promise), *deeds[place:]]


def draw_grants(dice: Random, name: str, currency: str, since: datetime, plans: Sequence[str]) -> list[Deed]:
    """Some credit, for everything or for some charges; some of it runs out, some is taken back."""
    deeds: list[Deed] = []
    for number in range(dice.choice((0, 0, 0, 1, 2, 3))):
        at = since + timedelta(days=dice.randint(0, 60), seconds=dice.randint(0, 86399))
        is_for_some = dice.random() < 0.4
        amounts = ("1", "30", "1000", "1000000") if currency == "JPY" else ("0.01", "10", "99.99", "5000", "1000000")
        grant = Grant(
            key=f"grant_{name}_{number}",
            amount=dice.choice(amounts),
            is_prepaid=dice.random() < 0.4,
            effective_at=at + timedelta(days=dice.choice((0, 0, -30, 40))),
            expires_at=at + timedelta(days=dice.choice((50, 90, 400)), seconds=dice.choice((0, 1)))
            if dice.random() < 0.6
            else None,
            # What is for everything comes last: what it pays of which line is nobody's question then.
            priority=dice.choice((1, 2)) if is_for_some else dice.choice((3, 3, 4)),
            plans=(dice.choice(plans),) if is_for_some and dice.random() < 0.5 else (),
            meters=tuple(dice.sample(METERS, 2)) if is_for_some else (),
        )
        deeds.append(Deed("", "grant", at, grant=grant))
        if not grant.is_prepaid and dice.random() < 0.2:
            deeds.append(Deed("", "void", at + timedelta(days=dice.randint(0, 60)), grant=grant))
    return deeds


METERS = ("units", "calls", "peak", "users", "lately", "held")
