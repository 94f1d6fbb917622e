"""What credit notes may take of the lines of an issued invoice: what each of them leaves to pay, and the part of it that a quantity is."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from moneyed import Money

from billing_site.kernel.money import allocate, from_minor_units, round_money, total
from invoicing.core.contract import BaseLine


@dataclass(frozen=True)
class OwedLine:
    """A line of an issued invoice: what it came to, what it takes off earlier lines (`parts`), and whether it is a payment rather than a price.

    What was drawn from prepaid credit is a payment: it was money before.
    """

    reference: str
    amount: Money
    parts: tuple[BaseLine, ...] = ()
    is_payment: bool = False


def net_amounts(*, lines: Sequence[OwedLine], currency: str) -> dict[str, Money]:
    """Return what an invoice asks for each of its lines, by reference, after everything that reduces it; lines in their order.

    What takes off single lines is taken off these; a reduction that names none (an earlier correction in the customer's favour) is spread
    over what the others have left, largest remainder first. No line is left with less than nothing, and together they are what the
    invoice asks for before payments.
    """
    left: dict[str, Money] = {}
    for line in lines:
        if line.is_payment:
            continue
        rest = line.amount
        for part in line.parts:
            left[part.reference] -= part.amount
            rest += part.amount
        left[line.reference] = rest
    asked = total(left.values(), currency)
    assert asked.amount >= 0, "an invoice asks for something, or for nothing"
    nothing = from_minor_units(0, currency)
    given = total((amount for amount in left.values() if amount.amount < 0), currency) * -1
    owing = [reference for reference, amount in left.items() if amount.amount > 0]
    net = {reference: max(amount, nothing) for reference, amount in left.items()}
    if given.amount:
        shares = allocate(given, [left[reference].amount for reference in owing])
        net |= {reference: left[reference] - share for reference, share in zip(owing, shares, strict=True)}
    assert total(net.values(), currency) == asked, "each cent is asked for one line"
    assert all(amount.amount >= 0 for amount in net.values()), "no line gives more than it has"
    return net


def amount_of_quantity(
    *, net: Money, whole: Decimal, quantity: Decimal, credited_quantity: Decimal, credited: Money
) -> Money:
    """Return what a quantity of a line is worth: its share of what the line asks for, rounded once; the last of it takes the rest.

    `credited` is what earlier notes took of the line, `credited_quantity` for how much of it. Never more than is left.
    """
    assert 0 < quantity <= whole - credited_quantity, "no more than is left of the quantity"
    left = net - credited
    assert left.amount >= 0, "no more was credited than the line asks for"
    if quantity == whole - credited_quantity:
        return left
    share = round_money(Fraction(net.amount) * Fraction(quantity) / Fraction(whole), net.currency.code)
    return min(share, left)
