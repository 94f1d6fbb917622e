"""Write hourly windows: add new events to them, or count an hour again where adding is not enough."""

from typing import Any

from django.db import connection

from metering.archiving.absent import ADDITIVE, settled_hours
from metering.counting import COUNTED_TEXT, GROUPING, HOUR_OF_EVENT, IS_COUNTED, hours_of_events, known_through

# How a window takes in the window of later events, `w` being the stored one and `excluded` the new.
_MERGED_VALUE = {
    "sum": "w.value + excluded.value",
    "average": "w.value + excluded.value",
    "count": "w.value + excluded.value",
    "max": "CASE WHEN w.event_count = 0 THEN excluded.value ELSE greatest(w.value, excluded.value) END",
    "min": "CASE WHEN w.event_count = 0 THEN excluded.value ELSE least(w.value, excluded.value) END",
    # Of two events with one timestamp the one that was accepted later counts; new events have greater numbers.
    "latest": "CASE WHEN w.last_at <= excluded.last_at OR w.last_at IS NULL THEN excluded.value ELSE w.value END",
    # Set from the values of the hour afterwards.
    "unique_count": "w.value",
    # Right where the new events follow the old ones; other hours are counted again afterwards.
    "time_weighted_sum": """w.value + excluded.value + COALESCE(
        w.last_value * (1000000 * extract(epoch FROM excluded.first_at - w.last_at))::numeric(20, 0), 0)""",
}
# An hour that waits for archived events keeps its window; those of a time-weighted sum cannot even be added to.
_IS_SETTLED = f"""NOT EXISTS (
    SELECT FROM metering_unsettledhour u
    WHERE (u.meter_id, u.customer_id, u.start, u.grouping) = (m.id, e.customer_id, {HOUR_OF_EVENT}, {GROUPING})
)"""
_COLUMNS = "meter_id, customer_id, start, grouping, value, event_count, last_event, first_at, last_at, last_value"


def add_to_windows(*, aggregation: str, meters: list[int], cursor: int, upper: int) -> tuple[int, int]:
    """Count the events with numbers in (cursor, upper] into their windows; returns how many events, and windows touched."""
    condition = f"e.id > %(cursor)s AND m.id = ANY(%(meters)s) AND {known_through('%(upper)s')}"
    parameters: dict[str, Any] = {"cursor": cursor, "upper": upper, "meters": meters}
    with connection.cursor() as database:
        if aggregation == "time_weighted_sum":
            overtaken = settled_hours(hours=_overtaken_hours(condition, parameters), number=upper)
            condition = f"{condition} AND {_IS_SETTLED}"
        database.execute(
            f"""
            WITH counted AS ({hours_of_events(aggregation=aggregation, condition=condition)}),
            written AS (
                INSERT INTO metering_usagewindow AS w ({_COLUMNS})
                SELECT {_COLUMNS} FROM counted
                ON CONFLICT (meter_id, customer_id, start, grouping) DO UPDATE SET
                    value = {_MERGED_VALUE[aggregation]},
                    event_count = w.event_count + excluded.event_count,
                    last_event = greatest(w.last_event, excluded.last_event),
                    first_at = least(w.first_at, excluded.first_at),
                    last_at = greatest(w.last_at, excluded.last_at),
                    last_value = CASE WHEN w.last_at > excluded.last_at THEN w.last_value ELSE excluded.last_value END
                RETURNING 1
            )
            SELECT (SELECT COALESCE(sum(event_count), 0) FROM counted), (SELECT count(*) FROM written)
            """,
            parameters,
        )
        events, windows = database.fetchone()
    if aggregation == "unique_count":
        _keep_values(condition, parameters)
    if aggregation == "time_weighted_sum":
        count_hours_again(aggregation=aggregation, hours=overtaken, upper=upper)
    return int(events), int(windows)


def recount_corrected_hours(*, aggregation: str, meters: list[int], cursor: int, upper: int) -> None:
    """Count again the hours whose events were cancelled, or came into effect, by numbers in (cursor, upper]."""
    with connection.cursor() as database:
        database.execute(
            f"""
            SELECT DISTINCT m.id, e.customer_id, {HOUR_OF_EVENT}, {GROUPING}
            FROM metering_eventcancellation c
            JOIN metering_usageevent e ON e.id = c.event_number
            JOIN metering_meter m ON m.event_type = e.event_type AND m.id = ANY(%(meters)s)
            WHERE c.number > %(cursor)s AND c.number <= %(upper)s AND e.id <= %(cursor)s AND {IS_COUNTED}
            UNION
            SELECT m.id, e.customer_id, {HOUR_OF_EVENT}, {GROUPING}
            FROM metering_meterbackdating b
            JOIN metering_meter m ON m.id = b.meter_id AND m.id = ANY(%(meters)s)
            JOIN metering_usageevent e ON e.event_type = m.event_type
                AND e.timestamp >= b.effective_from AND e.timestamp < b.effective_before
            WHERE b.number > %(cursor)s AND b.number <= %(upper)s AND e.id <= %(cursor)s AND {IS_COUNTED}
            """,
            {"meters": meters, "cursor": cursor, "upper": upper},
        )
        hours = database.fetchall()
    count_hours_again(aggregation=aggregation, hours=hours, upper=upper)


def count_hours_again(*, aggregation: str, hours: list[tuple[Any, ...]], upper: int) -> None:
    """Replace windows by a count of their raw events up to number `upper`; `hours` are (meter, customer, start, grouping).

    A window whose events are all cancelled stays, with none. `last_event` becomes `upper`: whoever billed the hour
    earlier can tell that it changed. What is archived of an hour is added to what is counted; where that is not
    possible the window stays and the hour is listed until its events are restored.
    """
    if aggregation not in ADDITIVE:
        hours = settled_hours(hours=hours, number=upper)
    if not hours:
        return
    meters, customers, starts, groupings = (list(column) for column in zip(*hours, strict=True))
    condition = f"""
        {known_through("%(upper)s")} AND m.id = h.meter_id AND e.customer_id = h.customer_id
        AND e.timestamp >= h.start AND e.timestamp < h.start + interval '1 hour' AND {GROUPING} = h.grouping
    """
    parameters: dict[str, Any] = {
        "upper": upper,
        "meters": meters,
        "customers": customers,
        "starts": starts,
        "groupings": groupings,
    }
    hours_given = (
        "unnest(%(meters)s::bigint[], %(customers)s::text[], %(starts)s::timestamptz[], %(groupings)s::text[])"
        " AS h(meter_id, customer_id, start, grouping)"
    )
    with connection.cursor() as database:
        database.execute(
            f"""
            INSERT INTO metering_usagewindow AS w ({_COLUMNS})
            SELECT h.meter_id, h.customer_id, h.start, h.grouping, COALESCE(again.value, 0),
                   COALESCE(again.event_count, 0), %(upper)s, again.first_at, again.last_at, again.last_value
            FROM {hours_given}
            LEFT JOIN LATERAL ({hours_of_events(aggregation=aggregation, condition=condition)}) AS again ON TRUE
            ON CONFLICT (meter_id, customer_id, start, grouping) DO UPDATE SET
                value = excluded.value + w.archived_value, event_count = excluded.event_count + w.archived_count,
                last_event = excluded.last_event,
                first_at = excluded.first_at, last_at = excluded.last_at, last_value = excluded.last_value
            """,
            parameters,
        )
        if aggregation == "unique_count":
            database.execute(
                f"""
                DELETE FROM metering_uniquevalue u USING {hours_given}
                WHERE (u.meter_id, u.customer_id, u.start, u.grouping)
                    = (h.meter_id, h.customer_id, h.start, h.grouping)
                """,
                parameters,
            )
            database.execute(
                f"""
                INSERT INTO metering_uniquevalue (meter_id, customer_id, start, grouping, value_key)
                SELECT DISTINCT h.meter_id, h.customer_id, h.start, h.grouping, md5({COUNTED_TEXT})::uuid
                FROM {hours_given}, metering_usageevent e JOIN metering_meter m ON m.event_type = e.event_type
                WHERE {condition}
                """,
                parameters,
            )


def _keep_values(condition: str, parameters: dict[str, Any]) -> None:
    """Remember the distinct values of new events, and set the windows of their hours to how many there are."""
    with connection.cursor() as database:
        database.execute(
            f"""
            WITH new AS (
                INSERT INTO metering_uniquevalue (meter_id, customer_id, start, grouping, value_key)
                SELECT DISTINCT m.id, e.customer_id, {HOUR_OF_EVENT}, {GROUPING}, md5({COUNTED_TEXT})::uuid
                FROM metering_usageevent e JOIN metering_meter m ON m.event_type = e.event_type
                WHERE {condition}
                ON CONFLICT DO NOTHING
                RETURNING meter_id, customer_id, start, grouping
            )
            SELECT DISTINCT meter_id, customer_id, start, grouping FROM new
            """,
            parameters,
        )
        touched = database.fetchall()
        if not touched:
            return
        meters, customers, starts, groupings = (list(column) for column in zip(*touched, strict=True))
        database.execute(
            """
            UPDATE metering_usagewindow w SET value = (
                SELECT count(*) FROM metering_uniquevalue u
                WHERE (u.meter_id, u.customer_id, u.start, u.grouping)
                    = (w.meter_id, w.customer_id, w.start, w.grouping)
            )
            FROM unnest(%s::bigint[], %s::text[], %s::timestamptz[], %s::text[])
                AS h(meter_id, customer_id, start, grouping)
            WHERE (w.meter_id, w.customer_id, w.start, w.grouping)
                = (h.meter_id, h.customer_id, h.start, h.grouping)
            """,
            [meters, customers, starts, groupings],
        )


def _overtaken_hours(condition: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return the hours in which a new event happened before one that is counted already: adding would be wrong there."""
    with connection.cursor() as database:
        database.execute(
            f"""
            SELECT DISTINCT w.meter_id, w.customer_id, w.start, w.grouping
            FROM metering_usageevent e JOIN metering_meter m ON m.event_type = e.event_type
            JOIN metering_usagewindow w ON w.meter_id = m.id AND w.customer_id = e.customer_id
                AND w.start = {HOUR_OF_EVENT} AND w.grouping = {GROUPING} AND w.last_at > e.timestamp
            WHERE {condition}
            """,
            parameters,
        )
        return database.fetchall()
