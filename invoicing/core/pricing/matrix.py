"""Matrices: a unit costs what the cell of its values says, such as a region and a model."""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from billing_site.kernel.errors import BillingError
from billing_site.kernel.money import EXACT
from invoicing.core.contract import Price, Step, StepKind
from invoicing.core.detail import GroupUsage, Values, values_text

NAMED_MAX = 5


class UnpricedValues(BillingError):
    """Something was used with values that a matrix has no price for; it is never free."""

    code = "unpriced_values"


def price_matrix(*, price: Price, groups: Sequence[GroupUsage]) -> list[Step]:
    """Charge each group at the amount of its cell, others at the default amount, in the order of the cells.

    Raises UnpricedValues where there is no default. Nothing used is nothing written.
    """
    assert price.dimensions and price.cells, "a matrix has dimensions and cells"
    used = {group.values: group.quantity for group in groups}
    assert len(used) == len(groups), "a group stands once"
    steps = [
        _step(StepKind.CELL, used[cell.values], cell.unit_amount, cell.values)
        for cell in price.cells
        if used.get(cell.values)
    ]
    priced = {cell.values for cell in price.cells}
    others = {values: quantity for values, quantity in used.items() if values not in priced and quantity}
    if others and price.default_unit_amount is None:
        raise _unpriced(price.dimensions, list(others))
    if others:
        assert price.default_unit_amount is not None, "others have a price"
        rest = Decimal(0)
        for quantity in others.values():
            rest = EXACT.add(rest, quantity)
        steps.append(_step(StepKind.OTHER_VALUES, rest, price.default_unit_amount, ()))
    return steps


def _step(kind: StepKind, quantity: Decimal, unit_amount: Decimal, values: Values) -> Step:
    amount = Fraction(quantity) * Fraction(unit_amount)
    return Step(kind=kind, quantity=quantity, count=quantity, unit_amount=unit_amount, values=values, amount=amount)


def _unpriced(dimensions: Sequence[str], others: Sequence[Values | None]) -> UnpricedValues:
    named = [
        "other values" if values is None else values_text(dimensions=dimensions, values=values)
        for values in others[:NAMED_MAX]
    ]
    if len(others) > NAMED_MAX:
        named.append(f"{len(others) - NAMED_MAX} more")
    return UnpricedValues(
        f"the price has no cell for {'; '.join(named)}, and no default: move the customer to a version with"
        " such a cell or a default, or amend the events",
        field="cells",
    )
