"""Prices of a customer's own, told again: the last word that was said about a moment holds, the subscription's first."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any


@dataclass(frozen=True)
class OwnPrice:
    """What was said about one price of a plan: what it is in [start, end), or (None) that it is the plan's again."""

    plan: str
    price: str
    start: datetime
    end: datetime
    definition: Mapping[str, Any] | None
    of_customer: bool


def in_force(said: Sequence[OwnPrice], price: Mapping[str, Any], at: datetime) -> Mapping[str, Any]:
    """The price that holds at a moment, of what was said about it in this order."""
    for of_customer in (False, True):
        about = [own for own in said if own.of_customer is of_customer and own.start <= at < own.end]
        if about and about[-1].definition is not None:
            return {name: price[name] for name in ("key", "meter", "currency")} | dict(about[-1].definition)
    return price


def divided(
    said: Sequence[OwnPrice], plan: str, price: Mapping[str, Any], start: datetime, end: datetime
) -> Iterator[tuple[datetime, datetime, Mapping[str, Any]]]:
    """The parts of a time in which one price holds, each with that price."""
    about = [own for own in said if (own.plan, own.price) == (plan, price["key"])]
    bounds = sorted({start, end, *(at for own in about for at in (own.start, own.end) if start < at < end)})
    parts: list[tuple[datetime, datetime, Mapping[str, Any]]] = []
    for first, last in pairwise(bounds):
        holds = in_force(about, price, first)
        if parts and parts[-1][2] == holds:
            parts[-1] = (parts[-1][0], last, holds)
        else:
            parts.append((first, last, holds))
    yield from parts
