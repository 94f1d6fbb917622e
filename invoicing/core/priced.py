"""What pricing makes of a quantity, before it is a line of anything."""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from invoicing.core.contract import Step


@dataclass(frozen=True)
class PricedQuantity:
    """A quantity and its exact price, rung by rung: the amounts of the steps sum to `unrounded_amount`."""

    quantity: Decimal
    free_quantity: Decimal
    unrounded_amount: Fraction
    steps: tuple[Step, ...]
