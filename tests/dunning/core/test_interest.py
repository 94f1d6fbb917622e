"""Interest for late payment: by the day, simple, exact, never on what is paid or objected to, never twice for a day."""

from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as some
from moneyed import Money

from dunning.core.interest import Objected, Owed, Rate, interest, proof_of, stretches_of

DUE = date(2026, 8, 15)
NINE = [Rate(date(2026, 1, 1), Decimal("9"))]
MONEY = some.decimals(min_value=0, max_value=5000, places=2)
DAYS = some.integers(min_value=-40, max_value=400).map(lambda days: DUE + timedelta(days=days))
RATES = some.lists(some.builds(Rate, DAYS, some.decimals(min_value=0, max_value=20, places=3)), max_size=4)


@some.composite
def objections(draw: some.DrawFn) -> Objected:
    first = draw(DAYS)
    return Objected(draw(MONEY), first, draw(some.one_of(some.none(), DAYS.filter(lambda day: day >= first))))


OWED = some.builds(
    Owed,
    due=some.just(DUE),
    amount=MONEY,
    payments=some.lists(some.tuples(DAYS, MONEY), max_size=3).map(tuple),
    objections=some.lists(objections(), max_size=3).map(tuple),
)


def cost(owed: Owed, rates: list[Rate], until: date) -> Fraction:
    """What is to be paid, worked out day by day."""
    summed, day = Fraction(0), owed.due + timedelta(days=1)
    while day < until:
        begun = [rate for rate in rates if rate.valid_from <= day]
        percent = max(begun, key=lambda rate: rate.valid_from).percent if begun else Decimal(0)
        summed += Fraction(owed.at_the_end_of(day)) * Fraction(percent) / 36500
        day += timedelta(days=1)
    return summed


def test_thirty_days_at_nine_percent_with_a_part_paid_and_the_rate_of_july() -> None:
    owed = Owed(DUE, Decimal("1000"), payments=((date(2026, 8, 26), Decimal("400")),))
    rates = [*NINE, Rate(date(2026, 9, 1), Decimal("10.27"))]

    stretches = stretches_of(owed=owed, rates=rates, until=date(2026, 9, 11))

    assert [(one["from"], one["to"], one["days"], one["principal"], one["percent"]) for one in proof_of(stretches=stretches)] == [
        ("2026-08-16", "2026-08-25", 10, "1000", "9"),
        ("2026-08-26", "2026-08-31", 6, "600", "9"),
        ("2026-09-01", "2026-09-10", 10, "600", "10.27"),
    ]  # fmt: skip
    # 2.46575... + 0.88767... + 1.68822...
    assert interest(stretches=stretches, currency="USD") == Money("5.04", "USD")
    assert interest(stretches=stretches, currency="JPY") == Money("5", "JPY")


def test_the_due_date_itself_and_the_day_of_payment_cost_nothing() -> None:
    paid_next_day = Owed(DUE, Decimal("1000"), payments=((date(2026, 8, 16), Decimal("1000")),))

    assert stretches_of(owed=Owed(DUE, Decimal("1000")), rates=NINE, until=date(2026, 8, 16)) == ()
    assert stretches_of(owed=paid_next_day, rates=NINE, until=date(2027, 8, 16)) == ()


@given(owed=OWED, rates=RATES, until=DAYS)
def test_it_is_the_sum_of_its_days(owed: Owed, rates: list[Rate], until: date) -> None:
    stretches = stretches_of(owed=owed, rates=rates, until=until)

    assert sum((one.amount for one in stretches), Fraction(0)) == cost(owed, rates, until)
    assert all(one.days > 0 and one.amount > 0 for one in stretches)


@given(owed=OWED, rates=RATES, cut=DAYS, until=DAYS)
def test_charged_in_two_parts_it_is_the_same_and_no_day_is_in_both(
    owed: Owed, rates: list[Rate], cut: date, until: date
) -> None:
    cut, until = min(cut, until), max(cut, until)
    first = stretches_of(owed=owed, rates=rates, until=cut)
    settled = [(one.start, one.end) for one in first]

    rest = stretches_of(owed=owed, rates=rates, until=until, settled=settled)

    assert sum((one.amount for one in (*first, *rest)), Fraction(0)) == cost(owed, rates, until)
    assert all(one.end <= other.start or other.end <= one.start for one in first for other in rest)
    again = [*settled, *((one.start, one.end) for one in rest)]
    assert stretches_of(owed=owed, rates=rates, until=until, settled=again) == ()


@given(amount=MONEY, rates=RATES, until=DAYS)
def test_what_is_objected_to_in_full_costs_nothing(amount: Decimal, rates: list[Rate], until: date) -> None:
    owed = Owed(DUE, amount, objections=(Objected(amount, DUE, None),))

    assert stretches_of(owed=owed, rates=rates, until=until) == ()
