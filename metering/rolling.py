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


def keep_rolling(*, stopped: threading.Event, interval_seconds: float = INTERVAL_SECONDS) -> int:
    """Roll up whenever something new was accepted, until `stopped` is set; returns how many events were counted.

    Between two looks no transaction is open. A failure (the database restarts, an insert stands still) is logged and
    the next look comes later; nothing is lost by it, cursors move with what they count. Several at a time do no harm.
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
        pause = interval_seconds if not failures else min(interval_seconds * 2**failures, PAUSE_SECONDS_MAX)
        stopped.wait(max(0.0, pause - (time.monotonic() - began)))
    return events


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
