"""Which events a late change consists of: those that count today and did not when the line was rated, or the other way round."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connection

from invoicing.workflows.late_changes import EVENTS_LEARNT, LateChange
from metering.models import UsageEvent


@dataclass(frozen=True)
class LateEvent:
    """An event of a late change: whether it counts now, and since when that is known."""

    event: UsageEvent
    counts_now: bool
    learnt_at: datetime


@dataclass(frozen=True)
class LateEvents:
    """The first events of a late change in the order of their numbers; `is_cut` says that there are more."""

    events: Sequence[LateEvent]
    is_cut: bool


def late_events(*, change: LateChange, limit: int) -> LateEvents:
    """Return at most `limit` of the events that make up a late change (S0-061).

    They are the `events_added` and `events_cancelled` of the change: counted by the same statement.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT number, counts_now, learnt_at FROM ({EVENTS_LEARNT}) AS learnt ORDER BY number LIMIT %(limit)s",
            {
                "lines": [change.line.pk],
                "known_from": [change.before.known_through],
                "known_through": [change.after.known_through],
                "limit": limit + 1,
            },
        )
        rows = cursor.fetchall()
    events = UsageEvent.objects.in_bulk([number for number, _, _ in rows[:limit]])
    found = [LateEvent(events[number], counts_now, learnt_at) for number, counts_now, learnt_at in rows[:limit]]
    return LateEvents(events=found, is_cut=len(rows) > limit)
