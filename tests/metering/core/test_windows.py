"""A period is cut at UTC hours without losing or doubling a moment."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_site.kernel.period import HOUR, Period
from metering.core.windows import cut_at_hours, span_of

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
HALF = timedelta(minutes=30)


@pytest.mark.parametrize(
    ("start", "end", "whole", "edges"),
    [
        (NOON, NOON + HOUR, (NOON, NOON + HOUR), []),
        (NOON - HALF, NOON + HALF, None, [(NOON - HALF, NOON), (NOON, NOON + HALF)]),
        (NOON + HALF, NOON + 2 * HALF, None, [(NOON + HALF, NOON + HOUR)]),
        (NOON, NOON + HALF, None, [(NOON, NOON + HALF)]),
        (NOON + HALF / 2, NOON + HALF, None, [(NOON + HALF / 2, NOON + HALF)]),
        (
            NOON - HALF,
            NOON + HOUR + HALF,
            (NOON, NOON + HOUR),
            [(NOON - HALF, NOON), (NOON + HOUR, NOON + HOUR + HALF)],
        ),
    ],
)
def test_the_cut_is_whole_hours_and_what_is_left(start: datetime, end: datetime, whole: object, edges: object) -> None:
    cut = cut_at_hours(period=Period(start, end))

    assert (cut.whole and (cut.whole.start, cut.whole.end)) == whole
    assert [(edge.start, edge.end) for edge in cut.edges] == edges


moments = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))


@given(moments, st.timedeltas(timedelta(microseconds=1), timedelta(days=40)))
def test_the_parts_are_exactly_the_period(start: datetime, length: timedelta) -> None:
    period = Period(start, start + length)

    cut = cut_at_hours(period=period)

    parts = sorted([*cut.edges, *([cut.whole] if cut.whole else [])])
    assert parts[0].start == period.start
    assert parts[-1].end == period.end
    assert all(one.end == following.start for one, following in pairwise(parts))


@pytest.mark.parametrize(
    ("granularity", "start", "end"),
    [
        ("hour", datetime(2024, 2, 29, 23, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)),
        ("day", datetime(2024, 2, 29, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)),
        ("month", datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)),
    ],
)
def test_a_window_is_the_utc_hour_day_or_month_of_a_moment(granularity: str, start: datetime, end: datetime) -> None:
    moment = datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC)

    assert span_of(moment=moment, granularity=granularity) == Period(start, end)
