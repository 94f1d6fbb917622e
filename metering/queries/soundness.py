"""What no trigger can refuse and no count of a window shows: looked for by `verify`, which names it."""

from collections.abc import Iterator

from django.db import connection

from metering.counting import COUNTED_TEXT, GROUPING, HOUR_OF_EVENT, known_through

# Of hours with an archived part only the stored values are left.
_COMPARABLE = """
    NOT EXISTS (SELECT FROM metering_usagewindow w WHERE w.archived_count > 0
        AND (w.meter_id, w.customer_id, w.start, w.grouping) = (v.meter_id, v.customer_id, v.start, v.grouping))
    AND NOT EXISTS (SELECT FROM metering_unsettledhour u
        WHERE (u.meter_id, u.customer_id, u.start, u.grouping) = (v.meter_id, v.customer_id, v.start, v.grouping))
"""
_UNIQUE_VALUES = f"""
    WITH recounted AS (
        SELECT DISTINCT m.id AS meter_id, e.customer_id, {HOUR_OF_EVENT} AS start, {GROUPING} AS grouping,
               md5({COUNTED_TEXT})::uuid AS value_key
        FROM metering_usageevent e JOIN metering_meter m ON m.event_type = e.event_type
        WHERE m.aggregation = 'unique_count' AND {known_through("m.rolled_up_to")}
    ), stored AS (
        SELECT meter_id, customer_id, start, grouping, value_key FROM metering_uniquevalue
    ), differing AS (
        (TABLE recounted EXCEPT TABLE stored) UNION ALL (TABLE stored EXCEPT TABLE recounted)
    )
    SELECT m.key, count(*) FROM differing v JOIN metering_meter m ON m.id = v.meter_id
    WHERE {_COMPARABLE} GROUP BY m.key ORDER BY m.key
"""
_NOTHING_PURGED = (
    "NOT EXISTS (SELECT FROM metering_eventarchive a WHERE a.purged_at IS NOT NULL AND a.restored_at IS NULL)"
)


def unsound_facts() -> Iterator[tuple[str, str]]:
    """Yield (subject, what is wrong) for facts that only somebody with SQL can have made; reads each unique value once."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*), min(e.id) FROM metering_usageevent e
            WHERE e.id > COALESCE(pg_sequence_last_value('metering_usageevent_id_seq'), 0) OR e.id < 1
            """
        )
        count, first = cursor.fetchone()
        if count:
            yield f"event {first}", f"{count} events have numbers that nobody drew: no rollup will count them"
        cursor.execute("SELECT open_from FROM metering_keyhorizon WHERE open_from > now()")
        for (open_from,) in cursor.fetchall():
            yield "the key horizon", f"the open month is {open_from:%Y-%m}: until then no event is accepted"
        cursor.execute(_UNIQUE_VALUES)
        for meter, count in cursor.fetchall():
            yield f"meter {meter}", f"{count} values told apart are not those of its events: rebuild its windows"
        for table, noun in (
            ("metering_usagewindow WHERE archived_count > 0", "windows say that their events are archived"),
            ("metering_unsettledhour WHERE TRUE", "hours wait for archived events"),
        ):
            cursor.execute(f"SELECT count(*) FROM {table} AND {_NOTHING_PURGED}")
            (count,) = cursor.fetchone()
            if count:
                yield "the archive", f"{count} {noun}, and none are purged"
