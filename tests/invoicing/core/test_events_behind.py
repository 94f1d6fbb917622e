"""An event that several lines count is one event."""

from datetime import UTC, datetime

import pytest

from invoicing.core.events_behind import CountedSpan, EventsBehind, events_behind


def span(first: int, after: int, count: int, *, known_through: int = 9, rule: str = "") -> CountedSpan:
    start, end = (datetime(2026, 7, day, tzinfo=UTC) for day in (first, after))
    return CountedSpan(start, end, known_through, count, rule)


@pytest.mark.parametrize(
    ("spans", "different"),
    [
        ([], 0),
        ([span(1, 31, 5)], 5),
        ([span(1, 31, 5)] * 4, 5),
        # A price that changed within the month: two lines beside one of the whole month.
        ([span(1, 11, 2), span(11, 31, 3), span(1, 31, 5)], 5),
        ([span(1, 11, 2), span(11, 31, 3), span(1, 21, 4), span(21, 31, 1)], 5),
        ([span(1, 11, 2), span(12, 31, 3)], 5),
        ([span(1, 31, 5), span(15, 31, 3)], 5),
        ([span(1, 20, 4), span(10, 31, 4)], None),
        ([span(1, 31, 5), span(1, 31, 6, known_through=10)], None),
        ([span(1, 11, 2), span(11, 31, 3, known_through=10)], 5),
        # Two meters of one type with other filters: 160 different events, 100, or any number between.
        ([span(1, 31, 100, rule="a"), span(1, 31, 60, rule="b")], None),
        ([span(1, 31, 60, rule="a"), span(1, 31, 60, rule="b")], None),
        ([span(1, 31, 100, rule="a"), span(1, 11, 20, rule="b")], None),
        ([span(1, 11, 100, rule="a"), span(11, 31, 60, rule="b")], 160),
        # By one rule, and yet others were counted: it was another rule when they were.
        ([span(1, 31, 5), span(1, 31, 6)], None),
        ([span(1, 11, 2), span(11, 31, 3), span(1, 31, 6)], None),
    ],
)
def test_each_event_of_a_stream_is_counted_once(spans: list[CountedSpan], different: int | None) -> None:
    assert events_behind(streams=[spans]).different == different


def test_streams_have_no_event_in_common() -> None:
    of_two = events_behind(streams=[[span(1, 31, 5)], [span(1, 31, 2), span(1, 31, 2)]])

    assert of_two == EventsBehind(different=7, counted=9, lines=3)
