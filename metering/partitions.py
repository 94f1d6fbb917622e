"""The months of usage events: made ahead, opened one after another, closed with their keys remembered."""

from dataclasses import dataclass
from datetime import datetime

from django.db import connection, transaction

from metering.models import INGEST_LOCK

MONTHS_AHEAD = 3
CONSOLIDATION_LOCK = 7_304


@dataclass(frozen=True)
class Month:
    """One partition: its table, its bounds in UTC, and its size in bytes with indexes."""

    table: str
    start: datetime
    end: datetime
    bytes_used: int


def make_months_ahead(*, ahead: int = MONTHS_AHEAD) -> None:
    """Make the partitions of the present month of PostgreSQL's clock and of those that follow; again makes none."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT metering_make_month(date_trunc('month', now(), 'UTC') + ahead * interval '1 month')
            FROM generate_series(0, %s) AS ahead
            """,
            [ahead],
        )


@transaction.atomic
def open_present_month() -> None:
    """Let inserts into the present month, and into no earlier one from now on; running it again changes nothing.

    Takes the ingest lock alone: inserts into the month before end first. So whoever inserts into the new month
    sees all keys of the old ones.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [INGEST_LOCK])
        cursor.execute("SELECT metering_make_month(clock_timestamp())")
        cursor.execute(
            """
            INSERT INTO metering_keyhorizon AS horizon (id, open_from, consolidated_before)
            SELECT 1, present, COALESCE(min(date_trunc('month', e.received_at, 'UTC')), present)
            FROM date_trunc('month', clock_timestamp(), 'UTC') AS present LEFT JOIN metering_usageevent e ON TRUE
            WHERE NOT EXISTS (SELECT FROM metering_keyhorizon)
            GROUP BY present
            """
        )
        cursor.execute(
            """
            UPDATE metering_keyhorizon SET open_from = date_trunc('month', clock_timestamp(), 'UTC')
            WHERE open_from < date_trunc('month', clock_timestamp(), 'UTC')
            """
        )


def consolidate_keys() -> int:
    """Remember the keys of closed months in one table, in key order; returns how many were added.

    Until then an insert asks the month itself. A month is done in one transaction, so a crash leaves it undone.
    """
    added = 0
    while (month := _month_to_consolidate()) is not None:
        added += _consolidate(month)
    return added


def _month_to_consolidate() -> datetime | None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT consolidated_before FROM metering_keyhorizon WHERE consolidated_before < open_from")
        row = cursor.fetchone()
    return row[0] if row else None


@transaction.atomic
def _consolidate(month: datetime) -> int:
    with connection.cursor() as cursor:
        # One at a time; the row itself is locked at the end only, so that a month can open meanwhile.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CONSOLIDATION_LOCK])
        cursor.execute(
            "SELECT FROM metering_keyhorizon WHERE consolidated_before = %s AND open_from > %s", [month, month]
        )
        if cursor.rowcount == 0:
            return 0
        # In the order of the keys each page of the index is written once.
        cursor.execute(
            """
            INSERT INTO metering_knownkey (dedup_key, content_digest, number)
            SELECT dedup_key, metering_content_digest(event_type, quantity, namespace_id, properties), id
            FROM metering_usageevent
            WHERE received_at >= %(month)s AND received_at < %(month)s + interval '1 month'
            ORDER BY dedup_key
            ON CONFLICT DO NOTHING
            """,
            {"month": month},
        )
        added = cursor.rowcount
        cursor.execute("UPDATE metering_keyhorizon SET consolidated_before = consolidated_before + interval '1 month'")
    return int(added)


def months() -> list[Month]:
    """Return the partitions in the order of time."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT child.relname,
                   to_timestamp(substring(child.relname FROM 'y(\\d{4}m\\d{2})$') || ' +00', 'YYYY"m"MM TZH'),
                   pg_total_relation_size(child.oid)
            FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
            WHERE inhparent = 'metering_usageevent'::regclass ORDER BY child.relname
            """
        )
        rows = cursor.fetchall()
    starts = [start for _, start, _ in rows]
    assert starts == sorted(starts), "names of months sort by time"
    return [Month(table, start, _next_month(start), size) for table, start, size in rows]


def _next_month(start: datetime) -> datetime:
    return start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)


def faults() -> list[tuple[str, str]]:
    """Return (month, what is missing) for partitions that lack a guard: a unique key, a unique number, their triggers."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT child.relname, wanted.what
            FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
            CROSS JOIN LATERAL (VALUES
                ('a unique index on dedup_key', EXISTS (
                    SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
                    WHERE i.indrelid = child.oid AND i.indisunique AND i.indisvalid AND i.indnkeyatts = 1
                      AND i.indpred IS NULL AND a.attname = 'dedup_key')),
                ('a unique index on id', EXISTS (
                    SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
                    WHERE i.indrelid = child.oid AND i.indisunique AND i.indisvalid AND i.indnkeyatts = 1
                      AND i.indpred IS NULL AND a.attname = 'id')),
                ('its trigger only_as_a_whole', EXISTS (
                    SELECT FROM pg_trigger t WHERE t.tgrelid = child.oid AND t.tgname = 'only_as_a_whole'
                      AND t.tgenabled IN ('O', 'A'))),
                ('its trigger append_only', EXISTS (
                    SELECT FROM pg_trigger t WHERE t.tgrelid = child.oid AND t.tgname LIKE 'pgtrigger_append_only%%'
                      AND t.tgenabled IN ('O', 'A')))
            ) AS wanted(what, is_there)
            WHERE inhparent = 'metering_usageevent'::regclass AND NOT wanted.is_there
            ORDER BY 1, 2
            """.replace("%%", "%")
        )
        return [(month, what) for month, what in cursor.fetchall()]
