"""Packages: units are sold in lots, and a started lot counts as a whole one."""

from decimal import Decimal
from fractions import Fraction
from math import ceil

from invoicing.core.contract import Price, Step, StepKind


def price_packages(*, price: Price, quantity: Decimal, carried: Decimal = Decimal(0)) -> list[Step]:
    """Charge every package that is started; nothing used starts none, and one started before is not charged again."""
    assert price.package_size is not None and price.package_size > 0, "a package holds something"
    assert price.package_amount is not None, "a package has an amount"
    size, before = Fraction(price.package_size), Fraction(carried)
    packages = ceil((before + Fraction(quantity)) / size) - ceil(before / size)
    return [
        Step(
            kind=StepKind.PACKAGES,
            quantity=quantity,
            count=Decimal(packages),
            unit_amount=price.package_amount,
            amount=packages * Fraction(price.package_amount),
        )
    ]
