"""What is true about usage. This module is only an index for Django."""

from billing_site.kernel.history import guard_history
from metering.models.corrections import EventCancellation, EventConflict, MeterBackdating
from metering.models.events import INGEST_LOCK, KeyHorizon, KnownKey, UsageEvent
from metering.models.meters import THE_BEGINNING, Meter
from metering.models.windows import RollupProgress, UnappliedEvent, UnappliedReason, UniqueValue, UsageWindow

__all__ = [
    "INGEST_LOCK",
    "THE_BEGINNING",
    "EventCancellation",
    "EventConflict",
    "KeyHorizon",
    "KnownKey",
    "Meter",
    "MeterBackdating",
    "RollupProgress",
    "UnappliedEvent",
    "UnappliedReason",
    "UniqueValue",
    "UsageEvent",
    "UsageWindow",
]

guard_history(Meter)
