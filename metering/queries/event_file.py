"""The events behind a billed quantity as a file: line by line, from the database and, where months are purged, from the archive."""

from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import islice
from typing import Any

from django.db import connection, transaction
from django.db.models import Q

from billing_site.kernel.errors import NotFound
from billing_site.kernel.merkle import Inclusion, inclusion_of, leaf_hash
from metering.archiving.files import unpacked
from metering.event_lines import COLUMNS, EVENT_LINE, FROM_LINE
from metering.models import EventArchive
from metering.queries.roots import EventSpan, counted_events
from metering.queries.usage import meter_by_key

LINES_A_BATCH = 2000
# Events of everybody in the days that are read to find one that was changed: some seconds.
COMPARED_MAX = 500_000

_SPAN = """
    (SELECT %(meter)s::bigint AS meter, %(customer)s::text AS customer, %(start)s::timestamptz AS first_moment,
            %(end)s::timestamptz AS end_moment, 0::bigint AS known_after, %(through)s::bigint AS known_through) AS span
"""
_STORED = f"""
    SELECT {EVENT_LINE} FROM (
        SELECT e.* FROM {_SPAN} CROSS JOIN LATERAL (
            SELECT e.* FROM {counted_events(source="metering_usageevent")}
        ) AS e ORDER BY e.id OFFSET 0
    ) AS e
"""
_ARCHIVED = f"""
    WITH archived AS MATERIALIZED (
        SELECT {FROM_LINE} FROM unnest(%(lines)s::text[]) AS given(text), LATERAL (SELECT text::jsonb AS line) AS read
    ), event({COLUMNS}) AS (SELECT * FROM archived)
    SELECT {EVENT_LINE} FROM {_SPAN} CROSS JOIN LATERAL (
        SELECT e.* FROM {counted_events(source="event")}
    ) AS e ORDER BY e.id
"""


def event_lines(*, span: EventSpan) -> Iterator[bytes]:
    """Yield the line of each event that a span counts, without its end, in the order of their numbers.

    What is purged is read from the archive; memory does not grow with the number of events. Raises NotFound for an
    unknown meter; a file of the archive that is missing raises what its storage says.
    """
    days = _purged_days(span)
    stored = _stored_lines(span)
    if not days:
        return stored
    # Neighbouring days may overlap by a few numbers: a transaction stamps its events when it begins.
    return merge(stored, *(_archived_lines(span, day) for day in days), key=number_of_line)


def number_of_line(line: bytes) -> int:
    """Return the number of the event of a line."""
    return int(line[len(b'{"id": ') : line.index(b",")])


def counted_of(*, span: EventSpan, numbers: Sequence[int]) -> list[int]:
    """Return which of some events, by number, a span counts, in their order; of those that are in the database."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT e.id FROM {_SPAN} CROSS JOIN LATERAL (SELECT e.* FROM {counted_events(source='metering_usageevent')}"
            "  AND e.id = ANY(%(numbers)s)) AS e ORDER BY e.id",
            {**_parameters(span), "numbers": list(numbers)},
        )
        return [number for (number,) in cursor.fetchall()]


def event_inclusion(*, span: EventSpan, count: int, number: int) -> tuple[bytes, Inclusion]:
    """Return the line of an event that a span of `count` events holds, and the way from it to the span's root.

    Raises NotFound where the span does not count the event.
    """
    place, found = -1, b""
    for index, line in enumerate(event_lines(span=span)):
        if number_of_line(line) == number:
            place, found = index, line
            break
    if place < 0:
        raise NotFound(f"the line does not count event {number}", field="event")
    hashes = (leaf_hash(line) for line in event_lines(span=span))
    return found, inclusion_of(index=place, count=count, hashes=hashes)


def unlike_archive(*, span: EventSpan) -> str:
    """Say which of a span's events is the first that is not as it was archived; empty where none is, or too many would have to be read.

    Days that are archived and still in the database are compared: for whoever knows that an event was changed, and not which.
    """
    days = list(
        EventArchive.objects.filter(
            Q(purged_at__isnull=True) | Q(restored_at__isnull=False),
            first_at__lt=span.period.end,
            last_at__gte=span.period.start,
            first_number__lte=span.known_through,
        ).order_by("first_number")
    )
    if sum(day.event_count for day in days) > COMPARED_MAX:
        return ""
    stored = {number_of_line(line): line for line in _stored_lines(span) if _is_of(days, number_of_line(line))}
    archived = merge(*(_archived_lines(span, day) for day in days), key=number_of_line)
    for line in archived:
        number = number_of_line(line)
        if stored.pop(number, None) != line:
            return f"event {number} is not as it was archived"
    return f"event {min(stored)} was not there when its day was archived" if stored else ""


def _is_of(days: list[EventArchive], number: int) -> bool:
    return any(day.first_number <= number <= day.last_number for day in days)


def _stored_lines(span: EventSpan) -> Iterator[bytes]:
    with transaction.atomic(), connection.chunked_cursor() as cursor:
        cursor.cursor.itersize = LINES_A_BATCH
        cursor.execute(_STORED, _parameters(span))
        for (line,) in cursor:
            yield line.encode()


def _purged_days(span: EventSpan) -> list[EventArchive]:
    return list(
        EventArchive.objects.filter(
            purged_at__isnull=False,
            restored_at__isnull=True,
            first_at__lt=span.period.end,
            last_at__gte=span.period.start,
            first_number__lte=span.known_through,
        ).order_by("first_number")
    )


def _archived_lines(span: EventSpan, day: EventArchive) -> Iterator[bytes]:
    """Yield the lines of a purged day that the span counts; what counts is asked of the same SQL as of stored events."""
    mine = f'"customer_id": {_quoted(span.customer_id)},'.encode()
    with unpacked(name=day.file_name) as lines:
        candidates = (line.rstrip(b"\n").decode() for line in lines if mine in line)
        while batch := list(islice(candidates, LINES_A_BATCH)):
            with connection.cursor() as cursor:
                cursor.execute(_ARCHIVED, {**_parameters(span), "lines": batch})
                found = cursor.fetchall()
            yield from (line.encode() for (line,) in found)


def _quoted(text: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_json(%s::text)::text", [text])
        return str(cursor.fetchone()[0])


def _parameters(span: EventSpan) -> dict[str, Any]:
    return {
        "meter": meter_by_key(key=span.meter_key).pk,
        "customer": span.customer_id,
        "start": span.period.start,
        "end": span.period.end,
        "through": span.known_through,
    }
