"""List every accepted event that no window holds, with the reason: nothing is silent."""

from datetime import datetime
from typing import Any

from django.db import connection, transaction

from metering.archiving.absent import was_purged
from metering.counting import HAS_VALUE, IS_COUNTED, IS_IN_EFFECT, PASSES_FILTERS
from metering.models import RollupProgress
from metering.steps import end_of_step

# An event that some meter counts is listed only for the meters that should read it and cannot; one that none
# counts is listed once, with the reason nearest to counting.
_FOUND = f"""
    SELECT e.id, found.meter_id, e.customer_id, e.event_type, e.timestamp, e.received_at, found.reason
    FROM metering_usageevent e
    CROSS JOIN LATERAL (
        SELECT m.id AS meter_id, 'no_value' AS reason FROM metering_meter m
        WHERE m.event_type = e.event_type AND {IS_IN_EFFECT} AND {PASSES_FILTERS} AND NOT {HAS_VALUE}
        UNION ALL
        SELECT NULL, CASE WHEN count(m.id) = 0 THEN 'no_meter'
                          WHEN bool_and(NOT {IS_IN_EFFECT}) THEN 'before_meter' ELSE 'filtered_out' END
        FROM metering_meter m WHERE m.event_type = e.event_type
        HAVING count(*) FILTER (WHERE {IS_COUNTED} OR {IS_IN_EFFECT} AND {PASSES_FILTERS} AND NOT {HAS_VALUE}) = 0
    ) AS found
    WHERE e.id > %(cursor)s AND e.id <= %(upper)s
      AND NOT EXISTS (SELECT FROM metering_eventcancellation c WHERE c.event_number = e.id AND c.number <= %(known)s)
"""
_LIST = f"""
    INSERT INTO metering_unappliedevent (number, meter_id, customer_id, event_type, timestamp, received_at, reason)
    {_FOUND}
"""


def list_unapplied(*, mark: int, batch: int) -> None:
    """Bring the list of unapplied events up to number `mark`, in steps of at most `batch` events."""
    while _list_step(mark=mark, batch=batch):
        pass


# What is listed of purged events stays: there is nothing to make the list from.
_HERE = f"NOT {was_purged(received_at='received_at')}"


def list_again(*, event_types: list[str], cursor: int, upper: int) -> None:
    """Make the list anew for events of these types with numbers in (cursor, upper]: a meter counts them now."""
    with connection.cursor() as database:
        # A step ends before the list does: what was cancelled since is on the list no more, and must not come back.
        known = _listed_up_to()
        upper = min(upper, known)
        parameters: dict[str, Any] = {"cursor": cursor, "upper": upper, "known": known, "types": event_types}
        database.execute(
            f"""
            DELETE FROM metering_unappliedevent
            WHERE event_type = ANY(%(types)s) AND number > %(cursor)s AND number <= %(upper)s AND {_HERE}
            """,
            parameters,
        )
        database.execute(f"{_LIST} AND e.event_type = ANY(%(types)s)", parameters)


def list_span_again(*, event_type: str, start: datetime, end: datetime) -> None:
    """Make the list anew for events of a type that happened from `start` until before `end`: a meter was dated back."""
    with connection.cursor() as database:
        known = _listed_up_to()
        parameters: dict[str, Any] = {
            "cursor": 0,
            "upper": known,
            "known": known,
            "type": event_type,
            "start": start,
            "end": end,
        }
        database.execute(
            f"""
            DELETE FROM metering_unappliedevent
            WHERE event_type = %(type)s AND timestamp >= %(start)s AND timestamp < %(end)s AND {_HERE}
            """,
            parameters,
        )
        database.execute(
            f"{_LIST} AND e.event_type = %(type)s AND e.timestamp >= %(start)s AND e.timestamp < %(end)s", parameters
        )


def list_month_again(*, start: datetime, end: datetime) -> None:
    """Make the list anew for the events received from `start` until before `end`: they came back from the archive."""
    with connection.cursor() as database:
        known = _listed_up_to()
        parameters: dict[str, Any] = {"cursor": 0, "upper": known, "known": known, "start": start, "end": end}
        database.execute(
            "DELETE FROM metering_unappliedevent WHERE received_at >= %(start)s AND received_at < %(end)s", parameters
        )
        database.execute(f"{_LIST} AND e.received_at >= %(start)s AND e.received_at < %(end)s", parameters)


def listing_faults() -> list[str]:
    """Compare the list with what it must hold, event by event; returns sentences, none where all is well.

    An event in none of the windows and not on the list would be silently unbilled. Of purged events the list is all
    there is.
    """
    known = RollupProgress.objects.values_list("listed_up_to", flat=True).first() or 0
    parameters: dict[str, Any] = {"cursor": 0, "upper": known, "known": known}
    stored = (
        "SELECT number, meter_id, customer_id, event_type, timestamp, received_at, reason"
        f" FROM metering_unappliedevent WHERE {_HERE}"
    )
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*), min(id) FROM ({_FOUND} EXCEPT {stored}) AS missing", parameters)
        missing, first_missing = cursor.fetchone()
        cursor.execute(f"SELECT count(*), min(number) FROM ({stored} EXCEPT {_FOUND}) AS surplus", parameters)
        surplus, first_surplus = cursor.fetchone()
    faults = []
    if missing:
        faults.append(f"{missing} events are in no window and not listed, the first is number {first_missing}")
    if surplus:
        faults.append(f"{surplus} events are listed without need, the first is number {first_surplus}")
    return faults


def _listed_up_to() -> int:
    """Return how far the list goes, and keep others from moving it until this transaction ends."""
    with connection.cursor() as database:
        database.execute("INSERT INTO metering_rollupprogress (id, listed_up_to) VALUES (1, 0) ON CONFLICT DO NOTHING")
        database.execute("SELECT listed_up_to FROM metering_rollupprogress FOR UPDATE")
        return int(database.fetchone()[0])


@transaction.atomic
def _list_step(*, mark: int, batch: int) -> bool:
    cursor = _listed_up_to()
    if cursor >= mark:
        return False
    upper = end_of_step(cursor=cursor, mark=mark, batch=batch)
    with connection.cursor() as database:
        database.execute(_LIST, {"cursor": cursor, "upper": upper, "known": upper})
        database.execute(
            """
            DELETE FROM metering_unappliedevent u USING metering_eventcancellation c
            WHERE c.event_number = u.number AND c.number > %s AND c.number <= %s
            """,
            [cursor, upper],
        )
        database.execute("UPDATE metering_rollupprogress SET listed_up_to = %s", [upper])
    return upper < mark
