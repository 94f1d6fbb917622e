"""`consume_events` in a process that dies by kill -9 at a chosen moment of its first batch, with dead letters in it.

python -m tests.metering.collecting.dying_consumer before_database|after_database consume_events ...
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import confluent_kafka
import django


def die(*arguments: Any, **options: Any) -> None:
    """End as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_after_dead_letters(execute: Callable[..., Any], sql: str, *arguments: Any) -> Any:
    """Die when events and dead letters are written and nothing is committed."""
    result = execute(sql, *arguments)
    if sql.startswith('INSERT INTO "metering_deadletter"'):
        die()
    return result


class DyingConsumer(confluent_kafka.Consumer):
    """Dies between the commit of the database and that of the offsets."""

    commit = die


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_site.settings")
    django.setup()
    from django.core.management import call_command
    from django.db import connection

    if sys.argv[1] == "before_database":
        connection.execute_wrappers.append(die_after_dead_letters)
    else:
        confluent_kafka.Consumer = DyingConsumer  # type: ignore[misc]
    call_command(*sys.argv[2:])
