"""How commands read their arguments."""

import argparse
from datetime import UTC, date, datetime


def moment(text: str) -> datetime:
    """Read a time given on the command line: RFC 3339 with an offset, or a date (midnight UTC)."""
    try:
        if len(text) == len("2026-08-01"):
            day = date.fromisoformat(text)
            return datetime(day.year, day.month, day.day, tzinfo=UTC)
        read = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time: write 2026-08-01 or 2026-08-01T00:00:00+02:00"
        ) from None
    if read.utcoffset() is None:
        raise argparse.ArgumentTypeError(f"{text!r} has no offset: write {text}Z or {text}+02:00")
    return read.astimezone(UTC)
