"""The dimensions and cells of a matrix's definition, read strictly: every mistake told at its place."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from billing_site.kernel.errors import FieldError, InvalidFields
from billing_site.kernel.text import is_storable
from invoicing.core.detail import ByDimensions, Cell, GroupUsage, Values, groups_needed
from invoicing.core.numbers import Mistake, read_number

DIMENSIONS_MAX = 2
CELLS_MAX = 1_000
CELL_MEMBERS = ("values", "unit_amount")
NAME_LENGTH_MAX = 200
# Longer values are told apart by a digest where they are counted: no cell could name them.
VALUE_LENGTH_MAX = 100

# Takes the place of a mistake, its code, and what to do.
Wrong = Callable[[str, str, str], None]


def read_dimensions(value: Any, *, wrong: Wrong) -> tuple[str, ...]:
    """Read the names of one or two dimensions; tells each mistake, and returns none where one is no name."""
    if not isinstance(value, list | tuple):
        wrong("dimensions", "wrong_type", 'must be a list of names such as ["region", "model"]')
        return ()
    if len(value) > DIMENSIONS_MAX:
        wrong("dimensions", "wrong_length", f"must hold 1 or {DIMENSIONS_MAX} names")
        return ()
    names = [name for name in value if isinstance(name, str) and 0 < len(name) <= NAME_LENGTH_MAX and is_storable(name)]
    for position, name in enumerate(value):
        if name not in names:
            wrong(f"dimensions[{position}]", "invalid", "must be the name of a dimension of the meter")
    if len(set(names)) < len(names):
        wrong("dimensions", "duplicate", "names a dimension twice")
    return tuple(names) if len(names) == len(value) else ()


def read_cells(value: Any, *, dimensions: Sequence[str], wrong: Wrong) -> tuple[Cell, ...]:
    """Read the cells, each with a value for each dimension; tells each mistake and returns what could be read."""
    if not isinstance(value, list | tuple):
        wrong("cells", "wrong_type", 'must be a list such as [{"values": ["eu-1"], "unit_amount": "0.01"}]')
        return ()
    if len(value) > CELLS_MAX:
        wrong("cells", "wrong_length", f"must hold 1 to {CELLS_MAX} cells")
        return ()
    cells = [_cell(entry, f"cells[{place}]", len(dimensions), wrong) for place, entry in enumerate(value)]
    first: dict[Values, int] = {}
    for place, cell in enumerate(cells):
        if cell is not None and first.setdefault(cell.values, place) != place:
            message = f"are those of cells[{first[cell.values]}]: a cell stands once"
            wrong(f"cells[{place}].values", "duplicate", message)
    return tuple(cell for cell in cells if cell is not None)


def groups_from(value: Any, *, need: ByDimensions) -> tuple[GroupUsage, ...]:
    """Read how usage divides, [{"values": ["eu-1"], "quantity": "21"}], as a matrix needs it; raises InvalidFields.

    "values" null stands for any that have no cell.
    """
    errors: list[FieldError] = []
    groups: dict[Values | None, Decimal] = {}
    if not isinstance(value, list | tuple):
        errors.append(FieldError("groups", "required", 'is missing: write [{"values": ["eu-1"], "quantity": "21"}]'))
        value = ()
    if len(value) > CELLS_MAX:
        errors.append(FieldError("groups", "wrong_length", f"may hold at most {CELLS_MAX} groups"))
        value = ()
    for place, entry in enumerate(value):
        group = _group(entry, f"groups[{place}]", len(need.dimensions), errors)
        if group is None:
            continue
        if group[0] in groups:
            errors.append(FieldError(f"groups[{place}].values", "duplicate", "stand there twice"))
        groups[group[0]] = group[1]
    if errors:
        raise InvalidFields(tuple(errors))
    return groups_needed(need=need, groups=groups)


def _group(entry: Any, place: str, length: int, errors: list[FieldError]) -> tuple[Values | None, Decimal] | None:
    if not isinstance(entry, Mapping):
        errors.append(FieldError(place, "wrong_type", "must be an object with values and quantity"))
        return None
    errors += [
        FieldError(f"{place}.{str(name)[:100]}", "unknown", "is not known here; known are values, quantity")
        for name in entry
        if name not in ("values", "quantity")
    ]
    known, values = len(errors), None
    if entry.get("values") is not None:
        values = _values(
            entry["values"], f"{place}.values", length, lambda *mistake: errors.append(FieldError(*mistake))
        )
    quantity = read_number(entry.get("quantity"))
    if isinstance(quantity, Mistake):
        errors.append(FieldError(f"{place}.quantity", quantity.code, quantity.message))
    return (values, quantity) if len(errors) == known and isinstance(quantity, Decimal) else None


def _cell(entry: Any, place: str, length: int, wrong: Wrong) -> Cell | None:
    if not isinstance(entry, Mapping):
        wrong(place, "wrong_type", "must be an object with values and unit_amount")
        return None
    for name in entry:
        if name not in CELL_MEMBERS:
            message = f"is not known here; known are {', '.join(CELL_MEMBERS)}"
            wrong(f"{place}.{str(name)[:100]}", "unknown", message)
    values = _values(entry.get("values"), f"{place}.values", length, wrong)
    amount = read_number(entry["unit_amount"]) if entry.get("unit_amount") is not None else None
    if amount is None:
        wrong(f"{place}.unit_amount", "required", 'is missing: say what a unit costs, "0" if it is free')
    elif isinstance(amount, Mistake):
        wrong(f"{place}.unit_amount", amount.code, amount.message)
    return Cell(values, amount) if values is not None and isinstance(amount, Decimal) else None


def _values(value: Any, place: str, length: int, wrong: Wrong) -> Values | None:
    if not isinstance(value, list | tuple):
        wrong(place, "required" if value is None else "wrong_type", "must be a list with a value for each dimension")
        return None
    if length and len(value) != length:
        wrong(place, "wrong_length", f"must hold {length}: a value for each dimension, null for events without it")
        return None
    mistaken = [number for number, one in enumerate(value) if not _is_value(one)]
    for number in mistaken:
        message = (
            f"must be a text of 1 to {VALUE_LENGTH_MAX} characters (numbers and true are written as text),"
            " or null for events without it"
        )
        wrong(f"{place}[{number}]", "wrong_type", message)
    return None if mistaken else tuple(value)


def _is_value(value: Any) -> bool:
    return value is None or (isinstance(value, str) and 0 < len(value) <= VALUE_LENGTH_MAX and is_storable(value))
