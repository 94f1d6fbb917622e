"""What is true about usage. This module is only an index for Django."""

from billing_site.kernel.history import guard_history
from metering.collecting.models import DeadLetter
from metering.models.archive import ARCHIVE_LOCK, EventArchive, RetentionRun, UnsettledHour
from metering.models.corrections import EventCancellation, EventConflict, MeterBackdating
from metering.models.events import INGEST_LOCK, KeyHorizon, KnownKey, UsageEvent
from metering.models.meters import THE_BEGINNING, Meter
from metering.models.trees import EventTree
from metering.models.windows import RollupProgress, UnappliedEvent, UnappliedReason, UniqueValue, UsageWindow

__all__ = [
    "ARCHIVE_LOCK",
    "INGEST_LOCK",
    "THE_BEGINNING",
    "DeadLetter",
    "EventArchive",
    "EventCancellation",
    "EventConflict",
    "EventTree",
    "KeyHorizon",
    "KnownKey",
    "Meter",
    "MeterBackdating",
    "RetentionRun",
    "RollupProgress",
    "UnappliedEvent",
    "UnappliedReason",
    "UniqueValue",
    "UnsettledHour",
    "UsageEvent",
    "UsageWindow",
]

guard_history(Meter)
