"""A day is unusual against days of its kind, in figures that can be followed on paper."""

from datetime import date, timedelta
from fractions import Fraction
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoicing.core.anomaly import DAYS, Direction, unusual_day

# A Wednesday.
DAY = date(2026, 8, 19)
LONG_AGO = date(2026, 1, 1)


def history(work: list[int], weekend: int = 0) -> dict[date, Fraction]:
    """Four weeks before the day: each week's work days as given, in turn."""
    days = [DAY - timedelta(days=number) for number in range(1, DAYS + 1)]
    worked = cycle(work)
    return {day: Fraction(weekend if day.weekday() >= 5 else next(worked)) for day in days}


def side(usage: dict[date, Fraction], quantity: int, *, day: date = DAY, is_over: bool = True) -> str:
    found = unusual_day(usage=usage | {day: Fraction(quantity)}, day=day, first_day=LONG_AGO, is_over=is_over)
    return found.direction.value if found else "usual"


def test_a_day_outside_of_the_fences_and_half_away_from_the_middle_is_unusual() -> None:
    alike = history([100])

    # All quartiles are 100: the range is a point, and only what is half of it away is news.
    assert [side(alike, quantity) for quantity in (49, 50, 51, 149, 150, 151)] == [
        "below",
        "below",
        "usual",
        "usual",
        "above",
        "above",
    ]


def test_the_range_is_three_quartile_distances_around_the_quartiles() -> None:
    found = unusual_day(
        usage=history([80, 90, 100, 110, 120]) | {DAY: Fraction(1000)}, day=DAY, first_day=LONG_AGO, is_over=True
    )

    assert found is not None
    assert (found.direction, found.middle, found.day_count) == (Direction.ABOVE, 100, 20)
    # The quartiles are 90 and 110.
    assert (found.low, found.high) == (30, 170)


def test_a_weekend_is_compared_with_weekends() -> None:
    usage = history([100], weekend=5)
    saturday = DAY + timedelta(days=3)

    assert side(usage, 5, day=saturday) == "usual"
    assert side(usage, 100, day=saturday) == "above"


def test_a_day_that_is_not_over_can_only_be_above() -> None:
    assert side(history([100]), 0, is_over=False) == "usual"
    assert side(history([100]), 200, is_over=False) == "above"


def test_usage_where_there_was_none_is_unusual_and_none_where_there_was_none_is_not() -> None:
    assert side(history([0]), 0) == "usual"
    assert side(history([0]), 7) == "above"


@pytest.mark.parametrize(("days", "expected"), [(7, "usual"), (9, "above")])
def test_fewer_than_six_days_to_compare_with_say_nothing(days: int, expected: str) -> None:
    found = unusual_day(
        usage=history([100]) | {DAY: Fraction(900)}, day=DAY, first_day=DAY - timedelta(days=days), is_over=True
    )

    assert (found.direction.value if found else "usual") == expected


@given(quantities=st.lists(st.fractions(0, 10**12), min_size=28, max_size=28), quantity=st.fractions(0, 10**12))
def test_whatever_was_used_what_is_told_lies_outside_of_a_range_that_holds_the_middle(
    quantities: list[Fraction], quantity: Fraction
) -> None:
    usage = {DAY - timedelta(days=place + 1): one for place, one in enumerate(quantities)}

    found = unusual_day(usage=usage | {DAY: quantity}, day=DAY, first_day=LONG_AGO, is_over=True)

    assert found is None or (found.low <= found.middle <= found.high and not found.low <= quantity <= found.high)
