"""Prices, told again: a price object of the catalog file and pieces of usage in their order become an exact amount."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

Piece = Fraction
PER_EVENT = ("fixed_amount_per_event", "minimum_amount_per_event", "maximum_amount_per_event")


def exact(number: Any) -> Fraction:
    """A number of the catalog file; nothing there means zero."""
    return Fraction(0) if number is None else Fraction(str(number))


def to_minor_units(amount: Fraction, decimals: int) -> Fraction:
    """Round to so many decimals, halves away from zero."""
    sign = -1 if amount < 0 else 1
    scaled = abs(amount) * 10**decimals
    whole, rest = divmod(scaled.numerator, scaled.denominator)
    if 2 * rest >= scaled.denominator:
        whole += 1
    return Fraction(sign * whole, 10**decimals)


@dataclass(frozen=True)
class Used:
    """Pieces of usage in their order; the first `known` of them only say where the others begin."""

    pieces: Sequence[Piece]
    known: int

    @property
    def charged(self) -> Sequence[Piece]:
        """What is charged now."""
        return self.pieces[self.known :]


def amount_of(
    price: Mapping[str, Any],
    pieces: Iterable[Piece],
    *,
    share: Fraction = Fraction(1),
    carried: Sequence[Piece] = (),
) -> Fraction:
    """What usage costs, piece by piece, before rounding.

    `share` is the part of the billing period in which the price was in force: what is owed for a period (flat fees,
    minimum, maximum) counts by it, usage does not. Only what owes nothing of a fee keeps its maximum whole. The free
    units are those that come first. `carried` was used and charged before in the period: it fills tiers, takes free units
    and opens packages, and costs nothing again.
    """
    if any(price.get(name) is not None for name in PER_EVENT):
        return _bounded(price, sum((_one_event(price, piece) for piece in pieces), Fraction(0)), share)
    amount = _MODELS[price["model"]](price, _after_free_units(pieces, carried, exact(price.get("free_units"))), share)
    return _bounded(price, amount, share)


def _one_event(price: Mapping[str, Any], size: Piece) -> Fraction:
    """What one event costs: its percentage and the fixed part, lifted to the least and cut at the most."""
    fixed, least, most = (price.get(name) for name in PER_EVENT)
    cost = size * exact(price["rate"]) + exact(fixed)
    if least is not None:
        cost = max(cost, exact(least))
    return cost if most is None else min(cost, exact(most))


def amount_by_values(
    price: Mapping[str, Any],
    pieces: Iterable[tuple[Piece, Mapping[str, str | None]]],
    *,
    share: Fraction = Fraction(1),
) -> Fraction:
    """What usage costs under a matrix: each piece at the price of the first cell that has its values, or the default."""
    amount = Fraction(0)
    for piece, values in pieces:
        wanted = [values[name] for name in price["dimensions"]]
        rates = [cell["unit_amount"] for cell in price["cells"] if cell["values"] == wanted]
        amount += piece * exact(rates[0] if rates else price["default_unit_amount"])
    return _bounded(price, amount, share)


def _bounded(price: Mapping[str, Any], amount: Fraction, share: Fraction) -> Fraction:
    if price.get("minimum_amount") is not None:
        amount = max(amount, exact(price["minimum_amount"]) * share)
    if price.get("maximum_amount") is not None:
        amount = min(amount, exact(price["maximum_amount"]) * (share or 1))
    return amount


def _after_free_units(pieces: Iterable[Piece], carried: Sequence[Piece], free: Fraction) -> Used:
    left = []
    for piece in (*carried, *pieces):
        given = min(piece, free)
        free -= given
        left.append(piece - given)
    return Used(left, len(carried))


def _flat(price: Mapping[str, Any], used: Used, share: Fraction) -> Fraction:
    return exact(price["unit_amount"]) * share


def _per_unit(price: Mapping[str, Any], used: Used, share: Fraction) -> Fraction:
    return sum((piece * exact(price["unit_amount"]) for piece in used.charged), Fraction(0))


def _percentage(price: Mapping[str, Any], used: Used, share: Fraction) -> Fraction:
    return sum((piece * exact(price["rate"]) for piece in used.charged), Fraction(0))


def _package(price: Mapping[str, Any], used: Used, share: Fraction) -> Fraction:
    """Open a new package whenever the last one is used up: a started one costs as much as a full one."""
    left, opened = Fraction(0), 0
    for number, piece in enumerate(used.pieces):
        while piece > left:
            missing = (piece - left) / exact(price["package_size"])
            # Many at once: whole packages that this piece uses up, or the one that it opens.
            count = max(1, missing.numerator // missing.denominator)
            opened += count if number >= used.known else 0
            left += count * exact(price["package_size"])
        left -= piece
    return opened * exact(price["package_amount"])


def _graduated(price: Mapping[str, Any], used: Used, share: Fraction) -> Fraction:
    """Let each piece fill the tiers from where the one before it stopped; whoever passes a tier owes its flat fee."""
    tiers = price["tiers"]
    at, amount, entered = Fraction(0), Fraction(0), {0}
    for place, piece in enumerate(used.pieces):
        while piece > 0:
            number = next(n for n, tier in enumerate(tiers) if tier["up_to"] is None or exact(tier["up_to"]) > at)
            tier = tiers[number]
            taken = piece if tier["up_to"] is None else min(piece, exact(tier["up_to"]) - at)
            amount += taken * _rate(tier) if place >= used.known else 0
            entered.add(number)
            at += taken
            piece -= taken
    return amount + sum((exact(tiers[number].get("flat_amount")) * share for number in entered), Fraction(0))


def _volume(price: Mapping[str, Any], used: Used, share: Fraction) -> Fraction:
    """Price everything that is charged at the rate of the tier that the total is in."""
    total = sum(used.pieces, Fraction(0))
    for tier in price["tiers"]:
        if tier["up_to"] is None or total <= exact(tier["up_to"]):
            return sum(used.charged, Fraction(0)) * _rate(tier) + exact(tier.get("flat_amount")) * share
    raise AssertionError("the last tier is open")


def _rate(tier: Mapping[str, Any]) -> Fraction:
    return exact(tier.get("unit_amount")) + exact(tier.get("rate"))


_MODELS = {
    "flat": _flat,
    "per_unit": _per_unit,
    "percentage": _percentage,
    "package": _package,
    "graduated": _graduated,
    "graduated_percentage": _graduated,
    "volume": _volume,
}
