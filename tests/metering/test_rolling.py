"""The rollup that goes on: what is accepted is in its windows soon, whatever fails in between."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from django.core.management import call_command
from django.db import connection, transaction

from metering.models import INGEST_LOCK, Meter, UsageWindow
from metering.queries import backlog
from metering.rolling import is_behind, keep_rolling, pause_seconds
from metering.rollup import roll_up
from tests.factories import JULY, use
from tests.metering.conftest import Crowd
from tests.metering.test_rollup import a_meter

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.django_db
def test_whoever_looks_knows_whether_there_is_something_to_do() -> None:
    a_meter()
    roll_up()
    before = is_behind()
    use("cust_a", "1", at=JULY)
    between = is_behind()

    roll_up()

    assert (before, between, is_behind()) == (False, True, False)


@pytest.mark.django_db
def test_without_a_meter_events_wait_until_they_are_listed() -> None:
    use("cust_a", "1", at=JULY)
    assert backlog().events == 1

    roll_up()

    assert not is_behind()
    assert backlog().events == 0


@pytest.mark.django_db(transaction=True)
def test_events_come_into_their_windows_by_themselves_and_two_that_roll_count_once(crowd: Crowd) -> None:
    a_meter()
    stopped = threading.Event()
    rolling = [crowd.begin(lambda: keep_rolling(stopped=stopped, interval_seconds=0.02)) for _ in range(2)]

    for hour in range(20):
        use("cust_a", "1", at=JULY.replace(hour=hour))
        time.sleep(0.01)
    until = time.monotonic() + 30
    while UsageWindow.objects.count() < 20 and time.monotonic() < until:
        time.sleep(0.02)
    stopped.set()

    assert sum(one.result(30) for one in rolling) == 20
    assert [window.event_count for window in UsageWindow.objects.all()] == [1] * 20


@pytest.mark.django_db(transaction=True)
def test_a_rollup_whose_connection_is_cut_goes_on(crowd: Crowd) -> None:
    a_meter()
    stopped = threading.Event()
    rolling = crowd.begin(lambda: keep_rolling(stopped=stopped, interval_seconds=0.02))
    time.sleep(0.2)

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    use("cust_a", "1", at=JULY)
    until = time.monotonic() + 30
    while not UsageWindow.objects.exists() and time.monotonic() < until:
        time.sleep(0.02)
    stopped.set()

    assert rolling.result(30) == 1


@pytest.mark.django_db
def test_the_command_rolls_up_once(capsys: pytest.CaptureFixture[str]) -> None:
    a_meter()
    use("cust_a", "1", at=JULY)

    call_command("roll_up")

    assert capsys.readouterr().out.startswith("1 event in 1 window, up to event ")
    assert Meter.objects.get().rolled_up_to > 0


@pytest.mark.django_db(transaction=True)
def test_an_error_that_nobody_foresaw_is_logged_and_the_rollup_goes_on(
    crowd: Crowd, caplog: pytest.LogCaptureFixture
) -> None:
    a_meter()
    use("cust_a", "1", at=JULY)
    stopped = threading.Event()
    until = time.monotonic() + 30
    with connection.cursor() as cursor:
        # Stands for any bug: the row that every rollup reads has no number.
        cursor.execute("ALTER TABLE metering_rollupprogress ALTER listed_up_to DROP NOT NULL")
        try:
            cursor.execute("INSERT INTO metering_rollupprogress (id, listed_up_to) VALUES (1, NULL)")
            rolling = crowd.begin(lambda: keep_rolling(stopped=stopped, interval_seconds=0.02))
            while "not foreseen" not in caplog.text and time.monotonic() < until:
                time.sleep(0.02)
        finally:
            cursor.execute("UPDATE metering_rollupprogress SET listed_up_to = 0")
            cursor.execute("ALTER TABLE metering_rollupprogress ALTER listed_up_to SET NOT NULL")

    while is_behind() and time.monotonic() < until:
        time.sleep(0.02)
    stopped.set()

    assert "The rollup goes on later, although this was not foreseen" in caplog.text
    assert rolling.result(30) == 1
    assert backlog().events == 0


@pytest.mark.parametrize(
    ("interval", "failures", "pause"),
    [(0.5, 0, 0.5), (0.5, 1, 1.0), (0.5, 4, 8.0), (0.5, 5, 15.0), (0.5, 5000, 15.0), (60.0, 0, 60.0), (60.0, 3, 60.0)],
)
def test_after_failures_the_pause_doubles_up_to_a_bound(interval: float, failures: int, pause: float) -> None:
    assert pause_seconds(interval_seconds=interval, failures=failures) == pause


def test_the_watching_command_ends_at_once_when_it_is_asked_to(tmp_path: Path) -> None:
    environment = {**os.environ, "BILLING_DATA_DIR": str(tmp_path / "data")}
    environment.pop("DATABASE_URL", None)
    watching = subprocess.Popen(
        [sys.executable, str(ROOT / "manage.py"), "roll_up", "--watch"], env=environment, stderr=subprocess.PIPE
    )
    # Without tables it goes on looking, later and later; that it says so tells that it runs.
    assert watching.stderr is not None
    assert b"goes on later" in watching.stderr.readline()
    began = time.monotonic()

    watching.send_signal(signal.SIGTERM)

    assert watching.wait(30) == 0
    assert time.monotonic() - began < 10


@pytest.mark.django_db(transaction=True)
def test_the_watching_command_ends_at_once_in_the_middle_of_a_rollup() -> None:
    a_meter()
    use("cust_a", "1", at=JULY)
    where = connection.get_connection_params()
    host, user, password = (quote(str(where.get(name) or ""), safe="") for name in ("host", "user", "password"))
    address = f"postgresql://{user}:{password}@{host}:{where.get('port', '')}/{where['dbname']}"

    with transaction.atomic(), connection.cursor() as cursor:
        # An insert that stays open: the rollup waits for it, up to a minute.
        cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", [INGEST_LOCK])
        watching = subprocess.Popen(
            [sys.executable, str(ROOT / "manage.py"), "roll_up", "--watch"], env={**os.environ, "DATABASE_URL": address}
        )
        until = time.monotonic() + 30
        waits = False
        while not waits and time.monotonic() < until:
            time.sleep(0.02)
            cursor.execute(
                "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid() AND query LIKE '%virtualtransaction FROM pg_locks%')"
            )
            waits = cursor.fetchone()[0]
            cursor.execute("SELECT pg_stat_clear_snapshot()")
        began = time.monotonic()
        watching.send_signal(signal.SIGTERM)
        status = watching.wait(30)
        seconds = time.monotonic() - began

    assert (waits, status) == (True, 0)
    assert seconds < 5
    assert not UsageWindow.objects.exists()
