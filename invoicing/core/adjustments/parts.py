"""What a reduction of several lines takes off each of them: exact shares, largest remainder first."""

from moneyed import Money

from billing_site.kernel.money import allocate, total
from invoicing.core.contract import BaseLine


def parts_of(*, amount: Money, base: tuple[BaseLine, ...]) -> tuple[BaseLine, ...]:
    """Split what is taken off over the lines that have something left, by what they have; the parts sum to the whole.

    No line gives more than it has; a line without anything left gives nothing and has no part.
    """
    if not amount.amount:
        return ()
    giving = [line for line in base if line.amount.amount > 0]
    shares = allocate(amount, [line.amount.amount for line in giving])
    parts = tuple(BaseLine(line.reference, share) for line, share in zip(giving, shares, strict=True) if share.amount)
    left = {line.reference: line.amount for line in giving}
    assert all(part.amount <= left[part.reference] for part in parts), "a line gives what it has, no more"
    assert total((part.amount for part in parts), amount.currency.code) == amount, "each cent is taken off one line"
    return parts


def parts_in_order(*, amount: Money, base: tuple[BaseLine, ...]) -> tuple[BaseLine, ...]:
    """Take an amount off the first lines that have something left, each to its end before the next; the parts sum to the whole."""
    rest = amount
    parts: list[BaseLine] = []
    for line in base:
        taken = min(rest, line.amount)
        if taken.amount > 0:
            parts.append(BaseLine(line.reference, taken))
            rest -= taken
    assert not rest.amount, "the lines have as much as is taken off them"
    return tuple(parts)
