"""The embedded PostgreSQL as its users see it: join it (it is started if need be), leave it (the last one stops it).

The protocol is in README.md beside this file. In one line: `users.lock` is held shared by every process that uses
the server, and whoever wants to start or stop it holds `start.lock` alone meanwhile.
"""

import contextlib
import errno
import os
import threading
import time
from dataclasses import dataclass
from multiprocessing import util as processes
from pathlib import Path
from typing import Any

import psycopg

from billing_site.database.cluster import start_server
from billing_site.database.errors import DatabaseInUseError, EmbeddedDatabaseError
from billing_site.database.layout import PORT, Layout
from billing_site.database.locks import held_alone, hold_shared, holders, is_held
from billing_site.database.postmaster import Postmaster, read_postmaster
from billing_site.database.settings import EMBEDDED_DATABASE, EMBEDDED_USER

MAINTENANCE_DATABASE = "postgres"
PROBE_TIMEOUT_SECONDS = 2
ANSWER_ATTEMPTS = 600
STOP_ATTEMPTS = 3000
SECONDS_BETWEEN_ATTEMPTS = 0.1
# Below zero: after this process has waited for its children (the job cluster's main process does so while it exits).
AFTER_THE_CHILDREN = -100
STATUS_QUERY = """
    select current_setting('server_version'),
           (select sum(pg_database_size(oid))::bigint from pg_database),
           (select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid())
"""


@dataclass(frozen=True)
class ServerStatus:
    """What there is to say about the server at one moment; sizes in bytes."""

    postmaster: Postmaster | None
    version: str
    database_bytes: int
    sessions: int
    user_pids: tuple[int, ...]
    kept: bool

    @property
    def is_running(self) -> bool:
        """Whether the server's process lives."""
        return self.postmaster is not None


class EmbeddedServer:
    """One data folder's server, seen from this process."""

    def __init__(self, *, data_dir: Path) -> None:
        self.layout = Layout(data_dir=data_dir.resolve())
        self._users_lock: int | None = None
        self._guard = threading.RLock()
        os.register_at_fork(after_in_child=self._begin_as_forked_child)
        processes.register_after_fork(self, EmbeddedServer._begin_as_forked_child)

    def join(self) -> dict[str, str | int]:
        """Become a user of the server, starting it if need be, and return where to connect.

        Costs nothing from the second call on. Raises EmbeddedDatabaseError where it cannot be started.
        """
        with self._guard:
            if self._users_lock is None:
                self.ensure_running()
            return {"host": str(self.layout.socket_directory()), "port": PORT}

    def ensure_running(self) -> None:
        """Make sure, by connecting, that the server answers, and that this process is counted among its users."""
        with self._guard:
            self._make_home()
            try:
                with held_alone(path=self.layout.start_lock):
                    self._take_share()
                    self._start_unless_it_answers()
                    self._create_database_if_missing()
            except PermissionError as error:
                raise self._not_ours(error) from error

    def leave(self) -> None:
        """Stop being a user; the last one stops the server unless it was asked to stay (`database start`)."""
        with self._guard:
            if self._users_lock is None:
                return
            with held_alone(path=self.layout.start_lock):
                self._give_share_back()
                if not self.layout.keep_marker.exists() and not is_held(path=self.layout.users_lock):
                    self._stop()

    def stop(self) -> bool:
        """Stop the server; tell whether it ran. Raises DatabaseInUseError where other processes use it.

        For a process that has not joined: the lock that tells of others is ours too once we have.
        """
        assert self._users_lock is None, "a user leaves; it does not stop the server"
        self._make_home()
        with held_alone(path=self.layout.start_lock):
            if is_held(path=self.layout.users_lock):
                raise DatabaseInUseError(pids=self.other_users())
            self.layout.keep_marker.unlink(missing_ok=True)
            return self._stop()

    def stop_under_its_users(self) -> bool:
        """Stop the server whoever uses it; tell whether it ran. Whoever connects next starts it again."""
        self._make_home()
        with held_alone(path=self.layout.start_lock):
            self.layout.keep_marker.unlink(missing_ok=True)
            return self._stop()

    def keep(self) -> None:
        """Let the server run on when its last user leaves, and start again whenever it is needed, until `stop`."""
        self.layout.keep_marker.touch()

    def other_users(self) -> tuple[int, ...]:
        """Return the pids of the other processes that use the server, as far as the system tells."""
        return tuple(pid for pid in holders(path=self.layout.users_lock) if pid != os.getpid())

    def status(self) -> ServerStatus:
        """Describe the server without starting it."""
        postmaster = read_postmaster(cluster=self.layout.cluster)
        if postmaster is None or not postmaster.is_alive():
            postmaster = None
        version, database_bytes, sessions = "", 0, 0
        with contextlib.suppress(psycopg.OperationalError, FileNotFoundError), self._connect() as connection:
            row = connection.execute(STATUS_QUERY).fetchone()
            assert row is not None, "an aggregate query always answers with a row"
            version, database_bytes, sessions = row
        kept = self.layout.keep_marker.exists()
        return ServerStatus(postmaster, version, database_bytes, sessions, self.other_users(), kept)

    def _begin_as_forked_child(self) -> None:
        """Give a forked child a guard of its own (another thread of the parent may have held the old one), and an end.

        It shares its parent's share. Called twice in children of multiprocessing, which forget what was arranged first.
        """
        self._guard = threading.RLock()
        if self._users_lock is not None:
            self._arrange_to_leave()

    def _arrange_to_leave(self) -> None:
        """Leave at the end of this process; `atexit` is too early for parents, and is not called in forked workers."""
        processes.Finalize(None, self._leave_at_exit, exitpriority=AFTER_THE_CHILDREN)

    def _make_home(self) -> None:
        """Make the folders above the cluster; those that exist keep their modes."""
        try:
            self.layout.home.mkdir(parents=True, exist_ok=True)
            # Without write access here nothing that follows can work.
            if not os.access(self.layout.home, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self.layout.home))
        except OSError as error:
            raise self._not_ours(error) from error

    def _not_ours(self, error: OSError) -> EmbeddedDatabaseError:
        """Return the error for a data folder that another user made, or that cannot be made."""
        return EmbeddedDatabaseError(
            f"The data folder cannot be used by this user (uid {os.geteuid()}): {error}.\n"
            "Set BILLING_DATA_DIR to a folder of your own, or run as the user who made this one."
        )

    def _take_share(self) -> None:
        """Hold users.lock shared (once), and arrange that leaving happens at the end of this process."""
        path = self.layout.users_lock
        if self._users_lock is not None and path.exists() and os.path.samestat(os.fstat(self._users_lock), path.stat()):
            return
        if self._users_lock is not None:
            os.close(self._users_lock)  # The data folder was removed and made anew under us.
        self._users_lock = hold_shared(path=path)
        self._arrange_to_leave()

    def _give_share_back(self) -> None:
        """Close our copy of the share; forked children that have one keep the server running."""
        assert self._users_lock is not None, "only a user can leave"
        os.close(self._users_lock)
        self._users_lock = None

    def _leave_at_exit(self) -> None:
        """Leave without a traceback: the data folder may have been removed, or never been ours to use."""
        with contextlib.suppress(FileNotFoundError, PermissionError):
            self.leave()

    def _start_unless_it_answers(self) -> None:
        """Return when the server answers; wait for one that is starting, recovering or ending, replace a dead one."""
        for _attempt in range(ANSWER_ATTEMPTS):
            if self._answers():
                return
            postmaster = read_postmaster(cluster=self.layout.cluster)
            if postmaster is None or not postmaster.is_alive():
                start_server(layout=self.layout)
                continue
            time.sleep(SECONDS_BETWEEN_ATTEMPTS)
        raise EmbeddedDatabaseError(
            f"The embedded PostgreSQL runs but does not answer; see its log, {self.layout.log}.\n"
            "`manage.py database stop --force` ends it; the next command starts it again."
        )

    def _answers(self) -> bool:
        """Tell whether the server accepts connections; one that has none left to give does answer."""
        try:
            self._connect().close()
        except FileNotFoundError:
            return False
        except psycopg.OperationalError as error:
            return "too many clients" in str(error) or "connection slots" in str(error)
        return True

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """Connect to the maintenance database of the server, which is not started for it."""
        return psycopg.connect(
            host=str(self.layout.socket_directory()),
            port=PORT,
            dbname=MAINTENANCE_DATABASE,
            user=EMBEDDED_USER,
            connect_timeout=PROBE_TIMEOUT_SECONDS,
            autocommit=True,
        )

    def _create_database_if_missing(self) -> None:
        """Create the product's database: part of the first start, also of one that was interrupted just before this."""
        with self._connect() as connection:
            query = "select 1 from pg_database where datname = %s"
            if connection.execute(query, [EMBEDDED_DATABASE]).fetchone() is None:
                connection.execute(f'create database "{EMBEDDED_DATABASE}"')

    def _stop(self) -> bool:
        """Stop the server if it runs and tell whether it did; start.lock is held."""
        postmaster = read_postmaster(cluster=self.layout.cluster)
        if postmaster is None or not postmaster.is_alive():
            return False
        if not postmaster.stop(attempts=STOP_ATTEMPTS):
            raise EmbeddedDatabaseError(f"The embedded PostgreSQL (pid {postmaster.pid}) does not stop.")
        return True


_servers: dict[Path, EmbeddedServer] = {}
_servers_guard = threading.Lock()


def embedded_server(*, data_dir: Path) -> EmbeddedServer:
    """Return this process's one view of the server of a data folder."""
    with _servers_guard:
        if data_dir not in _servers:
            _servers[data_dir] = EmbeddedServer(data_dir=data_dir)
        return _servers[data_dir]
