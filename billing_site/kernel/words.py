"""English words that depend on a number."""

from decimal import Decimal


def counted(unit: str, amount: Decimal | int) -> str:
    """Return the unit in the number of the amount: 1 query, 2 queries."""
    return unit if amount == 1 else plural(unit)


def plural(unit: str) -> str:
    """Return the plural of an English noun; symbols such as GB or kWh stay as they are."""
    if not unit or unit.split()[-1] != unit.split()[-1].lower() or not unit[-1].isalpha() or len(unit) == 1:
        return unit
    if unit.endswith("y") and unit[-2] not in "aeiou":
        return f"{unit[:-1]}ies"
    if unit.endswith(("ss", "x", "ch", "sh")):
        return f"{unit}es"
    return unit if unit.endswith("s") else f"{unit}s"
