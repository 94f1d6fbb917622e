"""Locks of a worker: held by the session, so that no transaction is open while Stripe is called, and gone with the worker when it is killed.

Behind a connection pooler that is a pooler of sessions, not of transactions.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection


@contextmanager
def only_worker(name: str) -> Iterator[bool]:
    """Hold the advisory lock of this name in this session; False where another worker holds it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [name])
        alone = bool(cursor.fetchone()[0])
    try:
        yield alone
    finally:
        if alone:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [name])
