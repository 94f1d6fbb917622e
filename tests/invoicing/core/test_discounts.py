"""Discounts in the pure core: one after the other, each cent off one line, nothing below zero."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from moneyed import Money

from billing_site.kernel.money import from_minor_units, total
from invoicing.core.adjusting import adjust_amounts
from invoicing.core.adjustments.discounts import Discount
from invoicing.core.adjustments.spend import MaximumSpend
from invoicing.core.proof import adjustment_document, rated_again
from tests.invoicing.core.builders import JULY

ALL = ("sub/base", "sub/actions", "sub/tokens")


def usd(amount: str) -> Money:
    return Money(Decimal(amount), "USD")


def discount(reference: str, *, about: tuple[str, ...] = ALL, **terms: str) -> Discount:
    return Discount(
        reference=reference,
        subscription="sub",
        service_period=JULY,
        about=about,
        name=reference,
        **{name: Decimal(number) for name, number in terms.items()},
    )


def off(*discounts: Discount, **amounts: str) -> list[str]:
    lines = {f"sub/{name}": usd(amount) for name, amount in amounts.items()}
    return [str(line.amount.amount) for line in adjust_amounts(terms=discounts, amounts=lines, currency="USD")]


@pytest.mark.parametrize(
    ("discounts", "amounts", "expected"),
    [
        # a percentage before an amount, and after one: the order of the terms is the order of the document
        ([discount("p", rate="0.2"), discount("a", amount_off="10")], ("50", "30", "20"), ["-20.00", "-10.00"]),
        ([discount("a", amount_off="10"), discount("p", rate="0.2")], ("50", "30", "20"), ["-10.00", "-18.00"]),
        # never below zero
        ([discount("a", amount_off="500"), discount("p", rate="0.5")], ("50", "30", "20"), ["-100.00", "0.00"]),
        # a minimum looks at what the lines that it applies to come to after the discounts before it
        ([discount("m", rate="0.1", minimum_amount="100")], ("50", "30", "19.99"), ["0.00"]),
        ([discount("m", rate="0.1", minimum_amount="100")], ("50", "30", "20"), ["-10.00"]),
        # one line only, and then all: the second sees what the first left of it
        (
            [discount("one", about=("sub/base",), rate="1"), discount("all", rate="0.5")],
            ("50", "30", "20"),
            ["-50.00", "-25.00"],
        ),
        ([discount("half a cent", rate="0.5")], ("0.01", "0", "0"), ["-0.01"]),
    ],
)
def test_discounts_apply_one_after_the_other(
    discounts: list[Discount], amounts: tuple[str, str, str], expected: list[str]
) -> None:
    base, actions, tokens = amounts

    assert off(*discounts, base=base, actions=actions, tokens=tokens) == expected


def test_each_cent_of_a_discount_is_taken_off_one_line_the_largest_remainder_first() -> None:
    lines = {"sub/base": usd("10.00"), "sub/actions": usd("10.00"), "sub/tokens": usd("10.00")}

    [line] = adjust_amounts(terms=[discount("p", amount_off="10")], amounts=lines, currency="USD")

    assert [(part.reference, str(part.amount.amount)) for part in line.parts] == [
        ("sub/base", "3.34"),
        ("sub/actions", "3.33"),
        ("sub/tokens", "3.33"),
    ]


units = st.integers(min_value=0, max_value=10**7)
some_discounts = st.lists(
    st.tuples(
        st.one_of(
            st.integers(1, 1000).map(lambda part: ("rate", Decimal(part) / 1000)),
            units.map(lambda n: ("amount_off", Decimal(n + 1) / 100)),
        ),
        st.sets(st.sampled_from(ALL), min_size=1),
    ),
    max_size=4,
)


@given(amounts=st.tuples(units, units, units), asked=some_discounts)
def test_no_line_falls_below_zero_and_every_cent_is_taken_off_one_line(
    amounts: tuple[int, int, int], asked: list[tuple[tuple[str, Decimal], set[str]]]
) -> None:
    left = {name: from_minor_units(units, "USD") for name, units in zip(ALL, amounts, strict=True)}
    terms = [
        discount(f"discount/{n}", about=tuple(name for name in ALL if name in about), **{member: str(value)})
        for n, ((member, value), about) in enumerate(asked)
    ]

    reductions = adjust_amounts(terms=terms, amounts=left, currency="USD")
    charged = total(left.values(), "USD")
    for line in reductions:
        for part in line.parts:
            left[part.reference] -= part.amount

    assert all(amount.amount >= 0 for amount in left.values())
    assert all(total((part.amount for part in line.parts), "USD") == line.amount * -1 for line in reductions)
    assert total(left.values(), "USD") == charged + total((line.amount for line in reductions), "USD")


def test_what_a_maximum_spend_cuts_is_off_its_lines_by_what_they_have_so_that_a_coupon_for_one_sees_what_is_left() -> (
    None
):
    lines = {"sub/base": usd("30"), "sub/actions": usd("90")}
    cap = MaximumSpend(":cap", "sub", JULY, ("sub/base", "sub/actions"), bound=Decimal(100))

    cut, line = adjust_amounts(
        terms=[cap, discount("p", about=("sub/actions",), rate="0.5")], amounts=lines, currency="USD"
    )

    assert {part.reference: part.amount for part in cut.parts} == {"sub/base": usd("5"), "sub/actions": usd("15")}
    assert line.amount == usd("-37.50")


def test_a_stored_discount_is_computed_again_to_the_same_bytes() -> None:
    lines = {"sub/base": usd("10"), "sub/actions": usd("5.55")}
    terms = [
        discount("p", about=tuple(lines), rate="0.15", minimum_amount="1"),
        discount("a", about=tuple(lines), amount_off="3"),
    ]

    stored = [adjustment_document(line=line) for line in adjust_amounts(terms=terms, amounts=lines, currency="USD")]

    assert [rated_again(document["inputs"]) for document in stored] == stored
    assert [part["amount"]["amount"] for part in stored[0]["parts"]] == ["1.50", "0.83"]
