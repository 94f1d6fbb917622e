"""What a price may need to know of usage beside its quantity: how it divides by dimension, or by the size of events."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from billing_site.kernel.money import EXACT
from invoicing.core.languages import ENGLISH, Language

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
class BySize:
    """The need of bounds per event: how many events were smaller than `lower` or greater than `upper`, and their sums.

    An event exactly at a bound is between them. None is no bound; bounds are exact, whatever decimals they would need.
    """

    lower: Fraction | None = None
    upper: Fraction | None = None


Need = ByDimensions | BySize


@dataclass(frozen=True)
class GroupUsage:
    """How much was used with some values of the dimensions; `values` None stands for all that have no cell."""

    values: Values | None
    quantity: Decimal


@dataclass(frozen=True)
class SizeUsage:
    """How many events there were below, between and above the bounds of a size, and what they add up to."""

    below_count: int = 0
    below_quantity: Decimal = Decimal(0)
    between_count: int = 0
    between_quantity: Decimal = Decimal(0)
    above_count: int = 0
    above_quantity: Decimal = Decimal(0)

    @property
    def event_count(self) -> int:
        """All events."""
        return self.below_count + self.between_count + self.above_count

    @property
    def quantity(self) -> Decimal:
        """What all events add up to."""
        return EXACT.add(EXACT.add(self.below_quantity, self.between_quantity), self.above_quantity)


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


def sizes_of(*, need: BySize, events: Iterable[tuple[Decimal, int]]) -> SizeUsage:
    """Divide events, each with how often there was one like it, by their sizes."""
    counts, sums = [0, 0, 0], [Decimal(0)] * 3
    for quantity, count in events:
        is_below = need.lower is not None and Fraction(quantity) < need.lower
        is_above = need.upper is not None and Fraction(quantity) > need.upper
        place = 0 if is_below else 2 if is_above else 1
        counts[place] += count
        sums[place] = EXACT.add(sums[place], EXACT.multiply(quantity, Decimal(count)))
    return SizeUsage(counts[0], sums[0], counts[1], sums[1], counts[2], sums[2])


def values_text(*, dimensions: Sequence[str], values: Values, language: Language = ENGLISH) -> str:
    """Say which values: "region eu-1 and model large", "no region"."""
    return language.say(" and ").join(
        language.say("no {name}", name=name) if value is None else f"{name} {value}"
        for name, value in zip(dimensions, values, strict=True)
    )


def _order(values: Values | None) -> tuple[bool, list[tuple[bool, str]]]:
    return values is None, [(value is not None, value or "") for value in values or ()]
