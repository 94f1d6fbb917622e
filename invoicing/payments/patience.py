"""How long to wait before trying again: gaps that grow, then stay (S3-027, S3-030)."""

from datetime import datetime, timedelta

GAPS = (
    timedelta(seconds=10),
    timedelta(seconds=30),
    timedelta(minutes=2),
    timedelta(minutes=10),
    timedelta(hours=1),
    timedelta(hours=6),
)
# A queued job may wait this long for a worker before the sweep queues it once more.
QUEUE_PATIENCE = timedelta(minutes=2)
# So many rows a sweep; what is left over has its turn a minute later.
SWEEP_MAX = 500


def next_attempt_after(*, attempt_count: int, at: datetime, asked_seconds: int | None = None) -> datetime:
    """Return when to try again after so many attempts; never earlier than the other side asked for."""
    assert attempt_count >= 1, "only what was tried can be tried again"
    gap = GAPS[min(attempt_count, len(GAPS)) - 1]
    return at + max(gap, timedelta(seconds=asked_seconds or 0))
