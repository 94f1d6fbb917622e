"""How many different usage events stand behind lines that count some of them more than once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple


class CountedSpan(NamedTuple):
    """What one line counts of a stream of events: those in `[start, end)` that were known through a number and meet a rule."""

    start: datetime
    end: datetime
    known_through: int
    events: int
    rule: str


@dataclass(frozen=True)
class EventsBehind:
    """How many different events some lines count, and how often these are counted on all lines together.

    `different` is None where only the events themselves would say it: periods overlap, and none ends where another begins, or
    the rules differ by which their events are counted.
    """

    different: int | None
    counted: int
    lines: int


NO_EVENTS = EventsBehind(different=0, counted=0, lines=0)


def events_behind(*, streams: Sequence[Sequence[CountedSpan]]) -> EventsBehind:
    """Return how many events stand behind the spans of streams that have no event in common."""
    found = [_different(spans) for spans in streams]
    spans = [span for stream in streams for span in stream]
    different = None if None in found else sum(count or 0 for count in found)
    behind = EventsBehind(different, sum(span.events for span in spans), len(spans))
    assert different is None or different <= behind.counted, "no event is on no line"
    return behind


def _different(spans: Sequence[CountedSpan]) -> int | None:
    """Return how many different events spans of one stream count: of each stretch that they cover, one way through it from end to end."""
    left, different = sorted(spans), 0
    while left:
        first = left[0]
        end, reached = first.end, {first.start: 0}
        while left and left[0].start < end:
            span = left.pop(0)
            end = max(end, span.end)
            if (span.known_through, span.rule) != (first.known_through, first.rule):
                # What was known later, or is counted by another rule, is another set of events.
                return None
            if span.start in reached:
                counted = reached[span.start] + span.events
                if reached.setdefault(span.end, counted) != counted:
                    # Two ways through the same time hold the same events, or not all is known of how they were counted.
                    return None
        if end not in reached:
            return None
        different += reached[end]
    return different
