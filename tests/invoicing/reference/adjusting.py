"""What changes a bill beyond its charges, told again: minimum and maximum spend."""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from tests.invoicing.reference.pricing import exact, to_minor_units


def bounded(
    spend: Sequence[Mapping[str, Any]],
    charged: Fraction,
    *,
    currency: str,
    decimals: int,
    share: Fraction = Fraction(1),
) -> Iterator[tuple[str, Fraction]]:
    """What is missing to the minimum and what is above the maximum of a plan, for a part of its billing period.

    The part owes its share of both bounds. Only what owes nothing of a fee keeps its maximum whole. What is agreed has
    its line also where it changes nothing.
    """
    for terms in spend:
        if terms["currency"] != currency:
            continue
        if terms.get("minimum_spend") is not None:
            missing = max(Fraction(0), to_minor_units(exact(terms["minimum_spend"]) * share, decimals) - charged)
            charged += missing
            yield "minimum_spend", missing
        if terms.get("maximum_spend") is not None:
            above = max(Fraction(0), charged - to_minor_units(exact(terms["maximum_spend"]) * (share or 1), decimals))
            charged -= above
            yield "maximum_spend", -above
