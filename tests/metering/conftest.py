"""What the tests of metering share: threads with connections of their own."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection


class Crowd:
    """Runs calls at the same time, each in a thread with a database connection of its own."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool

    def begin(self, call: Callable[[], Any]) -> "Future[Any]":
        """Start one call."""

        def run() -> Any:
            try:
                return call()
            finally:
                connection.close()

        return self._pool.submit(run)

    def all(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        """Run the calls at once and return their results in order."""
        return [future.result(timeout=120) for future in [self.begin(call) for call in calls]]


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    with ThreadPoolExecutor(max_workers=12) as pool:
        yield Crowd(pool)
