"""`manage.py work`: the job cluster and its scheduler in the foreground; it ends itself where it stands still."""

import logging
import os
import signal
import sys
import time
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django_q.cluster import Cluster

from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError
from billing_site.kernel.jobs import queue_state, stands_still

logger = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
STEP_SECONDS = 0.2
# Beyond the longest that one job may take.
MARGIN = timedelta(seconds=10)


class Command(BaseCommand):
    """django-q's `qcluster`, watched.

    A process of the cluster that is killed (by the system, for want of memory) while it waits for a job takes the lock
    of the queue with it: the others live and wait for ever, and stopping hangs too. So the main process looks at the
    queue, and kills the whole cluster where nothing moves. Who supervises this starts it again; jobs are delivered
    at least once.
    """

    help = "Run the job cluster and its scheduler until Ctrl-C or SIGTERM."

    def handle(self, *args: Any, **options: Any) -> None:
        """Start the cluster and watch it until it ends."""
        patience = timedelta(seconds=settings.Q_CLUSTER["timeout"]) + MARGIN
        began = now()
        _look_for_tables(at=began)
        cluster = Cluster()
        cluster.start()
        looked = time.monotonic()
        # Nothing blocks in here for long: the cluster's own handler of SIGTERM runs between two steps.
        while cluster.sentinel.is_alive():
            time.sleep(STEP_SECONDS)
            if time.monotonic() - looked < LOOK_SECONDS:
                continue
            looked = time.monotonic()
            if now() - began > patience and _is_stuck(patience=patience):
                logger.error("The job cluster has stood still for %s although jobs wait: it is ended.", patience)
                _kill_everything()
        sys.exit(cluster.sentinel.exitcode)


def _look_for_tables(*, at: datetime) -> None:
    """Ask the queue once: without tables every process of the cluster would fail again and again.

    A database that does not answer yet is waited for by the cluster itself.
    """
    with suppress(OperationalError, InterfaceError, BillingError):
        queue_state(at=at)
    connection.close()


def _is_stuck(*, patience: timedelta) -> bool:
    """Ask the queue; a database that does not answer is no sign of a cluster that is stuck."""
    at = now()
    try:
        return stands_still(at=at, since=at - patience)
    except (DatabaseError, BillingError):
        return False
    finally:
        connection.close()


def _kill_everything() -> None:
    """Kill the cluster with all of its processes, where they have a process group to themselves; at least this one."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
