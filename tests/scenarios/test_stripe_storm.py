"""A small storm over the rail to Stripe; the large one: python -m tests.scenarios.stripe_storm --invoices 5000."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# In full: STRIPE_STORM_INVOICES=5000.
INVOICES = int(os.environ.get("STRIPE_STORM_INVOICES", "10"))
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_through_failures_lost_news_and_killed_workers_each_invoice_arrives_once() -> None:
    played = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.scenarios.stripe_storm",
            "--invoices",
            str(INVOICES),
            "--seed",
            "3",
            "--kills",
            "1",
        ],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"},
        capture_output=True,
        text=True,
        timeout=880,
    )

    assert played.returncode == 0, played.stdout[-3000:] + played.stderr[-3000:]
    assert f"{INVOICES} invoices (seed 3)" in played.stdout
    assert "each once, paid once, nobody suspended, verified" in played.stdout
