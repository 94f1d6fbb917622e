"""A folder is watched: every complete file once, every refused row listed, nothing lost by a crash."""

import gzip
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from metering.collecting.models import DeadLetter
from metering.collecting.watching import FILE_LOCK
from metering.models import UsageEvent
from tests.metering.collecting.conftest import Start

RULES = ["--map", "event_type==t", "--map", "customer_id==c", "--map", "timestamp=at", "--map", "quantity=n"]
ONE_ROW = "at,n\n2026-07-01T00:00:00Z,1\n"

Watch = Callable[..., str]


@pytest.fixture
def watch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Watch:
    """Look at the folder once and return what is said."""

    def run(*rules: str, exit_code: int = 0) -> str:
        try:
            call_command("watch_events", str(tmp_path), "--once", "--interval", "0.02", *(rules or RULES))
            code = 0
        except SystemExit as exit_:
            code = int(str(exit_.code))
        assert code == exit_code
        return capsys.readouterr().out

    return run


def letters() -> list[tuple[str, int, str, str]]:
    return list(DeadLetter.objects.order_by("pk").values_list("source", "position", "field", "code"))


@pytest.mark.django_db
def test_a_complete_file_is_imported_and_moved_to_done(tmp_path: Path, watch: Watch) -> None:
    (tmp_path / "usage.csv").write_text(ONE_ROW)

    assert watch() == "usage.csv: accepted 1, duplicates 0, rejected 0; done/usage.csv\n"

    assert (tmp_path / "done" / "usage.csv").read_text() == ONE_ROW
    assert not (tmp_path / "usage.csv").exists()
    assert watch() == ""


@pytest.mark.django_db
def test_a_file_of_the_same_name_and_content_is_duplicates_and_overwrites_nothing(tmp_path: Path, watch: Watch) -> None:
    for _ in range(3):
        (tmp_path / "usage.csv").write_text(ONE_ROW)
        watch()

    assert sorted(path.name for path in (tmp_path / "done").iterdir()) == ["usage-2.csv", "usage-3.csv", "usage.csv"]
    assert UsageEvent.objects.count() == 1


@pytest.mark.django_db
def test_the_same_file_by_command_from_another_folder_is_duplicates(
    tmp_path: Path, watch: Watch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "usage.csv").write_text(ONE_ROW)
    watch()
    (tmp_path / "done" / "renamed.csv").write_text(ONE_ROW)

    call_command("import_events", str(tmp_path / "done" / "renamed.csv"), *RULES)

    assert capsys.readouterr().out == "accepted 0, duplicates 1, rejected 0\n"


@pytest.mark.django_db
@pytest.mark.parametrize("name", [".usage.csv", "usage.csv.tmp", "usage.csv.part", "usage.csv.rejected.ndjson"])
def test_files_that_are_not_finished_or_not_meant_are_left_alone(tmp_path: Path, watch: Watch, name: str) -> None:
    (tmp_path / name).write_text(ONE_ROW)
    (tmp_path / "empty.csv").touch()

    assert watch() == ""
    assert (tmp_path / name).exists() and (tmp_path / "empty.csv").exists()


@pytest.mark.django_db
def test_refused_rows_become_dead_letters_with_their_content(tmp_path: Path, watch: Watch) -> None:
    lines = ["at,n", "2026-07-01T00:00:00Z,1", "2026-07-01T00:00:00Z,much", "2026-07-01T00:00:00Z,1,2"]
    (tmp_path / "usage.csv").write_text("\n".join(lines))

    said = watch(exit_code=1)

    assert said == "usage.csv: accepted 1, duplicates 0, rejected 2; done/usage.csv\n"
    assert letters() == [("usage.csv", 2, "quantity", "not_a_number"), ("usage.csv", 3, "", "malformed")]
    row, text = DeadLetter.objects.order_by("pk")
    assert json.loads(bytes(row.raw)) == {"at": "2026-07-01T00:00:00Z", "n": "much"}
    assert bytes(text.raw) == b"2026-07-01T00:00:00Z,1,2"
    assert (row.rules, row.zone, row.shape, text.shape) == (RULES[1::2], "UTC", "row", "text")


@pytest.mark.django_db
def test_a_refused_row_read_again_is_listed_once(tmp_path: Path, watch: Watch) -> None:
    for _ in range(2):
        (tmp_path / "usage.csv").write_text("at,n\n2026-07-01T00:00:00Z,much\n")
        watch(exit_code=1)

    assert letters() == [("usage.csv", 1, "quantity", "not_a_number")]


@pytest.mark.django_db
@pytest.mark.parametrize("name", [b"f\xff.csv", b"\xff" * 251 + b".csv", "Müller & Söhne.csv".encode()])
def test_any_name_of_a_file_will_do(tmp_path: Path, watch: Watch, name: bytes) -> None:
    path = tmp_path / os.fsdecode(name)
    path.write_text("at,n\n2026-07-01T00:00:00Z,1\n2026-07-01T00:00:00Z,much\n")

    watch(exit_code=1)

    assert (tmp_path / "done" / path.name).exists()
    assert DeadLetter.objects.get().position == 2


@pytest.mark.django_db
def test_a_name_too_long_for_a_second_copy_is_left_where_it_is_and_told_once(tmp_path: Path, watch: Watch) -> None:
    name = f"{'x' * 251}.csv"
    for _ in range(2):
        (tmp_path / name).write_text(ONE_ROW)
        said = watch(exit_code=1 if (tmp_path / "done" / name).exists() else 0)

    assert "it cannot be moved" in said
    assert (tmp_path / name).exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("content", "rows_min"),
    [
        (b"\x1f\x8b\x08nonsense", 0),
        (b"when,what\n1,2\n", 0),
        (
            gzip.compress(b"at,n\n" + b"".join(b"2026-07-01T00:00:00Z,%d\n" % n for n in range(20_000)), mtime=0)[:-9],
            10_000,
        ),
    ],
)
def test_a_file_that_cannot_be_read_to_its_end_goes_to_failed_and_is_listed(
    tmp_path: Path, watch: Watch, content: bytes, rows_min: int
) -> None:
    (tmp_path / "usage.csv").write_bytes(content)

    assert "failed/usage.csv" in watch(exit_code=1)

    assert (tmp_path / "failed" / "usage.csv").read_bytes() == content
    letter = DeadLetter.objects.get()
    assert (letter.source, letter.position, letter.shape) == ("usage.csv", UsageEvent.objects.count(), "file")
    assert UsageEvent.objects.count() >= rows_min


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("preset", "name", "content"),
    [
        (
            "access_log",
            "access.log.gz",
            gzip.compress(b'::1 - acme [01/Jul/2026:00:00:00 +0200] "GET / H" 200 5\n', mtime=0),
        ),
        (
            "cloudevents",
            "batch.json",
            b'[{"specversion":"1.0","id":"1","source":"s","type":"t","subject":"acme","time":"2026-07-01T00:00:00Z"}]',
        ),
        (
            "lago",
            "lago.ndjson",
            b'{"event":{"transaction_id":"1","external_customer_id":"acme","code":"c","timestamp":"1782864000.5"}}',
        ),
    ],
)
def test_presets_read_what_arrives(tmp_path: Path, watch: Watch, preset: str, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)

    assert watch("--preset", preset) == f"{name}: accepted 1, duplicates 0, rejected 0; done/{name}\n"

    assert UsageEvent.objects.get().customer_id == "acme"


@pytest.mark.django_db
def test_a_table_is_not_read_by_a_preset_of_json(tmp_path: Path, watch: Watch) -> None:
    (tmp_path / "usage.csv").write_text(ONE_ROW)

    assert "this is a CSV file" in watch("--preset", "lago", exit_code=1)


def test_a_folder_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="No such file"):
        call_command("watch_events", str(tmp_path / "nowhere"), "--once")


@pytest.mark.django_db(transaction=True)
def test_a_file_that_still_grows_is_not_taken(tmp_path: Path, manage: Start) -> None:
    watcher = manage("watch_events", str(tmp_path), "--interval", "0.3", *RULES)
    with (tmp_path / "usage.csv").open("w") as file:
        for _ in range(20):
            file.write("at,n\n" if not file.tell() else "2026-07-01T00:00:00Z,1\n")
            file.flush()
            time.sleep(0.1)
            assert not UsageEvent.objects.exists()
    await_file(tmp_path / "done" / "usage.csv", watcher)

    assert UsageEvent.objects.count() == 19


@pytest.mark.django_db(transaction=True)
def test_a_file_that_another_watcher_holds_is_left_to_it(tmp_path: Path, manage: Start) -> None:
    (tmp_path / "usage.csv").write_text(ONE_ROW)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s, hashtext('usage.csv'))", [FILE_LOCK])
        other = manage("watch_events", str(tmp_path), "--once", "--interval", "0.1", *RULES)
        said, _ = other.communicate(timeout=60)
        cursor.execute("SELECT pg_advisory_unlock(%s, hashtext('usage.csv'))", [FILE_LOCK])

    assert (other.returncode, said) == (0, "")
    assert (tmp_path / "usage.csv").exists() and not UsageEvent.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_watchers_of_one_folder_take_each_file_once(tmp_path: Path, manage: Start) -> None:
    for number in range(30):
        (tmp_path / f"{number}.csv").write_text(f"at,n,customer_id\n2026-07-01T00:00:00Z,1,c{number}\n")
    rules = ["--map", "event_type==t", "--map", "timestamp=at", "--map", "quantity=n"]

    watchers = [manage("watch_events", str(tmp_path), "--once", "--interval", "0.2", *rules) for _ in range(2)]
    said = [watcher.communicate(timeout=60)[0].splitlines() for watcher in watchers]

    assert sorted(line.split(":")[0] for lines in said for line in lines) == sorted(f"{n}.csv" for n in range(30))
    assert len(list((tmp_path / "done").iterdir())) == 30
    assert UsageEvent.objects.count() == 30


@pytest.mark.django_db(transaction=True)
@pytest.mark.requirement("S4-044")
@pytest.mark.requirement("S4-049")
def test_killed_at_any_moment_and_started_again_each_event_is_accepted_once(tmp_path: Path, manage: Start) -> None:
    rows = 60_000
    body = "".join(f"2026-07-01T00:00:00Z,{'x' if n % 1000 == 7 else n}\n" for n in range(rows))
    staged = tmp_path / "usage.csv.part"
    staged.write_text(f"at,n\n{body}")
    staged.rename(tmp_path / "usage.csv")
    kills = 0

    for delay in (0, 0.15, 0.3, 0.45):
        watcher = manage("watch_events", str(tmp_path), "--interval", "0.1", *RULES)
        seen = UsageEvent.objects.count()
        deadline = time.monotonic() + 60
        while UsageEvent.objects.count() == seen and watcher.poll() is None and time.monotonic() < deadline:
            if not (tmp_path / "usage.csv").exists():
                break
            time.sleep(0.01)
        time.sleep(delay)
        os.kill(watcher.pid, signal.SIGKILL)
        watcher.wait()
        kills += UsageEvent.objects.count() < rows - 60
    last = manage("watch_events", str(tmp_path), "--interval", "0.1", *RULES)
    await_file(tmp_path / "done" / "usage.csv", last)

    assert kills >= 1
    assert UsageEvent.objects.count() == rows - 60
    assert UsageEvent.objects.values("idempotency_key").distinct().count() == rows - 60
    assert DeadLetter.objects.count() == 60
    assert sorted(path.name for path in tmp_path.iterdir()) == ["done", "failed"]


@pytest.mark.django_db(transaction=True)
def test_sigterm_stops_after_the_batch_in_hand_and_leaves_the_file(tmp_path: Path, manage: Start) -> None:
    rows = 100_000
    staged = tmp_path / "usage.csv.part"
    staged.write_text("at,n\n" + "2026-07-01T00:00:00Z,1\n" * rows)
    staged.rename(tmp_path / "usage.csv")
    watcher = manage("watch_events", str(tmp_path), "--interval", "0.1", *RULES)
    while not UsageEvent.objects.exists():
        time.sleep(0.01)

    watcher.send_signal(signal.SIGTERM)
    _, errors = watcher.communicate(timeout=30)

    assert (watcher.returncode, "Traceback" in errors) == (0, False)
    assert UsageEvent.objects.count() % 5_000 == 0
    assert 0 < UsageEvent.objects.count() < rows
    assert (tmp_path / "usage.csv").exists()


def await_file(path: Path, process: subprocess.Popen[str], *, seconds: int = 60) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert path.exists(), process.poll()
