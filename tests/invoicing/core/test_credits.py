"""Credit lots in the pure core: drawn in a stated order, as far as there is something to pay, to the cent."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from moneyed import Money

from billing_site.kernel.money import from_minor_units, total
from invoicing.core.adjustments.credits import CreditKind, Lot, draw_lots
from invoicing.core.contract import BaseLine
from invoicing.core.proof import adjustment_document, rated_again
from tests.invoicing.core.builders import JULY

ALL = ("sub/base", "sub/actions", "sub/tokens")


def usd(amount: str) -> Money:
    return Money(Decimal(amount), "USD")


def lot(number: int, balance: str, **terms: object) -> Lot:
    known: dict[str, object] = {
        "name": f"Lot {number}",
        "kind": CreditKind.PROMOTIONAL,
        "priority": 50,
        "effective_at": JULY.start,
    }
    return Lot(number=number, balance=usd(balance), **(known | terms))  # type: ignore[arg-type]


units = st.integers(min_value=0, max_value=10**7)
some_lots = st.lists(
    st.tuples(
        units, st.integers(1, 3), st.one_of(st.none(), st.integers(-2, 40)), st.sampled_from(CreditKind), st.booleans()
    ),
    max_size=6,
)


@given(amounts=st.tuples(units, units, units), granted=some_lots)
def test_no_line_and_no_lot_falls_below_zero_and_nothing_is_left_to_pay_that_a_lot_could_pay(
    amounts: tuple[int, int, int], granted: list[tuple[int, int, int | None, CreditKind, bool]]
) -> None:
    left = {name: from_minor_units(units, "USD") for name, units in zip(ALL, amounts, strict=True)}
    lots = [
        Lot(
            n,
            "x",
            kind,
            from_minor_units(units, "USD"),
            priority,
            JULY.start,
            None if days is None else JULY.end + timedelta(days=days),
            frozenset({"sub/tokens"}) if narrow else None,
        )
        for n, (units, priority, days, kind, narrow) in enumerate(granted)
    ]
    to_pay = total(left.values(), "USD")

    draws = draw_lots(lots=lots, lines=[BaseLine(*pair) for pair in left.items()], to_pay=to_pay, period=JULY)
    for line in draws:
        assert total((part.amount for part in line.parts), "USD") == line.amount * -1
        assert rated_again(adjustment_document(line=line)["inputs"]) == adjustment_document(line=line)
        for part in line.parts:
            left[part.reference] -= part.amount

    assert all(amount.amount >= 0 for amount in left.values())
    assert total(left.values(), "USD") == to_pay + total((line.amount for line in draws), "USD")
    drawn = {line.reference: line.amount for line in draws}
    for lot in lots:
        rest = lot.after(drawn=drawn.get(lot.reference)).balance
        assert rest.amount >= 0
        if lot.is_usable_for(JULY) and rest.amount:
            assert all(not amount.amount for name, amount in left.items() if lot.about is None or name in lot.about)


def test_lots_are_drawn_by_priority_then_expiry_then_promotional_first_then_age() -> None:
    soon, later = JULY.end + timedelta(days=1), JULY.end + timedelta(days=2)
    lots = [
        lot(1, "1", kind=CreditKind.PREPAID),
        lot(2, "1"),
        lot(3, "1", effective_at=datetime(2026, 6, 1, tzinfo=UTC)),
        lot(4, "1", expires_at=later),
        lot(5, "1", expires_at=soon),
        lot(6, "1", priority=1, kind=CreditKind.PREPAID),
    ]

    drawn = draw_lots(lots=lots, lines=[BaseLine("sub/base", usd("100"))], to_pay=usd("100"), period=JULY)

    assert [line.reference for line in drawn] == [f":credit/{n}" for n in (6, 5, 4, 3, 2, 1)]


@pytest.mark.parametrize(
    ("terms", "pays"),
    [
        ({"expires_at": JULY.end}, True),
        ({"expires_at": JULY.end - timedelta(microseconds=1)}, False),
        ({"effective_at": JULY.end - timedelta(microseconds=1)}, True),
        ({"effective_at": JULY.end}, False),
    ],
)
def test_a_lot_pays_for_a_period_at_whose_last_moment_it_is_in_force(terms: dict[str, datetime], pays: bool) -> None:
    drawn = draw_lots(lots=[lot(1, "5", **terms)], lines=[BaseLine("sub/base", usd("3"))], to_pay=usd("3"), period=JULY)

    assert [str(line.amount.amount) for line in drawn] == (["-3.00"] if pays else [])


def test_a_lot_for_one_meter_leaves_the_other_lines_to_the_next() -> None:
    lots = [lot(1, "50", priority=1, about=frozenset({"sub/tokens"})), lot(2, "50")]
    lines = [BaseLine("sub/base", usd("30")), BaseLine("sub/tokens", usd("20"))]

    drawn = draw_lots(lots=lots, lines=lines, to_pay=usd("45"), period=JULY)

    assert [str(line.amount.amount) for line in drawn] == ["-20.00", "-25.00"]
