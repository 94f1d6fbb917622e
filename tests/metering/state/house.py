"""A database of its own, what can befall it, and time that passes: what the state machine plays with."""

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

NOT_EMPTIED = ("metering_keyhorizon",)


@contextlib.contextmanager
def house() -> Iterator[None]:
    """Make a data folder with a migrated database, and Django pointed to it; for a process that has not set Django up."""
    with tempfile.TemporaryDirectory(prefix="storm-") as folder:
        os.environ |= {
            "BILLING_DATA_DIR": folder,
            "DJANGO_SETTINGS_MODULE": "billing_site.settings",
            "PYTHONWARNINGS": "ignore",
        }
        os.environ.pop("DATABASE_URL", None)
        import django

        django.setup()
        from django.core.management import call_command
        from django.db import connection

        call_command("migrate", verbosity=0)
        # Processes are killed here, not machines: what was written reaches the disk some time.
        with connection.cursor() as cursor:
            cursor.execute("ALTER SYSTEM SET fsync = off")
            cursor.execute("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            connection.close()
            from billing_site.database.embedded import embedded_server

            embedded_server(data_dir=Path(folder)).leave()


@contextlib.contextmanager
def without_guards() -> Iterator[Any]:
    """Yield a cursor for which no trigger speaks up: the hand of the test, never the product's."""
    from django.db import connection, transaction

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        yield cursor
        # There may be a transaction around this one, to whose end the setting would last.
        cursor.execute("SET LOCAL session_replication_role = origin")


def begin_anew() -> None:
    """Empty all tables of metering, and open the present month."""
    from django.db import connection

    with connection.cursor() as cursor:
        names = connection.introspection.table_names(cursor)
    with without_guards() as cursor:
        tables = [name for name in names if name.startswith("metering_") and name not in NOT_EMPTIED]
        cursor.execute(" UNION ALL ".join(f"SELECT '{name}' WHERE EXISTS (SELECT FROM \"{name}\")" for name in tables))
        for (name,) in cursor.fetchall():
            cursor.execute(f'DELETE FROM "{name}"')
        cursor.execute(
            "UPDATE metering_keyhorizon SET open_from = date_trunc('month', clock_timestamp(), 'UTC'),"
            " consolidated_before = date_trunc('month', clock_timestamp(), 'UTC')"
        )


def let_a_month_pass() -> None:
    """Turn everything that was received one month older, so that the present month is new and nobody has opened it.

    PostgreSQL's clock cannot be turned; this is the same world, seen from its other end.
    """
    with without_guards() as cursor:
        cursor.execute(
            "SELECT metering_make_month(date_trunc('month', now(), 'UTC') - ago * interval '1 month')"
            " FROM generate_series(1, 4) AS ago"
        )
        cursor.execute("UPDATE metering_usageevent SET received_at = received_at - interval '1 month'")
        cursor.execute("UPDATE metering_unappliedevent SET received_at = received_at - interval '1 month'")
        cursor.execute(
            "UPDATE metering_keyhorizon SET open_from = open_from - interval '1 month',"
            " consolidated_before = consolidated_before - interval '1 month'"
        )


def backend_pid() -> int:
    """The process in the server that serves this connection."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    return int(pid)


def postmaster_pid() -> int:
    """The server's main process."""
    from django.conf import settings

    from billing_site.database.postmaster import read_postmaster

    folder = Path(settings.DATABASES["default"]["EMBEDDED_DATA_DIR"])
    postmaster = read_postmaster(cluster=folder / "postgresql" / "cluster")
    assert postmaster is not None and postmaster.is_alive(), "the server of this house runs"
    return postmaster.pid


def kill(pid: int) -> None:
    """kill -9 of a process of this house."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def recover(killed: int) -> None:
    """Wait until the kill has had its effect, throw the dead connection away, wait until the server answers again."""
    from django.db import Error, connection

    for _attempt in range(400):
        # Only when the server has buried a session does it end all others.
        if not _is_there(killed):
            with contextlib.suppress(Exception):
                connection.close()
            connection.connection = None
            connection.savepoint_ids, connection.in_atomic_block, connection.needs_rollback = [], False, False
            connection.closed_in_transaction = False
            with contextlib.suppress(Error), connection.cursor() as cursor:
                cursor.execute("SELECT 1")
                return
        time.sleep(0.05)
    raise AssertionError("the server does not come back")


def _is_there(pid: int) -> bool:
    """Say whether a process runs, or is a zombie that its server has yet to bury; a dead server nobody may bury."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        # It ended before its file was opened, or while it was read.
        return False
    return state != "Z" or parent != "1"


def in_a_process(call: Callable[[], str], *, killed_after_seconds: float) -> str:
    """Run a call in a process of its own and kill -9 that; returns what it could still say, empty if nothing."""
    from django.db import connection

    connection.close()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            os.write(writer, call().encode())
        finally:
            os._exit(0)
    os.close(writer)
    time.sleep(killed_after_seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as pipe:
        return pipe.read().decode()
