"""What `manage.py verify` asks of the archive: that every file, and every event that is still here, is what was recorded."""

from collections.abc import Iterator

from django.db import connection

from metering.archiving.files import fault_of_file
from metering.archiving.retention import contents_of
from metering.models import EventArchive


def archive_faults() -> Iterator[tuple[str, str]]:
    """Yield (what, how it differs): each file is read to its end, the events of each archived day are counted.

    A purged day has no events here; of the others number and first and last event number must be as recorded.
    """
    present = _present_days()
    for row in EventArchive.objects.order_by("day").iterator(chunk_size=500):
        if fault := fault_of_file(name=row.file_name, contents=contents_of(row=row)):
            yield f"archive of {row.day}", fault
        here = present.get(row.day)
        if row.is_purged:
            if here is not None:
                yield f"archive of {row.day}", f"its events are purged, and {here[0]} are here"
        elif here != (row.event_count, row.first_number, row.last_number):
            count = 0 if here is None else here[0]
            yield f"archive of {row.day}", f"it holds {row.event_count} events, in the database are {count} or others"


def _present_days() -> dict[object, tuple[int, int, int]]:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT (received_at AT TIME ZONE 'UTC')::date, count(*), min(id), max(id)
            FROM metering_usageevent
            WHERE received_at < (SELECT (max(day) + 1)::timestamp AT TIME ZONE 'UTC' FROM metering_eventarchive)
            GROUP BY 1
            """
        )
        return {day: (count, first, last) for day, count, first, last in cursor.fetchall()}
