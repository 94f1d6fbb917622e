"""What the events of one month of receipt contribute to windows: put aside when they go, taken back when they return."""

from datetime import datetime
from typing import Any

from django.db import connection

from metering.archiving.absent import ADDITIVE
from metering.counting import hours_of_events, known_through

TABLE = "metering_contribution"


def gather(*, start: datetime, end: datetime) -> int:
    """Count what the events received in [start, end) contribute, into a table of this transaction; returns how many hours.

    As the windows know it: up to each meter's cursor.
    """
    parameters: dict[str, Any] = {"month_start": start, "month_end": end}
    with connection.cursor() as cursor:
        cursor.execute(
            # A function of the owner: whoever may make temporary tables of any name stands them in the place of ours.
            "SELECT metering_make_contribution()"
        )
        cursor.execute("SELECT DISTINCT aggregation FROM metering_meter")
        for aggregation in sorted(row[0] for row in cursor.fetchall()):
            hours = hours_of_events(
                aggregation=aggregation,
                condition="m.aggregation = %(aggregation)s AND e.received_at >= %(month_start)s"
                f" AND e.received_at < %(month_end)s AND {known_through('m.rolled_up_to')}",
            )
            value = "value" if aggregation in ADDITIVE else "0"
            cursor.execute(
                f"""
                INSERT INTO {TABLE} (meter_id, customer_id, start, grouping, value, event_count)
                SELECT meter_id, customer_id, start, grouping, {value}, event_count FROM ({hours}) AS counted
                """,
                {**parameters, "aggregation": aggregation},
            )
        cursor.execute(f"SELECT count(*) FROM {TABLE}")
        return int(cursor.fetchone()[0])


def put_aside() -> int:
    """Mark in the windows what was gathered as archived; returns how many hours did not have it, which must be none."""
    return _move("w.archived_count + c.event_count", "w.archived_value + c.value", "w.event_count - w.archived_count")


def take_back() -> int:
    """Mark in the windows what was gathered as present; returns how many hours did not have it, which must be none."""
    return _move("w.archived_count - c.event_count", "w.archived_value - c.value", "w.archived_count")


def _move(archived_count: str, archived_value: str, at_hand: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH moved AS (
                UPDATE metering_usagewindow w SET archived_count = {archived_count}, archived_value = {archived_value}
                FROM {TABLE} c
                WHERE (w.meter_id, w.customer_id, w.start, w.grouping)
                    = (c.meter_id, c.customer_id, c.start, c.grouping) AND {at_hand} >= c.event_count
                RETURNING 1
            )
            SELECT (SELECT count(*) FROM {TABLE}) - (SELECT count(*) FROM moved)
            """
        )
        return int(cursor.fetchone()[0])


def unsettled_and_complete() -> list[tuple[str, int, tuple[Any, ...]]]:
    """Return the listed hours that have nothing archived any more, and take them off the list.

    As (aggregation, the meter's cursor, (meter, customer, start, grouping)).
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH settled AS (
                DELETE FROM metering_unsettledhour u USING metering_usagewindow w
                WHERE (w.meter_id, w.customer_id, w.start, w.grouping)
                    = (u.meter_id, u.customer_id, u.start, u.grouping) AND w.archived_count = 0
                RETURNING u.meter_id, u.customer_id, u.start, u.grouping
            )
            SELECT m.aggregation, m.rolled_up_to, s.meter_id, s.customer_id, s.start, s.grouping
            FROM settled s JOIN metering_meter m ON m.id = s.meter_id ORDER BY 3, 4, 5, 6
            """
        )
        return [(row[0], row[1], tuple(row[2:])) for row in cursor.fetchall()]
