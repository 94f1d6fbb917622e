"""Spans of time are half-open and in UTC."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_site.kernel.period import HOUR, Period, as_utc, hour_of, hours_in

MIDNIGHT = datetime(2026, 7, 1, tzinfo=UTC)
NOON = MIDNIGHT + timedelta(hours=12)
DAY = Period(MIDNIGHT, MIDNIGHT + timedelta(days=1))
moments = st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2040, 1, 1), timezones=st.just(UTC))
spans = st.builds(
    lambda start, length: Period(start, start + length), moments, st.timedeltas(timedelta(microseconds=1), timedelta(2))
)


def test_the_end_belongs_to_the_next_period() -> None:
    assert DAY.start in DAY
    assert DAY.end - timedelta(microseconds=1) in DAY
    assert DAY.end not in DAY


def test_a_period_lasts() -> None:
    with pytest.raises(AssertionError, match="must last"):
        Period(MIDNIGHT, MIDNIGHT)


@pytest.mark.requirement("S0-103")
def test_local_and_naive_times_are_refused() -> None:
    with pytest.raises(AssertionError, match="not UTC"):
        Period(MIDNIGHT.astimezone(ZoneInfo("Europe/Berlin")), NOON)
    with pytest.raises(AssertionError, match="naive"):
        as_utc(datetime(2026, 7, 1))


def test_touching_periods_do_not_overlap_and_share_nothing() -> None:
    next_day = Period(DAY.end, DAY.end + timedelta(days=1))

    assert not DAY.overlaps(next_day)
    assert DAY.intersection(next_day) is None


@given(one=spans, other=spans)
def test_periods_overlap_exactly_where_they_share_a_span(one: Period, other: Period) -> None:
    shared = one.intersection(other)

    assert one.overlaps(other) == other.overlaps(one) == (shared is not None)
    if shared is not None:
        assert shared.start in one
        assert shared.start in other
        assert shared.duration <= min(one.duration, other.duration)


def test_the_hour_of_a_moment_is_a_utc_hour_also_where_clocks_are_half_an_hour_off() -> None:
    in_kathmandu = datetime(2026, 7, 1, 12, 30, tzinfo=ZoneInfo("Asia/Kathmandu"))

    assert hour_of(in_kathmandu) == datetime(2026, 7, 1, 6, 0, tzinfo=UTC)


@given(period=spans)
def test_the_hours_of_a_period_cover_it_and_no_more(period: Period) -> None:
    hours = list(hours_in(period))

    assert hours[0] <= period.start < hours[0] + HOUR
    assert hours[-1] < period.end <= hours[-1] + HOUR
    assert hours == [hours[0] + index * HOUR for index in range(len(hours))]


def test_a_day_with_a_clock_change_has_23_hours() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    day = Period(as_utc(datetime(2026, 3, 29, tzinfo=berlin)), as_utc(datetime(2026, 3, 30, tzinfo=berlin)))

    assert len(list(hours_in(day))) == 23
