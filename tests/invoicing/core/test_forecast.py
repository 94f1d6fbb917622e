"""What days to come will count: a range from the last whole weeks."""

from datetime import date
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoicing.core.forecast import NotEnoughHistory, forecast

MONDAY = date(2026, 7, 27)
OFFICE_WEEK = [Fraction(quantity) for quantity in (10, 10, 10, 10, 10, 0, 0)]
quantities = st.fractions(min_value=0, max_value=10**12)


def test_weeks_that_are_alike_forecast_themselves_without_a_range() -> None:
    found = forecast(known=OFFICE_WEEK * 3, first_day=MONDAY, day_count=9)

    assert (found.low, found.expected, found.high) == (70, 70, 70)
    assert (found.weeks, found.growth) == ((50, 50, 50), 0)


def test_a_day_is_like_its_weekday_and_the_range_is_that_of_the_weeks() -> None:
    grown = [*OFFICE_WEEK, *(2 * quantity for quantity in OFFICE_WEEK)]

    monday = forecast(known=grown, first_day=MONDAY, day_count=1)
    weekend = forecast(known=grown[5:] + OFFICE_WEEK[:5], first_day=date(2026, 8, 1), day_count=2)

    assert (monday.low, monday.expected, monday.high, monday.growth) == (10, 15, 20, 1)
    assert weekend.expected == 0


def test_only_the_last_four_weeks_count() -> None:
    known = [Fraction(1000)] * 7 + OFFICE_WEEK * 4

    assert forecast(known=known, first_day=MONDAY, day_count=7).weeks == (50, 50, 50, 50)


@pytest.mark.parametrize("days", [0, 1, 13])
def test_less_than_two_weeks_are_not_enough_and_it_says_so(days: int) -> None:
    with pytest.raises(NotEnoughHistory, match=f"{days} of 14 days are known"):
        forecast(known=[Fraction(1)] * days, first_day=MONDAY, day_count=7)


def test_nothing_used_forecasts_nothing_and_growth_from_nothing_has_no_figure() -> None:
    nothing = forecast(known=[Fraction(0)] * 14, first_day=MONDAY, day_count=7)
    begun = forecast(known=[Fraction(0)] * 7 + OFFICE_WEEK, first_day=MONDAY, day_count=7)

    assert (nothing.low, nothing.expected, nothing.high, nothing.growth) == (0, 0, 0, None)
    assert (begun.low, begun.expected, begun.high, begun.growth) == (0, 25, 50, None)


@given(known=st.lists(quantities, min_size=14, max_size=40), day_count=st.integers(0, 60))
def test_whatever_was_used_the_expected_lies_in_the_range_and_days_add_up(
    known: list[Fraction], day_count: int
) -> None:
    whole = forecast(known=known, first_day=MONDAY, day_count=day_count)
    more = forecast(known=known, first_day=MONDAY, day_count=day_count + 7)

    assert 0 <= whole.low <= whole.expected <= whole.high
    assert more.expected - whole.expected == sum(whole.weeks) / len(whole.weeks)
