"""Packages: units are sold in lots, and a started lot counts as a whole one."""

from decimal import Decimal
from fractions import Fraction
from math import ceil

from invoicing.core.contract import Price, Step, StepKind


def price_packages(*, price: Price, quantity: Decimal) -> list[Step]:
    """Charge every started package; nothing used starts none."""
    assert price.package_size is not None and price.package_size > 0, "a package holds something"
    assert price.package_amount is not None, "a package has an amount"
    packages = ceil(Fraction(quantity) / Fraction(price.package_size))
    return [
        Step(
            kind=StepKind.PACKAGES,
            quantity=quantity,
            count=Decimal(packages),
            unit_amount=price.package_amount,
            amount=packages * Fraction(price.package_amount),
        )
    ]
