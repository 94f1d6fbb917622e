"""Count accepted events into hourly windows, each event of a meter exactly once.

The order of commits is not the order of event numbers: a transaction may hold a low number and
commit late. Every insert holds a shared advisory lock from before it draws its first number until it
ends. So the rollup reads the last number drawn, then waits until those who hold the lock at that
moment have ended: afterwards every event up to that number is either visible or will never be.
"""

import time
from dataclasses import dataclass

from django.db import connection, transaction

from billing_site.kernel.errors import Conflict
from metering.doubles import cancel_doubles
from metering.listing import list_again, list_unapplied
from metering.models import INGEST_LOCK
from metering.steps import end_of_step
from metering.windowing import add_to_windows, recount_corrected_hours

BATCH_SIZE = 200_000
POLL_SECONDS = 0.01
PATIENCE_SECONDS = 60


class IngestStandsStill(Conflict):
    """A transaction that inserts events stays open for so long that the rollup cannot go past it."""

    code = "ingest_stands_still"


@dataclass(frozen=True)
class RollupReport:
    """How far the meters are now, and what this run did."""

    rolled_up_to: int
    events: int
    windows: int


def roll_up(*, batch: int = BATCH_SIZE) -> RollupReport:
    """Bring every meter's windows, and the list of unapplied events, up to all that was accepted before this call.

    Works in transactions of at most `batch` events each, so a new meter catches up in bounded
    steps. Runs at the same time wait for each other, row by row, and count nothing twice. Raises
    IngestStandsStill if an insert has been open for a minute.
    """
    assert batch > 0, "a step must go forward"
    mark = settled_mark()
    if cancel_doubles(mark=mark):
        # What was cancelled just now has numbers beyond the mark.
        mark = settled_mark()
    events = windows = 0
    while (cursor := _furthest_cursor_behind(mark)) is not None:
        step_events, step_windows = _advance(cursor=cursor, upper=end_of_step(cursor=cursor, mark=mark, batch=batch))
        events += step_events
        windows += step_windows
    list_unapplied(mark=mark, batch=batch)
    return RollupReport(rolled_up_to=mark, events=events, windows=windows)


def settled_mark() -> int:
    """Return a number up to which every event, cancellation and backdating is visible or will never be.

    Raises IngestStandsStill.
    """
    mark = _last_number_drawn()
    _wait_for_present_inserts()
    return mark


def _last_number_drawn() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT COALESCE(pg_sequence_last_value(pg_get_serial_sequence('metering_usageevent', 'id')::regclass), 0)"
        )
        return int(cursor.fetchone()[0])


def _wait_for_present_inserts() -> None:
    waiting = _inserts_at_work()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while waiting:
        if time.monotonic() > deadline:
            raise IngestStandsStill(
                f"{len(waiting)} transactions that insert usage events have been open for {PATIENCE_SECONDS} seconds; "
                "find them in pg_stat_activity and end them"
            )
        time.sleep(POLL_SECONDS)
        waiting &= _inserts_at_work()


def _inserts_at_work() -> set[str]:
    """Return the transactions, other than our own, that hold the ingest lock."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT virtualtransaction FROM pg_locks
            WHERE locktype = 'advisory' AND classid = 0 AND objid = %s AND objsubid = 1 AND granted
              AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND pid <> pg_backend_pid()
            """,
            [INGEST_LOCK],
        )
        return {row[0] for row in cursor.fetchall()}


def _furthest_cursor_behind(mark: int) -> int | None:
    """Return the greatest cursor below the mark: meters in use come first, a new one catches up after them."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT max(rolled_up_to) FROM metering_meter WHERE rolled_up_to < %s", [mark])
        found: int | None = cursor.fetchone()[0]
        return found


@transaction.atomic
def _advance(*, cursor: int, upper: int) -> tuple[int, int]:
    """Move all meters that stand at `cursor` to `upper`; returns the numbers of events and windows counted."""
    assert cursor < upper, "a step must go forward"
    with connection.cursor() as database:
        # Whoever waited here for another run finds the meter moved: the condition is checked again.
        database.execute(
            "SELECT id, aggregation, event_type FROM metering_meter WHERE rolled_up_to = %s ORDER BY id FOR NO KEY UPDATE",
            [cursor],
        )
        rows = database.fetchall()
    meters: dict[str, list[int]] = {}
    for meter, aggregation, _ in rows:
        meters.setdefault(aggregation, []).append(meter)
    events = windows = 0
    for aggregation, ids in sorted(meters.items()):
        added_events, added_windows = add_to_windows(aggregation=aggregation, meters=ids, cursor=cursor, upper=upper)
        events += added_events
        windows += added_windows
        recount_corrected_hours(aggregation=aggregation, meters=ids, cursor=cursor, upper=upper)
    with connection.cursor() as database:
        database.execute(
            "UPDATE metering_meter SET rolled_up_to = %s WHERE id = ANY(%s)", [upper, [row[0] for row in rows]]
        )
    # A new meter passes events that are listed already: what it counts is listed no more.
    list_again(event_types=sorted({row[2] for row in rows}), cursor=cursor, upper=upper)
    return events, windows
