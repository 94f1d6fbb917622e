"""Roll up without end: look twice a second whether anything was accepted, and count it into its windows."""

import logging
import threading
import time

from django.db import DatabaseError, InterfaceError, connection

from billing_site.kernel.errors import BillingError
from metering.rollup import roll_up

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 0.5
# After a failure: doubled each time up to this, so that a database that is away is not asked a hundred times.
PAUSE_SECONDS_MAX = 15.0
DOUBLINGS_MAX = 10


def keep_rolling(*, stopped: threading.Event, interval_seconds: float = INTERVAL_SECONDS) -> int:
    """Roll up whenever something new was accepted, until `stopped` is set; returns how many events were counted.

    Between two looks no transaction is open. A failure (the database restarts, an insert stands still, a bug) is logged
    and the next look comes later; nothing is lost by it, cursors move with what they count. Several at a time do no
    harm. An exception that ends the process may come at any moment, and leaves nothing half counted.
    """
    events = failures = 0
    while not stopped.is_set():
        began = time.monotonic()
        try:
            if is_behind():
                events += roll_up().events
            failures = 0
        except (DatabaseError, InterfaceError, BillingError) as problem:
            failures += 1
            logger.warning("The rollup goes on later: %s", str(problem).partition("\n")[0])
            connection.close()
        except Exception:
            # What one batch of events breaks must not keep the others from being tried again.
            failures += 1
            logger.exception("The rollup goes on later, although this was not foreseen")
            connection.close()
        pause = pause_seconds(interval_seconds=interval_seconds, failures=failures)
        stopped.wait(max(0.0, pause - (time.monotonic() - began)))
    return events


def pause_seconds(*, interval_seconds: float, failures: int) -> float:
    """Return how long after the beginning of one look the next one is due, `failures` of them having failed in a row."""
    return min(interval_seconds * 2 ** min(failures, DOUBLINGS_MAX), max(PAUSE_SECONDS_MAX, interval_seconds))


def is_behind() -> bool:
    """Say whether an event number was drawn that some meter, or the list of unapplied events, has not passed."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT COALESCE(pg_sequence_last_value(pg_get_serial_sequence('metering_usageevent', 'id')::regclass), 0)
                   > least((SELECT min(rolled_up_to) FROM metering_meter),
                           COALESCE((SELECT min(listed_up_to) FROM metering_rollupprogress), 0))
            """
        )
        return bool(cursor.fetchone()[0])
