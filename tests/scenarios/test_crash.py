"""kill -9 at random: a few rounds of tests/scenarios/crash.py."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# CI plays more of them.
ROUNDS = int(os.environ.get("CRASH_ROUNDS", "2"))
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_is_lost_or_doubled_when_processes_are_killed_while_billing() -> None:
    played = subprocess.run(
        [sys.executable, "-m", "tests.scenarios.crash", "--rounds", str(ROUNDS), "--seed", "3"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"},
        capture_output=True,
        text=True,
        timeout=580,
    )

    assert played.returncode == 0, played.stdout[-3000:] + played.stderr[-3000:]
    assert f"{30 * ROUNDS} invoices: each once, numbered without gap, paid, verified" in played.stdout
