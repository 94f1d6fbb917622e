"""Every benchmark of metering and rating runs, at a size that measures nothing: what they print is for people, not for tests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TINY = {
    "bench_ingest": "--events 1000 --floor-rows 1000 --repeats 1 --stored 2000",
    "bench_import": "--rows 1000",
    "bench_rollup": "--events 1000 --step 200 --steps 2",
    "bench_freshness": "--rate 500 --seconds 2 --size 50 --idle 0.5",
    "bench_access": "--customers 20 --requests 3",
    "bench_figures": "--cases 20 --repeats 1",
    "bench_rating": "--rows 50",
    "bench_preview": "--customers 30",
    "bench_usage": "--stored 2000 --requests 3",
    "bench_verify": "--invoices 40",
    "bench_issue": "--invoices 20",
    "bench_webhook": "--rate 50 --seconds 0.4 --inserts 20",
    "bench_roots": "--events 2000 --invoices 30",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One data folder for almost all of them: making tables takes longer than measuring nothing."""
    return tmp_path_factory.mktemp("bench")


def run(benchmark: str, folder: Path, arguments: str) -> subprocess.CompletedProcess[str]:
    # These look at all customers there are, and must find only their own.
    own = (
        folder / benchmark if benchmark in ("bench_preview", "bench_verify", "bench_issue", "bench_figures") else folder
    )
    environment = {**os.environ, "BENCH_DATA_DIR": str(own)}
    command = [sys.executable, "-m", f"tests.bench.{benchmark}", *arguments.split()]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.parametrize("benchmark", TINY)
def test_a_benchmark_runs_to_its_end_and_prints_its_floor(benchmark: str, folder: Path) -> None:
    ended = run(benchmark, folder, TINY[benchmark])

    assert ended.returncode == 0, ended.stderr[-3000:]
    assert ("floor" if benchmark != "bench_freshness" else "at the next request: 2 of 2") in ended.stdout


def test_a_benchmark_that_takes_too_long_stops_by_itself(folder: Path) -> None:
    ended = run("bench_rollup", folder, "--events 1000 --minutes 0.0001")

    assert (ended.returncode, ended.stderr) == (1, "stopped after 0.0001 minutes\n")
