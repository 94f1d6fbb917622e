"""Bring a purged month back: the same rows under the same numbers, and the windows as they were."""

from dataclasses import dataclass
from datetime import datetime
from gzip import GzipFile

from django.db import connection, transaction

from billing_site.kernel.clock import now
from billing_site.kernel.errors import NotFound
from metering.archiving.contributions import gather, take_back, unsettled_and_complete
from metering.archiving.files import (
    CHUNK_BYTES,
    ArchiveDiffers,
    digest_of_lines,
    fault_of_file,
    unpacked,
)
from metering.archiving.retention import contents_of
from metering.event_lines import COLUMNS, FROM_LINE
from metering.listing import list_month_again
from metering.models import ARCHIVE_LOCK, EventArchive, Meter
from metering.windowing import count_hours_again


@dataclass(frozen=True)
class RestoreReport:
    """The days that came back (none where nothing was purged), and how many hours were counted again with them."""

    days: tuple[EventArchive, ...]
    settled_hours: int

    @property
    def events(self) -> int:
        """How many events came back."""
        return sum(row.event_count for row in self.days)


@transaction.atomic
def restore_month(*, month: datetime) -> RestoreReport:
    """Put all events of a purged month of receipt back; a second call finds nothing to do.

    The whole month or nothing: it is one partition with one unique index, and what its events count was put aside as
    one sum for each hour, which could not be split by days. Every file is checked before and every row after.
    Raises NotFound for a month without archives, ArchiveDiffers where a file is not what was recorded.
    """
    end = month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [ARCHIVE_LOCK])
    rows = list(EventArchive.objects.filter(day__gte=month.date(), day__lt=end.date()).order_by("day"))
    if not rows:
        raise NotFound(f"no day of {month:%Y-%m} is archived", field="month")
    if not any(row.is_purged for row in rows):
        return RestoreReport((), 0)
    assert all(row.is_purged for row in rows), "a month is purged and restored as a whole"
    for row in rows:
        if fault := fault_of_file(name=row.file_name, contents=contents_of(row=row)):
            raise ArchiveDiffers(f"nothing was restored: of {row.file_name} {fault}")
    table = _make_table(month)
    for row in rows:
        _load(row, table)
    with connection.cursor() as cursor:
        cursor.execute("SELECT metering_attach_month(%s)", [month])
    list(Meter.objects.order_by("pk").select_for_update(no_key=True))
    gather(start=month, end=end)
    missing = take_back()
    assert not missing, f"{missing} windows never held what the month's events count"
    EventArchive.objects.filter(pk__in=[row.pk for row in rows]).update(restored_at=now())
    list_month_again(start=month, end=end)
    return RestoreReport(tuple(rows), _settle())


def _make_table(month: datetime) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT metering_month_name(%s)", [month])
        table: str = cursor.fetchone()[0]
        cursor.execute(
            f"""
            CREATE TABLE {table} (LIKE metering_usageevent INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
            CREATE TEMPORARY TABLE IF NOT EXISTS metering_archived_line (line jsonb) ON COMMIT DROP
            """
        )
    return table


def _load(row: EventArchive, table: str) -> None:
    """Load one day into the month's table, and compare what stands there with what was archived."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE metering_archived_line")
        with (
            unpacked(name=row.file_name) as lines,
            connection.wrap_database_errors,
            cursor.copy("COPY metering_archived_line FROM STDIN") as copy,
        ):
            while block := _some_lines(lines):
                copy.write(block.replace(b"\\", b"\\\\"))
        cursor.execute(f"INSERT INTO {table} ({COLUMNS}) SELECT {FROM_LINE} FROM metering_archived_line")
        loaded = cursor.rowcount
    if loaded != row.event_count or digest_of_lines(day=row.day, table=table) != row.content_digest:
        raise ArchiveDiffers(f"nothing was restored: {row.file_name} loads as something else than was archived")


def _some_lines(lines: GzipFile) -> bytes:
    return b"".join(lines.readlines(CHUNK_BYTES))


def _settle() -> int:
    """Count the hours again that waited for their events."""
    waiting = unsettled_and_complete()
    for aggregation, cursor, hour in waiting:
        count_hours_again(aggregation=aggregation, hours=[hour], upper=cursor)
    return len(waiting)
