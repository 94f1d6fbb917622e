"""What came of trying a policy, in words: for the page that asks for it and for the command that asks of everybody."""

from collections.abc import Iterator, Sequence

from billing_site.display.figures import quantity
from dunning.core.comparison import Comparison, Line
from dunning.core.policy import ACT_WORDS, Act
from invoicing.customers.models import Customer
from invoicing.reports.tabular import cell_text

# What a policy does, in the words of a count; a notice counts whatever else its step does.
COUNTED = (
    (Act.RETRY, "charges again"),
    (Act.RESTRICT, "restrictions"),
    (Act.SUSPEND, "suspensions"),
    (Act.CLOSE, "cancellations"),
    (Act.HAND_OVER, "handed over"),
)


def line_words(lines: Sequence[Line]) -> list[str]:
    """Return steps by their days."""
    return [f"{line.day:%m-%d} {line.step.words}" for line in lines]


def effect_words(found: Comparison) -> str:
    """Say in a sentence how many would have had another course."""
    number = len(found.differences)
    if not number:
        return "Nobody would have had another course."
    spared = sum(bool(one.spared) for one in found.differences)
    paid = sum(bool(one.spared) and one.has_paid for one in found.differences)
    burdened = sum(bool(one.burdened) for one in found.differences)
    return (
        f"{quantity(number, 'customer')} would have had another course: {quantity(spared)} would have been spared something"
        f" that the policies in force would have done to them, {quantity(paid)} of whom have paid since; {quantity(burdened)} would have lost"
        " something that those would have left them."
    )


def count_rows(found: Comparison) -> list[tuple[str, int, int, int]]:
    """Return how often each thing would have been done: in words, by the policies in force, with the terms tried, and the difference."""
    counts = [("notices", found.held.notices, found.tried.notices)]
    counts += [(words, found.held.acts[act], found.tried.acts[act]) for act, words in COUNTED]
    return [(words, before, after, after - before) for words, before, after in counts]


def act_words(acts: Sequence[Act]) -> str:
    """Return acts in words."""
    return ", ".join(ACT_WORDS[act] for act in acts)


def difference_lines(found: Comparison) -> Iterator[list[str]]:
    """Yield whoever differs as the lines of a file."""
    yield ["Customer", "Key", "By the policies in force", "With these terms", "Spared", "Lost", "All is paid"]
    customers = Customer.objects.in_bulk([one.customer_id for one in found.differences])
    for one in found.differences:
        customer = customers[one.customer_id]
        yield [
            cell_text(customer.name),
            customer.key,
            "; ".join(line_words(one.held)),
            "; ".join(line_words(one.tried)),
            act_words(one.spared),
            act_words(one.burdened),
            "yes" if one.has_paid else "no",
        ]
