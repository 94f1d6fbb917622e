"""The one place where the wall clock is read; everything below takes the time as an argument."""

from datetime import UTC, datetime


def now() -> datetime:
    """Return the present moment as an aware UTC datetime."""
    return datetime.now(UTC)
