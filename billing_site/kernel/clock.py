"""The one place where the wall clock is read; everything below takes the time as an argument."""

from datetime import UTC, datetime

from django.db import connection


def now() -> datetime:
    """Return the present moment as an aware UTC datetime."""
    return datetime.now(UTC)


def server_moment() -> datetime:
    """Return PostgreSQL's present moment: the clock that all processes share."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    return moment
