"""Archive closed days: each UTC day of receipt as one file, recorded once it was read back."""

from dataclasses import dataclass
from datetime import UTC, date, timedelta

from django.db import connection, transaction

from billing_site.kernel.clock import server_moment
from metering.archiving.files import ArchiveDiffers, keep, name_of, packed_day, span_of_day
from metering.models import ARCHIVE_LOCK, EventArchive
from metering.partitions import months
from metering.rollup import settled_mark

# A statement that began before midnight may take the ingest lock after it: so long nobody waits there.
MARGIN = timedelta(minutes=15)


@dataclass(frozen=True)
class ArchiveReport:
    """What one run archived, and how many closed days with events are still to do."""

    archived: tuple[EventArchive, ...]
    days_left: int


def archive_closed_days(*, days_max: int | None = None) -> ArchiveReport:
    """Archive the closed days that are not archived yet, oldest first; running it again makes nothing new.

    A day is closed when it has been over for a quarter of an hour and no insert is open. Each day is a transaction of
    its own: a crash leaves whole days, and at most one file that no row names and that the next run replaces.
    Raises IngestStandsStill, and ArchiveDiffers where the storage does not give back what it was given.
    """
    days = _days_to_archive()
    archived = []
    for day in days[:days_max]:
        if (row := _archive(day)) is not None:
            archived.append(row)
    return ArchiveReport(tuple(archived), max(0, len(days) - (len(days) if days_max is None else days_max)))


def closed_before() -> date:
    """Return the UTC day before which all days are closed, by PostgreSQL's clock; waits for open inserts."""
    present = server_moment()
    settled_mark()
    return (present - MARGIN).astimezone(UTC).date()


def _days_to_archive() -> list[date]:
    until = closed_before()
    known = set(EventArchive.objects.values_list("day", flat=True))
    days = []
    for month in months():
        day = month.start.date()
        while day < min(month.end.date(), until):
            if day not in known and _has_events(day):
                days.append(day)
            day += timedelta(days=1)
    return days


def _has_events(day: date) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM metering_usageevent WHERE received_at >= %s AND received_at < %s)",
            span_of_day(day),
        )
        return bool(cursor.fetchone()[0])


@transaction.atomic
def _archive(day: date) -> EventArchive | None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [ARCHIVE_LOCK])
        if EventArchive.objects.filter(day=day).exists():
            return None
        cursor.execute(
            """
            SELECT count(*), min(id), max(id), min(timestamp), max(timestamp)
            FROM metering_usageevent WHERE received_at >= %s AND received_at < %s
            """,
            span_of_day(day),
        )
        count, first_number, last_number, first_at, last_at = cursor.fetchone()
    with packed_day(day=day) as (file, contents):
        if contents.event_count != count:
            raise ArchiveDiffers(f"{day} got events while it was archived; a closed day does not: archive it again")
        keep(name=name_of(day=day), file=file, contents=contents)
    return EventArchive.objects.create(
        day=day,
        file_name=name_of(day=day),
        file_digest=contents.file_digest,
        content_digest=contents.content_digest,
        size_bytes=contents.size_bytes,
        event_count=count,
        first_number=first_number,
        last_number=last_number,
        first_at=first_at,
        last_at=last_at,
    )
