"""Metering as staff see it, one file a page: meters with their history, events and hourly sums as they are, never edited."""

from metering.admin.archives import EventArchiveAdmin
from metering.admin.conflicts import EventConflictAdmin
from metering.admin.dead_letters import DeadLetterAdmin
from metering.admin.events import UsageEventAdmin
from metering.admin.meters import MeterAdmin
from metering.admin.unapplied import UnappliedEventAdmin
from metering.admin.windows import UsageWindowAdmin

__all__ = [
    "DeadLetterAdmin",
    "EventArchiveAdmin",
    "EventConflictAdmin",
    "MeterAdmin",
    "UnappliedEventAdmin",
    "UsageEventAdmin",
    "UsageWindowAdmin",
]
