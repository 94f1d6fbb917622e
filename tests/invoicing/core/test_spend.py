"""Minimum and maximum spend: what is missing is added, what is above is taken off, to the cent."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from moneyed import Money

from invoicing.core.adjusting import adjust_amounts
from invoicing.core.adjustments.spend import MaximumSpend, MinimumSpend
from invoicing.core.contract import AdjustmentLine, Term
from invoicing.core.proof import adjustment_document, rated_again
from tests.invoicing.core.builders import JULY


def terms(
    *, minimum: str | None = None, maximum: str | None = None, share: str = "1", about: tuple[str, ...] = ("sub/base",)
) -> list[Term]:
    found: list[Term] = []
    for family, bound in ((MinimumSpend, minimum), (MaximumSpend, maximum)):
        if bound is not None:
            found.append(
                family(
                    reference=f"sub/:{family.kind.value}",
                    subscription="sub",
                    service_period=JULY,
                    about=about,
                    bound=Decimal(bound),
                    share=Fraction(share),
                )
            )
            about = (*about, found[-1].reference)
    return found


def adjusted(*agreed: Term, charged: str, currency: str = "USD") -> tuple[AdjustmentLine, ...]:
    return adjust_amounts(terms=agreed, amounts={"sub/base": Money(charged, currency)}, currency=currency)


@pytest.mark.parametrize(
    ("minimum", "maximum", "share", "charged", "expected"),
    [
        ("100", None, "1", "0.00", ["100.00"]),
        ("100", None, "1", "99.99", ["0.01"]),
        ("100", None, "1", "100.00", ["0.00"]),
        ("100", None, "1", "100.01", ["0.00"]),
        ("100", None, "10/31", "20.00", ["12.26"]),
        ("100", None, "0", "0.00", ["0.00"]),
        (None, "100", "1", "99.99", ["0.00"]),
        (None, "100", "1", "100.00", ["0.00"]),
        (None, "100", "1", "250.50", ["-150.50"]),
        (None, "100", "10/31", "40.00", ["-7.74"]),
        (None, "100", "0", "140.00", ["-40.00"]),
        ("100", "200", "1", "30.00", ["70.00", "0.00"]),
        ("100", "200", "1", "230.00", ["0.00", "-30.00"]),
        ("100", "100", "1", "30.00", ["70.00", "0.00"]),
    ],
)
def test_a_bill_is_lifted_to_the_minimum_and_cut_at_the_maximum(
    minimum: str | None, maximum: str | None, share: str, charged: str, expected: list[str]
) -> None:
    lines = adjusted(*terms(minimum=minimum, maximum=maximum, share=share), charged=charged)

    assert [f"{line.amount.amount:.2f}" for line in lines] == expected


def test_a_currency_without_decimals_has_none_in_its_true_up() -> None:
    [line] = adjusted(*terms(minimum="1000", share="1/3"), charged="100", currency="JPY")

    assert line.amount == Money("233", "JPY")
    assert line.steps[0].arithmetic == "1,000 × 1/3 ≈ 333 − 100 = 233"


def test_a_line_says_in_words_what_was_missing() -> None:
    [line] = adjusted(*terms(minimum="100"), charged="60.50")

    assert line.description == "True-up to the minimum spend"
    assert line.explanation == (
        "The charges come to USD 60.50. Agreed is the minimum spend of USD 100.00: USD 39.50 are missing to it."
    )


@given(
    bounds=st.tuples(st.decimals("0", "5000", places=4), st.decimals("0", "5000", places=4)).map(sorted),
    share=st.fractions(0, 1, max_denominator=366),
    charged=st.lists(st.decimals("0", "4000", places=2), max_size=4),
)
def test_whatever_was_charged_the_bill_is_within_its_bounds_and_proves_itself(
    bounds: list[Decimal], share: Fraction, charged: list[Decimal]
) -> None:
    about = tuple(f"sub/{place}" for place in range(len(charged)))
    agreed = terms(minimum=str(bounds[0]), maximum=str(bounds[1]), share=str(share), about=about)
    amounts = {reference: Money(amount, "USD") for reference, amount in zip(about, charged, strict=True)}

    low, high = adjust_amounts(terms=agreed, amounts=amounts, currency="USD")

    bill = sum((money.amount for money in amounts.values()), Decimal(0)) + low.amount.amount + high.amount.amount
    half_a_cent = Fraction(1, 200)
    assert Fraction(bill) >= Fraction(bounds[0]) * share - half_a_cent
    assert Fraction(bill) <= Fraction(bounds[1]) * (share or 1) + half_a_cent
    assert low.amount.amount >= 0 >= high.amount.amount
    for line in (low, high):
        document = adjustment_document(line=line)
        assert rated_again(document["inputs"]) == document
