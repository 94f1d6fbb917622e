"""Whatever happens to usage in whatever order, under kill -9: a run of tests/metering/state/machine.py."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
# Nightly: STATE_EXAMPLES=2000 (about half an hour). A seed makes the draws the same again, not the moments of kills.
EXAMPLES = os.environ.get("STATE_EXAMPLES", "100")
SEED = os.environ.get("STATE_SEED", "")
TIMEOUT_SECONDS = 300 + 4 * int(EXAMPLES)


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_SECONDS + 20)
@pytest.mark.requirement("S0-110")
@pytest.mark.requirement("S0-111")
def test_each_accepted_event_counts_exactly_once_whatever_happens_and_whoever_is_killed() -> None:
    seed = ["--seed", SEED] if SEED else []
    played = subprocess.run(
        [sys.executable, "-m", "tests.metering.state.machine", "--examples", EXAMPLES, *seed],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )

    assert played.returncode == 0, played.stdout[-3000:] + played.stderr[-6000:]
    assert "all is well" in played.stdout
