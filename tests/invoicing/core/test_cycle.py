"""Billing periods: no gap, no overlap, the right day, through month ends, leap days and clock changes."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_site.kernel.errors import InvalidInput
from billing_site.kernel.period import Period
from invoicing.core.contract import Cadence
from invoicing.core.cycle import billing_periods, calendar_anchor, period_containing, share_of

# Half-hour changes, changes at midnight, a skipped day, odd offsets, both hemispheres.
TIMEZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Africa/Cairo",
    "Asia/Kathmandu",
    "America/Havana",
    "Asia/Damascus",
]
FOREVER = datetime(2100, 1, 1, tzinfo=UTC)
moments = st.datetimes(
    min_value=datetime(1995, 1, 1),
    max_value=datetime(2035, 12, 31),
    timezones=st.just(UTC),
)
cadences = st.sampled_from(Cadence)
timezones = st.sampled_from(TIMEZONES)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def local(text: str, timezone: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(timezone)).astimezone(UTC)


def starts(anchor: datetime, cadence: Cadence, timezone: str, count: int) -> list[str]:
    periods = billing_periods(anchor=anchor, cadence=cadence, timezone=timezone, until=FOREVER)
    return [f"{period.start.astimezone(ZoneInfo(timezone)):%Y-%m-%d %H:%M}" for period in islice(periods, count)]


@given(anchor=moments, cadence=cadences, timezone=timezones)
def test_periods_follow_each_other_without_gap_or_overlap(anchor: datetime, cadence: Cadence, timezone: str) -> None:
    """getlago/lago#771."""
    periods = list(islice(billing_periods(anchor=anchor, cadence=cadence, timezone=timezone, until=FOREVER), 30))

    assert periods[0].start == anchor
    assert all(one.end == other.start for one, other in pairwise(periods))
    lengths = {Cadence.WEEK: (6, 8), Cadence.MONTH: (27, 32), Cadence.QUARTER: (88, 94), Cadence.YEAR: (364, 368)}
    shortest, longest = (timedelta(days=days) for days in lengths[cadence])
    assert all(shortest <= period.duration <= longest for period in periods)


@given(anchor=moments, cadence=cadences, timezone=timezones, later=st.timedeltas(timedelta(0), timedelta(days=4000)))
def test_the_period_of_a_moment_is_found_without_counting_and_is_the_same(
    anchor: datetime, cadence: Cadence, timezone: str, later: timedelta
) -> None:
    moment = anchor + later

    found = period_containing(anchor=anchor, cadence=cadence, timezone=timezone, moment=moment)

    *_, last = billing_periods(anchor=anchor, cadence=cadence, timezone=timezone, until=moment)
    assert moment in found
    assert found == last


@given(anchor=moments, cadence=cadences, timezone=timezones)
def test_a_moment_at_a_boundary_is_in_the_later_period(anchor: datetime, cadence: Cadence, timezone: str) -> None:
    first, second = islice(billing_periods(anchor=anchor, cadence=cadence, timezone=timezone, until=FOREVER), 2)

    def at(moment: datetime) -> Period:
        return period_containing(anchor=anchor, cadence=cadence, timezone=timezone, moment=moment)

    assert at(second.start) == second
    assert at(second.start - timedelta(microseconds=1)) == first


@given(start=moments, cadence=cadences, timezone=timezones)
def test_a_calendar_anchor_is_the_last_beginning_before_the_start(
    start: datetime, cadence: Cadence, timezone: str
) -> None:
    anchor = calendar_anchor(start=start, cadence=cadence, timezone=timezone)

    first = next(billing_periods(anchor=anchor, cadence=cadence, timezone=timezone, until=start))
    assert start in first
    assert calendar_anchor(start=first.end, cadence=cadence, timezone=timezone) == first.end
    assert calendar_anchor(start=anchor, cadence=cadence, timezone=timezone) == anchor


@given(anchor=moments, cadence=cadences, timezone=timezones, cut=st.integers(1, 10**6))
def test_the_shares_of_a_cut_period_sum_to_one(anchor: datetime, cadence: Cadence, timezone: str, cut: int) -> None:
    """getlago/lago-api PR 6194: the whole period is the denominator, not the part."""
    period = next(billing_periods(anchor=anchor, cadence=cadence, timezone=timezone, until=FOREVER))
    middle = period.start + timedelta(seconds=cut % int(period.duration.total_seconds() - 1) + 1)

    parts = [Period(period.start, middle), Period(middle, period.end)]

    assert sum(share_of(service=part, period=period) for part in parts) == 1


@pytest.mark.parametrize(
    ("anchor", "expected"),
    [
        ("2026-01-31", ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31"]),
        ("2024-01-31", ["2024-01-31", "2024-02-29", "2024-03-31"]),
        ("2026-01-30", ["2026-01-30", "2026-02-28", "2026-03-30"]),
        ("2026-01-29", ["2026-01-29", "2026-02-28", "2026-03-29"]),
        ("2026-02-28", ["2026-02-28", "2026-03-28", "2026-04-28"]),
        ("2024-02-29", ["2024-02-29", "2024-03-29", "2024-04-29"]),
        ("2026-04-30", ["2026-04-30", "2026-05-30", "2026-06-30"]),
        ("2025-12-31", ["2025-12-31", "2026-01-31", "2026-02-28", "2026-03-31"]),
    ],
)
def test_an_anchor_at_the_end_of_a_month_returns_to_its_day(anchor: str, expected: list[str]) -> None:
    """killbill#2133."""
    found = starts(utc(f"{anchor}T00:00+00:00"), Cadence.MONTH, "UTC", len(expected))

    assert found == [f"{day} 00:00" for day in expected]


def test_a_subscription_on_the_last_evening_of_a_month_keeps_its_local_day() -> None:
    """killbill#2133: 31 January 20:00 in New York is 1 February in UTC."""
    anchor = local("2026-01-31T20:00", "America/New_York")

    assert starts(anchor, Cadence.MONTH, "America/New_York", 3) == [
        "2026-01-31 20:00",
        "2026-02-28 20:00",
        "2026-03-31 20:00",
    ]


def test_a_year_from_the_leap_day_ends_on_28_february_and_finds_the_next_leap_day() -> None:
    assert starts(utc("2024-02-29T00:00+00:00"), Cadence.YEAR, "UTC", 5) == [
        "2024-02-29 00:00",
        "2025-02-28 00:00",
        "2026-02-28 00:00",
        "2027-02-28 00:00",
        "2028-02-29 00:00",
    ]


def test_quarters_from_the_last_of_november_stop_at_the_end_of_february() -> None:
    assert starts(utc("2025-11-30T00:00+00:00"), Cadence.QUARTER, "UTC", 3) == [
        "2025-11-30 00:00",
        "2026-02-28 00:00",
        "2026-05-30 00:00",
    ]


@pytest.mark.parametrize(
    ("anchor", "hours"),
    [("2026-03-01T00:00", 743), ("2026-10-01T00:00", 745), ("2026-07-01T00:00", 744)],
)
def test_a_month_with_a_clock_change_is_an_hour_shorter_or_longer(anchor: str, hours: int) -> None:
    """S0-105."""
    start = local(anchor, "Europe/Berlin")

    period = next(billing_periods(anchor=start, cadence=Cadence.MONTH, timezone="Europe/Berlin", until=start))

    assert period.duration == timedelta(hours=hours)
    assert period.end.astimezone(ZoneInfo("Europe/Berlin")).hour == 0


def test_wall_time_that_is_skipped_moves_past_the_change_and_comes_back() -> None:
    anchor = local("2026-02-28T02:30", "Europe/Berlin")

    found = starts(local("2026-03-01T02:30", "Europe/Berlin"), Cadence.WEEK, "Europe/Berlin", 6)

    assert found[4:] == ["2026-03-29 03:30", "2026-04-05 02:30"]
    assert starts(anchor, Cadence.MONTH, "Europe/Berlin", 2)[1] == "2026-03-28 02:30"


def test_wall_time_that_happens_twice_means_its_first_occurrence_unless_it_is_the_anchor() -> None:
    second_occurrence = utc("2026-10-25T01:30+00:00")  # 02:30 in Berlin, after the clock went back
    week_before = local("2026-10-18T02:30", "Europe/Berlin")

    own = next(billing_periods(anchor=second_occurrence, cadence=Cadence.WEEK, timezone="Europe/Berlin", until=FOREVER))
    other = next(billing_periods(anchor=week_before, cadence=Cadence.WEEK, timezone="Europe/Berlin", until=FOREVER))

    assert own.start == second_occurrence
    assert other.end == utc("2026-10-25T00:30+00:00")


def test_an_anchor_in_the_doubled_hour_does_not_choose_the_second_occurrence_for_ever() -> None:
    anchor = utc("2026-10-25T01:30+00:00")  # 02:30 in Berlin for the second time; so is 25 October 2037.

    periods = billing_periods(anchor=anchor, cadence=Cadence.YEAR, timezone="Europe/Berlin", until=FOREVER)

    assert next(islice(periods, 11, None)).start == utc("2037-10-25T00:30+00:00")


def test_days_without_a_midnight_begin_when_the_clock_says_so_and_later_ones_at_midnight() -> None:
    """Damascus 2005: clocks went from 00:00 to 01:00 on 1 April."""
    anchor = calendar_anchor(
        start=local("2005-04-15T12:00", "Asia/Damascus"), cadence=Cadence.MONTH, timezone="Asia/Damascus"
    )

    assert starts(anchor, Cadence.MONTH, "Asia/Damascus", 2) == ["2005-04-01 01:00", "2005-05-01 00:00"]


@pytest.mark.parametrize(
    ("cadence", "expected"),
    [
        (Cadence.WEEK, "2026-08-17"),
        (Cadence.MONTH, "2026-08-01"),
        (Cadence.QUARTER, "2026-07-01"),
        (Cadence.YEAR, "2026-01-01"),
    ],
)
def test_calendar_periods_begin_on_monday_the_first_of_the_month_quarter_and_year(
    cadence: Cadence, expected: str
) -> None:
    start = local("2026-08-20T23:30", "America/New_York")

    anchor = calendar_anchor(start=start, cadence=cadence, timezone="America/New_York")

    assert anchor == local(f"{expected}T00:00", "America/New_York")


def test_a_start_in_the_middle_of_january_has_served_its_exact_part() -> None:
    start = utc("2026-01-15T12:00+00:00")
    anchor = calendar_anchor(start=start, cadence=Cadence.MONTH, timezone="UTC")
    period = next(billing_periods(anchor=anchor, cadence=Cadence.MONTH, timezone="UTC", until=start))

    assert share_of(service=Period(start, period.end), period=period) == Fraction(33, 62)


def test_there_are_no_periods_before_the_anchor_and_the_last_one_holds_the_limit() -> None:
    anchor = utc("2026-01-01T00:00+00:00")

    def until(moment: str) -> int:
        return len(list(billing_periods(anchor=anchor, cadence=Cadence.MONTH, timezone="UTC", until=utc(moment))))

    assert until("2025-12-31T23:59:59+00:00") == 0
    assert until("2026-01-01T00:00:00+00:00") == 1
    assert until("2026-01-31T23:59:59+00:00") == 1
    assert until("2026-02-01T00:00:00+00:00") == 2


def test_a_moment_at_the_end_of_time_is_refused_kindly() -> None:
    with pytest.raises(InvalidInput):
        list(
            billing_periods(
                anchor=utc("2026-01-01T00:00+00:00"),
                cadence=Cadence.YEAR,
                timezone="UTC",
                until=datetime.max.replace(tzinfo=UTC),
            )
        )
