"""Committed spend, line by line: what is drawn, trued up, expired and rolled over is what was promised, exactly (S0-066)."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from moneyed import Money

from invoicing.core.adjusting import adjust_amounts
from invoicing.core.adjustments.commitment import (
    CommitmentDrawdown,
    CommitmentExpiry,
    CommitmentOverage,
    CommitmentTerm,
    CommitmentTrueUp,
    amount_of_step,
)
from invoicing.core.contract import AdjustmentLine, StepKind
from invoicing.core.proof import adjustment_document, rated_again
from tests.invoicing.core.builders import JULY

pytestmark = pytest.mark.requirement("S0-066")


def term(family: type[CommitmentTerm], available: str, **members: Any) -> CommitmentTerm:
    return family(
        reference=f"sub/:{family.kind.value}",
        subscription="sub",
        service_period=JULY,
        about=("sub/base",),
        tranche=1,
        available=Decimal(available),
        **members,
    )


def adjusted(*terms: CommitmentTerm, charged: str) -> list[AdjustmentLine]:
    lines = adjust_amounts(terms=terms, amounts={"sub/base": Money(charged, "USD")}, currency="USD")
    for line in lines:
        document = adjustment_document(line=line)
        assert rated_again(document["inputs"]) == document
    return list(lines)


@pytest.mark.parametrize(
    ("available", "charged", "drawn", "overage"),
    [
        ("100", "0.00", "0.00", "0.00"),
        ("100", "99.99", "-99.99", "0.00"),
        ("100", "100.00", "-100.00", "0.00"),
        ("100", "100.05", "-100.00", "-0.01"),
        ("100", "150.00", "-100.00", "-10.00"),
        ("0", "50.00", "0.00", "-10.00"),
    ],
)
def test_charges_are_drawn_and_cost_the_overage_rate_beyond_the_commitment(
    available: str, charged: str, drawn: str, overage: str
) -> None:
    terms = term(CommitmentDrawdown, available), term(CommitmentOverage, available, rate=Decimal("0.8"))

    lines = adjusted(*terms, charged=charged)

    assert [f"{line.amount.amount:.2f}" for line in lines] == [overage, drawn]


@pytest.mark.parametrize(
    ("charged", "carry_max", "expired", "rolled"),
    [
        ("30", "0", "70", "0"),
        ("30", None, "0", "70"),
        ("30", "50", "20", "50"),
        ("95", "50", "0", "5"),
        ("200", None, "0", "0"),
    ],
)
def test_the_rest_of_a_prepaid_tranche_expires_or_rolls_over(
    charged: str, carry_max: str | None, expired: str, rolled: str
) -> None:
    most = None if carry_max is None else Decimal(carry_max)

    [line] = adjusted(term(CommitmentExpiry, "100", carry_max=most), charged=charged)

    rated = adjustment_document(line=line)
    assert line.amount.amount == 0
    assert amount_of_step(rated=rated, kind=StepKind.EXPIRED) == Decimal(expired)
    assert amount_of_step(rated=rated, kind=StepKind.ROLLED_OVER) == Decimal(rolled)


@given(
    promised=st.decimals("0.01", "9999", places=2),
    charged=st.lists(st.decimals("0", "4000", places=2), min_size=1, max_size=12),
    carry_max=st.one_of(st.none(), st.decimals("0", "500", places=2)),
)
def test_over_a_term_all_that_was_promised_is_drawn_trued_up_expired_or_rolled_over(
    promised: Decimal, charged: list[Decimal], carry_max: Decimal | None
) -> None:
    left, drawn = promised, Decimal(0)
    for month in charged[:-1]:
        [line] = adjusted(term(CommitmentDrawdown, str(left)), charged=str(month))
        drawn, left = drawn - line.amount.amount, left + line.amount.amount
        assert left >= 0
    last = str(charged[-1])
    terms = term(CommitmentDrawdown, str(left)), term(CommitmentExpiry, str(left), carry_max=carry_max)

    end, draw = adjusted(*terms, charged=last)
    [true_up] = adjusted(term(CommitmentTrueUp, str(left)), charged=last)

    rated = adjustment_document(line=end)
    rest = amount_of_step(rated=rated, kind=StepKind.EXPIRED) + amount_of_step(rated=rated, kind=StepKind.ROLLED_OVER)
    assert drawn - draw.amount.amount + rest == promised
    assert drawn + min(charged[-1], left) + true_up.amount.amount == promised
