"""Random plans as they stand in a catalog file: every price model, from nothing to many decimals."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import product
from random import Random
from typing import Any

from tests.invoicing.reference.own_prices import OwnPrice
from tests.metering.reference import Rule

RULES = {
    "units": Rule("thing.used", dimensions=("user", "size")),
    "calls": Rule("thing.called", aggregation="count", dimensions=("size",)),
    "peak": Rule("thing.seen", aggregation="max"),
    "users": Rule("thing.opened", aggregation="unique_count", value_property="user"),
    "lately": Rule("thing.set", aggregation="latest"),
    "held": Rule("thing.held", aggregation="time_weighted_sum"),
}
ADDITIVE = ("units", "calls")
# What an own price does not change.
OF_THE_PLAN = ("key", "meter", "currency", "in_advance")
# The versions of a plan in the order in which they are sold.
Plan = tuple[dict[str, Any], ...]
SOLD_SINCE = datetime.fromisoformat("2023-06-01T00:00:00Z")
METERS = [
    {
        "key": key,
        "event_type": rule.event_type,
        "aggregation": rule.aggregation,
        "value_property": rule.value_property,
        "dimensions": list(rule.dimensions),
    }
    for key, rule in RULES.items()
]


def draw_plan(dice: Random, key: str, cadence: str, currency: str, meters: Sequence[str]) -> Plan:
    """A plan for these meters, in one version or in several that are sold one after the other."""
    versions: list[dict[str, Any]] = []
    since = SOLD_SINCE
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        version = _version(dice, key, cadence, currency, dice.sample(meters, dice.randint(1, len(meters))))
        if version in versions:
            continue
        if versions:
            since += timedelta(days=dice.randint(1, 400), seconds=dice.choice((0, 0, 3600, 86399)))
            version["effective_from"] = since.isoformat()
        versions.append(version)
    return tuple(versions)


def sold(plan: Plan, at: datetime) -> Mapping[str, Any]:
    """The version of a plan that is sold at a moment: of those that are sold by then the last; the first ever since."""
    return [
        version
        for version in plan
        if "effective_from" not in version or datetime.fromisoformat(version["effective_from"]) <= at
    ][-1]


def _version(dice: Random, key: str, cadence: str, currency: str, meters: Sequence[str]) -> dict[str, Any]:
    """A price for each of these meters, and most often a fee."""
    prices = [_price(dice, meter, currency) for meter in meters]
    if dice.random() < 0.7:
        prices.insert(dice.randint(0, len(prices)), _fee(dice, currency))
    plan = {"key": key, "product": "product", "cadence": cadence, "prices": prices}
    if way := dice.choice(("", "second", "day", "day", "none")):
        plan["proration"] = way
    if where := dice.choice(("", "reset", "carry", "carry")):
        # Only what adds up can be carried; what does not is left out of such a plan.
        if where == "carry":
            plan["prices"] = [price for price in prices if price["meter"] in (None, *ADDITIVE)] or [
                _fee(dice, currency)
            ]
        plan["tiers_on_change"] = where
    if dice.random() < 0.3:
        plan["spend"] = [_spend(dice, currency)]
    return plan


def _spend(dice: Random, currency: str) -> dict[str, Any]:
    least, most = sorted(dice.choice((0, 1, 100, dice.randint(0, 10**6))) for _ in range(2))
    bounds = {"minimum_spend": f"{least}.25", "maximum_spend": f"{most}.5"}
    kept = dice.choice((["minimum_spend"], ["maximum_spend"], list(bounds)))
    return {"currency": currency} | {name: bounds[name] for name in kept}


def _fee(dice: Random, currency: str) -> dict[str, Any]:
    fee = {"key": "fee", "meter": None, "currency": currency, "model": "flat", "unit_amount": _amount(dice)}
    return fee | {"in_advance": True} if dice.random() < 0.4 else fee


def draw_own_price(dice: Random, plan: Mapping[str, Any], at: datetime, for_ever: datetime) -> OwnPrice:
    """Another price for one of a plan, for some days or for ever, or the plan's again."""
    price = dice.choice(plan["prices"])
    draw = _fee(dice, price["currency"]) if price["meter"] is None else _price(dice, price["meter"], price["currency"])
    definition = {name: value for name, value in draw.items() if name not in OF_THE_PLAN}
    end = (
        at + timedelta(days=dice.randint(1, 60), seconds=dice.choice((0, 1, 3600))) if dice.random() < 0.6 else for_ever
    )
    back = dice.random() < 0.1
    return OwnPrice(plan["key"], price["key"], at, end, None if back else definition, dice.random() < 0.4)


def draw_coupon(dice: Random, code: str, currency: str, plans: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A percentage or an amount off everything, or off some plans or prices."""
    coupon: dict[str, Any] = {"code": code, "duration": dice.choice(("once", "repeating", "forever", "forever"))}
    if coupon["duration"] == "repeating":
        coupon["periods"] = dice.randint(1, 3)
    if dice.random() < 0.6:
        coupon["percent_off"] = dice.choice(("100", "50", "33.3333", "10", "0.5"))
    else:
        amounts = ("1", "25", "1000000") if currency == "JPY" else ("1", "0.01", "25.25", "1000000")
        coupon |= {"amount_off": dice.choice(amounts), "currency": currency}
    if dice.random() < 0.2:
        coupon |= {"minimum_amount": dice.choice(("1", "500")), "currency": currency}
    if dice.random() < 0.2:
        coupon["plans"] = [dice.choice(plans)["key"]]
    if dice.random() < 0.2:
        coupon["prices"] = [price["key"] for price in dice.choice(plans)["prices"][:2]]
    return coupon


def _price(dice: Random, meter: str, currency: str) -> dict[str, Any]:
    models = ["per_unit", "graduated", "volume", "package", "percentage", "graduated_percentage"]
    model = dice.choice([*models, "matrix", "matrix"] if RULES[meter].dimensions else models)
    price: dict[str, Any] = {"key": meter, "meter": meter, "currency": currency, "model": model}
    if model == "per_unit":
        price["unit_amount"] = _amount(dice)
    elif model == "percentage":
        price["rate"] = _rate(dice)
        if meter == "units" and dice.random() < 0.7:
            return price | _each_event(dice) | {"rate": dice.choice(("0.029", "0.03", "0.000007", "1"))}
    elif model == "package":
        price |= {"package_size": dice.choice(("1", "10", "0.5", "7")), "package_amount": _amount(dice)}
    elif model == "matrix":
        price |= _matrix(dice, RULES[meter].dimensions)
    else:
        price["tiers"] = _tiers(dice, "rate" if model == "graduated_percentage" else "unit_amount")
    if dice.random() < 0.3 and model != "matrix":
        price["free_units"] = dice.choice(("1", "2.5", "10", "100"))
    if dice.random() < 0.2:
        price["minimum_amount"] = _amount(dice)
    if dice.random() < 0.2:
        price["maximum_amount"] = str(Decimal(price.get("minimum_amount", "0")) + dice.randint(0, 500))
    return price


def _each_event(dice: Random) -> dict[str, Any]:
    """A fixed part, a least and a most of what an event costs, or some of them."""
    fixed, least, more = (Decimal(dice.randint(0, 10**4)).scaleb(-dice.choice((2, 3))) for _ in range(3))
    every = {
        "fixed_amount_per_event": str(fixed),
        "minimum_amount_per_event": str(least),
        "maximum_amount_per_event": str(max(fixed, least) + more),
    }
    return {name: every[name] for name in dice.sample(list(every), dice.randint(1, 3))}


def _matrix(dice: Random, dimensions: Sequence[str]) -> dict[str, Any]:
    """Some of the dimensions in any order, some of the values of their events, and what all others cost."""
    values = {"user": ["user-1", "user-2", "nobody", None], "size": ["small", "large", None]}
    chosen = dice.sample(dimensions, dice.randint(1, len(dimensions)))
    every = list(product(*(values[name] for name in chosen)))
    cells = dice.sample(every, dice.randint(1, len(every) - 1))
    return {
        "dimensions": chosen,
        "cells": [{"values": list(cell), "unit_amount": _amount(dice)} for cell in cells],
        "default_unit_amount": _amount(dice),
    }


def _tiers(dice: Random, rate: str) -> list[dict[str, Any]]:
    tiers: list[dict[str, Any]] = []
    bound = Decimal(0)
    for number in range(count := dice.randint(1, 4)):
        bound += dice.choice((Decimal(1), Decimal(10), Decimal(dice.randint(1, 300)) / 4, Decimal("0.000000000001")))
        tier: dict[str, Any] = {"up_to": None if number == count - 1 else f"{bound:f}"}
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
