"""What credit notes may take of the lines of an issued invoice: what each of them leaves to pay, its tax, and the part of both that a quantity is."""

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

    What was drawn from prepaid credit is a payment: it was money before. `tax` is all tax of the line, `added` what of it the amount does not contain.
    """

    reference: str
    amount: Money
    parts: tuple[BaseLine, ...] = ()
    is_payment: bool = False
    tax: Money | None = None
    added: Money | None = None


@dataclass(frozen=True)
class NetLine:
    """What an invoice asks for a line after everything that reduces it: the amount, its tax, and what of that comes on top."""

    amount: Money
    tax: Money
    added: Money


def net_lines(*, lines: Sequence[OwedLine], currency: str) -> dict[str, NetLine]:
    """Return what an invoice asks for each of its lines, by reference, after everything that reduces it; lines in their order.

    What takes off single lines is taken off these; a reduction that names none (an earlier correction in the customer's favour) is spread
    over what the others have left, largest remainder first; its tax goes with it. No line is left with less than nothing, and together they
    are what the invoice asks for before payments.
    """
    nothing = from_minor_units(0, currency)
    left: dict[str, Money] = {}
    taxes: dict[str, list[Money]] = {}
    for line in lines:
        if line.is_payment:
            continue
        rest, own = line.amount, [line.tax or nothing, line.added or nothing]
        for part in line.parts:
            left[part.reference] -= part.amount
            rest += part.amount
        if line.parts and not rest.amount:
            _spread(taxes, own, [(part.reference, part.amount.amount) for part in line.parts])
            own = [nothing, nothing]
        left[line.reference], taxes[line.reference] = rest, own
    asked = total(left.values(), currency)
    assert asked.amount >= 0, "an invoice asks for something, or for nothing"
    owed_to_office = [total((each[place] for each in taxes.values()), currency) for place in (0, 1)]
    for reference, amount in list(left.items()):
        if amount.amount < 0:
            owing = [(name, each.amount) for name, each in left.items() if each.amount > 0]
            shares = allocate(amount * -1, [weight for _, weight in owing])
            for (name, _), share in zip(owing, shares, strict=True):
                left[name] -= share
            _spread(taxes, taxes[reference], owing)
            left[reference], taxes[reference] = nothing, [nothing, nothing]
    assert total(left.values(), currency) == asked, "each cent is asked for one line"
    assert all(amount.amount >= 0 for amount in left.values()), "no line gives more than it has"
    for place, whole in enumerate(owed_to_office):
        assert total((each[place] for each in taxes.values()), currency) == whole, "so is each cent of tax"
    return {reference: NetLine(amount, *taxes[reference]) for reference, amount in left.items()}


def _spread(taxes: dict[str, list[Money]], amounts: Sequence[Money], over: Sequence[tuple[str, Decimal]]) -> None:
    """Put what a reduction takes off tax on the lines that it reduces: where there is so much tax, by their tax, else by its parts."""
    for place, amount in enumerate(amounts):
        if not amount.amount:
            continue
        owed = [max(taxes[name][place].amount, Decimal(0)) for name, _ in over]
        weights = owed if sum(owed) >= abs(amount.amount) else [weight for _, weight in over]
        for (name, _), share in zip(over, allocate(amount, weights), strict=True):
            taxes[name][place] += share


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


def tax_of_amount(*, tax: Money, net: Money, credited: Money, credited_tax: Money, amount: Money) -> Money:
    """Return the tax that goes back with an amount of a line: its share of all tax of the line, counted from its beginning, so that the last takes the rest.

    `credited` and `credited_tax` are what earlier notes took. Any notes of a line come to its tax to the cent, and never to more.
    """
    assert 0 < amount.amount <= net.amount - credited.amount, "no more than is left of the line"
    until = Fraction(credited.amount + amount.amount) / Fraction(net.amount)
    return max(round_money(Fraction(tax.amount) * until, tax.currency.code) - credited_tax, tax * 0)
