"""What a price may need to know of usage beside its quantity: how it divides by dimension."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from billing_site.kernel.money import EXACT

# The values of a price's dimensions, in their order; None where the event lacks the property.
Values = tuple[str | None, ...]


@dataclass(frozen=True)
class Cell:
    """What a unit costs that was used with these values of a matrix's dimensions."""

    values: Values
    unit_amount: Decimal


@dataclass(frozen=True)
class ByDimensions:
    """The need of a matrix: the quantity of each of its cells, and of all other values as one where they have a price."""

    dimensions: tuple[str, ...]
    cells: frozenset[Values]
    has_default: bool


@dataclass(frozen=True)
class GroupUsage:
    """How much was used with some values of the dimensions; `values` None stands for all that have no cell."""

    values: Values | None
    quantity: Decimal


def groups_needed(*, need: ByDimensions, groups: Mapping[Values | None, Decimal]) -> tuple[GroupUsage, ...]:
    """Return the quantities that a matrix asks for, in a stable order; what adds up to nothing is left out.

    Values without a cell are one group where they have a price; where they have none each stands for itself, so that
    the failure can name them.
    """
    kept: dict[Values | None, Decimal] = {}
    for values, quantity in groups.items():
        assert values is None or len(values) == len(need.dimensions), "a group has a value for each dimension"
        place = None if need.has_default and values not in need.cells else values
        kept[place] = EXACT.add(kept.get(place, Decimal(0)), quantity)
    return tuple(GroupUsage(values, kept[values]) for values in sorted(kept, key=_order) if kept[values])


def values_text(*, dimensions: Sequence[str], values: Values) -> str:
    """Say which values: "region eu-1 and model large", "no region"."""
    return " and ".join(
        f"no {name}" if value is None else f"{name} {value}" for name, value in zip(dimensions, values, strict=True)
    )


def _order(values: Values | None) -> tuple[bool, list[tuple[bool, str]]]:
    return values is None, [(value is not None, value or "") for value in values or ()]
