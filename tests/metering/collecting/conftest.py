"""What the tests of collectors share: commands in processes of their own, on the database of the test."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.db import connection

ROOT = Path(__file__).resolve().parents[3]
Start = Callable[..., subprocess.Popen[str]]


def environment() -> dict[str, str]:
    """Name the test's database to another process."""
    with connection.cursor():
        server: Any = connection.connection.info
    url = f"postgresql://{server.user}:{quote(server.password)}@{quote(server.host, safe='')}:{server.port}"
    return {**os.environ, "DATABASE_URL": f"{url}/{server.dbname}", "SECRET_KEY": "x" * 50, "PYTHONPATH": str(ROOT)}


@pytest.fixture
def start() -> Iterator[Start]:
    """Start Python with these arguments; what is still running at the end is ended."""
    processes: list[subprocess.Popen[str]] = []

    def begin(*arguments: str) -> subprocess.Popen[str]:
        processes.append(
            subprocess.Popen(
                [sys.executable, "-W", "ignore", *arguments],
                cwd=ROOT,
                env=environment(),
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        )
        return processes[-1]

    yield begin
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=30)


@pytest.fixture
def manage(start: Start) -> Start:
    """Start `manage.py` with these arguments."""
    return lambda *arguments: start("manage.py", *arguments)
