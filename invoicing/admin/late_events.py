"""The events behind one row of the late-event desk."""

from dataclasses import dataclass

from billing_site.kernel.clock import now
from invoicing.workflows.late_changes import LateChange, counted_late_changes
from invoicing.workflows.late_events import LateEvents, late_events
from metering.rollup import roll_up

EVENTS_MAX = 500


@dataclass(frozen=True)
class LateEventsPage:
    """A late change with its events, as far as one page goes."""

    change: LateChange
    found: LateEvents


def late_events_page(*, line_id: int) -> LateEventsPage | None:
    """Return the events that changed an issued line, or None where nothing about it is open."""
    roll_up()
    changes = counted_late_changes(at=now(), line_ids=[line_id]).changes
    if not changes:
        return None
    return LateEventsPage(changes[0], late_events(change=changes[0], limit=EVENTS_MAX))
