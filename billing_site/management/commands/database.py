"""`manage.py database start|stop|status`: the embedded PostgreSQL by hand."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS, connections

from billing_site.database.embedded import EmbeddedServer
from billing_site.database.errors import DatabaseInUseError, EmbeddedDatabaseError
from billing_site.database.postgresql.base import DatabaseWrapper
from billing_site.database.postmaster import command_line

EXIT_STOPPED = 3
MEGABYTE = 1_000_000


class Command(BaseCommand):
    """By itself the server starts with the first connection and stops when the last process that used it ends."""

    help = "Start, stop or describe the embedded PostgreSQL (used where DATABASE_URL is not set)."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the three actions."""
        parser.add_argument(
            "action",
            choices=["start", "stop", "status"],
            help="start: leave it running until `stop`; stop: refused while other processes use it;"
            " status: exit status 0 if it runs, 3 if it does not",
        )
        parser.add_argument(
            "--force", action="store_true", help="stop it under its users; their next connection starts it"
        )

    def handle(self, *args: Any, action: str, force: bool, **options: Any) -> None:
        """Do the one action."""
        connection = connections[DEFAULT_DB_ALIAS]
        if not isinstance(connection, DatabaseWrapper):
            raise CommandError(
                "The database is external: DATABASE_URL names it, so there is no embedded PostgreSQL to"
                f" {'describe' if action == 'status' else action}."
            )
        server = connection.embedded_server
        try:
            if action == "start":
                self._start(server)
            elif action == "stop":
                self._stop(server, force=force)
            else:
                self._describe(server)
        except EmbeddedDatabaseError as error:
            raise CommandError(str(error)) from error

    def _start(self, server: EmbeddedServer) -> None:
        """Start the server and mark it to be kept."""
        address = server.join()
        server.keep()
        self.stdout.write(f"The embedded PostgreSQL runs and stays: socket folder {address['host']}")

    def _stop(self, server: EmbeddedServer, *, force: bool) -> None:
        """Stop the server, under its users if that is wanted."""
        try:
            was_running = server.stop_under_its_users() if force else server.stop()
        except DatabaseInUseError as error:
            users = "".join(f"\n  {pid}  {command_line(pid=pid)}" for pid in error.pids)
            raise CommandError(
                f"The embedded PostgreSQL is in use; it stops when the last of its users ends.{users}\n"
                "`manage.py database stop --force` stops it all the same."
            ) from error
        self.stdout.write(
            "The embedded PostgreSQL is stopped." if was_running else "The embedded PostgreSQL did not run."
        )

    def _describe(self, server: EmbeddedServer) -> None:
        """Print what there is to know; end with status 3 if the server does not run."""
        status = server.status()
        self.stdout.write(f"data folder  {server.layout.cluster}")
        self.stdout.write(f"log          {server.layout.log}")
        if status.postmaster is None:
            self.stdout.write("state        stopped")
            sys.exit(EXIT_STOPPED)
        self.stdout.write(f"state        running, pid {status.postmaster.pid}{', kept' if status.kept else ''}")
        self.stdout.write(f"version      {status.version or 'does not answer yet'}")
        self.stdout.write(f"socket       {server.layout.socket_directory()}")
        self.stdout.write(f"size         {status.database_bytes / MEGABYTE:.1f} MB")
        self.stdout.write(f"sessions     {status.sessions}")
        for pid in status.user_pids:
            self.stdout.write(f"used by      {pid}  {command_line(pid=pid)}")
