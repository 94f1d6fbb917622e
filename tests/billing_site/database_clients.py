"""Processes that use an embedded PostgreSQL of their own through the real backend, for the tests of its life cycle."""

import ast
import ctypes
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import django

from billing_site.database.layout import Layout
from billing_site.database.postmaster import Postmaster, read_postmaster

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 60
PR_SET_CHILD_SUBREAPER = 36


class Client:
    """A process that runs one SQL statement a line, as a web worker does: reconnecting where its connection broke."""

    def __init__(self, *, data_dir: Path, role: str = "plain") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.billing_site.database_clients", str(data_dir), role],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def send(self, statement: str) -> None:
        """Hand over a statement without waiting for its answer."""
        assert self.process.stdin
        self.process.stdin.write(statement + "\n")
        self.process.stdin.flush()

    def answer(self) -> object:
        """Wait for the answer to the oldest statement: rows, or the name of an error."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, "the client ended without an answer"
        return ast.literal_eval(line)

    def ask(self, statement: str) -> object:
        """Run a statement and return its rows."""
        self.send(statement)
        return self.answer()

    def end(self) -> int:
        """Let the process end by itself and return its exit status."""
        assert self.process.stdin
        self.process.stdin.close()
        return self.process.wait(timeout=PATIENCE_SECONDS)

    def kill(self) -> None:
        """End the process as the kernel's out-of-memory killer would."""
        self.process.kill()
        self.process.wait(timeout=PATIENCE_SECONDS)


def running_postmaster(*, data_dir: Path) -> Postmaster | None:
    """Return the server of a data folder if it lives."""
    postmaster = read_postmaster(cluster=Layout(data_dir=data_dir.resolve()).cluster)
    return postmaster if postmaster is not None and postmaster.is_alive() else None


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for something that other processes bring about."""
    for _attempt in range(PATIENCE_SECONDS * 50):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("what was waited for did not happen")


def main(data_dir: str, role: str) -> None:
    """Answer statements until the input ends; in the role of a plain process, or of one that forks before.

    forked: the parent uses the server, forks with os.fork and leaves first; the child answers.
    cluster: the parent uses the server, a multiprocessing child answers, the parent waits for it while it exits.
    worker: only a forked multiprocessing child uses the server.
    careless: the server becomes a child of this process, which never reaps it (like process 1 in many containers).
    """
    from django.conf import settings

    from billing_site.database.settings import database_settings

    settings.configure(DATABASES={"default": database_settings(database_url="", data_dir=Path(data_dir))}, USE_TZ=True)
    django.setup()
    from django.db import connection

    if role == "careless":
        assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    if role in ("forked", "cluster"):
        connection.ensure_connection()
        connection.close()
    if role == "forked" and os.fork():
        sys.exit(0)
    if role in ("cluster", "worker"):
        child = multiprocessing.get_context("fork").Process(target=answer_statements, args=(os.dup(0),))
        child.start()
        sys.exit(0)
    answer_statements(0)


def answer_statements(source: int) -> None:
    """Run what comes in, line by line, and print its rows."""
    from django.db import DatabaseError, connection

    for statement in os.fdopen(source):
        connection.close_if_unusable_or_obsolete()
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                answer: object = [tuple(map(str, row)) for row in cursor.fetchall()] if cursor.description else []
        except DatabaseError as error:
            answer = type(error).__name__
        sys.stdout.write(repr(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
