"""Closed days become files that are whole, exact and the same every time; what is not closed stays."""

import gzip
import hashlib
import json
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import File
from django.core.files.storage import InMemoryStorage, storages
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction

from metering.archiving.export import archive_closed_days
from metering.archiving.files import ArchiveDiffers, packed_day
from metering.archiving.folder import ArchiveFolder
from metering.models import EventArchive
from metering.tasks import REGULAR_JOBS, archive_days
from tests.factories import use
from tests.metering.archiving.past import PastEvent, accepted_long_ago, an_hour_of, months_ago
from tests.metering.conftest import Crowd

MONTH = months_ago(3)
ODD = {"tab": "a\tb", "line": "a\nb", "quote": '"', "back": "\\", "nul": "\\u0000", "umlaut": "ä€𝄞", "del": "\x7f"}


def events_of_two_days() -> list[PastEvent]:
    return [
        PastEvent("one", an_hour_of(MONTH), quantity="1.5", properties={"region": "eu"}),
        PastEvent("two", an_hour_of(MONTH, hour=11), at=an_hour_of(MONTH) - timedelta(days=40)),
        PastEvent("three", an_hour_of(MONTH, day=9), quantity="7"),
    ]


@pytest.mark.django_db
def test_each_closed_day_with_events_becomes_one_file_with_its_digests(archive_folder: Path) -> None:
    accepted_long_ago(events_of_two_days())

    report = archive_closed_days()

    first, second = report.archived
    assert (first.event_count, second.event_count, report.days_left) == (2, 1, 0)
    assert (first.first_at, first.last_at) == (an_hour_of(MONTH) - timedelta(days=40), an_hour_of(MONTH))
    assert first.last_number < second.first_number
    packed = (archive_folder / first.file_name).read_bytes()
    lines = gzip.decompress(packed)
    assert hashlib.sha256(packed).hexdigest() == first.file_digest
    assert hashlib.sha256(lines).hexdigest() == first.content_digest
    assert len(packed) == first.size_bytes
    assert [json.loads(line)["event_id"] for line in lines.splitlines()] == ["one", "two"]
    assert (archive_folder / first.file_name).stat().st_mode & 0o077 == 0


@pytest.mark.django_db
def test_a_file_is_the_same_bytes_whenever_it_is_written() -> None:
    accepted_long_ago(events_of_two_days())
    day = an_hour_of(MONTH).date()

    with packed_day(day=day) as (file, contents):
        once = file.read()
    with packed_day(day=day) as (file, again):
        twice = file.read()

    assert (once, contents) == (twice, again)
    assert once[4:8] == b"\0\0\0\0", "the header tells no time"


@pytest.mark.django_db
def test_every_character_and_every_digit_is_kept(archive_folder: Path) -> None:
    numbers = '{"long": 12345678901234567890.123456789012345678901234567890, "zeros": 1.10, "big": 1e40, "none": null}'
    accepted_long_ago(
        [
            PastEvent("\\", an_hour_of(MONTH), quantity="0.000000000001", properties=ODD, namespace_id='n"\\n'),
            PastEvent("k\tn", an_hour_of(MONTH), quantity="99999999999999999999999999", properties=numbers),
        ]
    )

    (row,) = archive_closed_days().archived

    lines = gzip.decompress((archive_folder / row.file_name).read_bytes()).decode().splitlines()
    first, second = (json.loads(line) for line in lines)
    assert (first["properties"], first["quantity"], first["namespace_id"]) == (ODD, "0.000000000001", 'n"\\n')
    assert (first["idempotency_key"], second["idempotency_key"]) == ("\\", "k\tn")
    assert second["quantity"] == "99999999999999999999999999"
    assert '"zeros": 1.10' in lines[1] and "12345678901234567890.123456789012345678901234567890" in lines[1]


@pytest.mark.django_db
def test_archiving_again_makes_nothing_new(archive_folder: Path) -> None:
    accepted_long_ago(events_of_two_days())
    archive_closed_days()
    before = {path: path.stat().st_mtime_ns for path in archive_folder.rglob("*.gz")}

    report = archive_closed_days()

    assert (report.archived, report.days_left) == ((), 0)
    assert {path: path.stat().st_mtime_ns for path in archive_folder.rglob("*.gz")} == before
    assert len(before) == 2


@pytest.mark.django_db
def test_what_was_accepted_today_is_not_archived() -> None:
    use("cust_a", "1", at=MONTH)

    assert archive_closed_days().archived == ()


@pytest.mark.django_db(transaction=True)
def test_a_day_is_not_closed_while_an_insert_is_open(crowd: Crowd) -> None:
    inserted, may_end = threading.Event(), threading.Event()

    def insert_slowly() -> None:
        with transaction.atomic():
            use("cust_a", "1", at=MONTH)
            inserted.set()
            may_end.wait(30)

    insert = crowd.begin(insert_slowly)
    assert inserted.wait(30)
    archiving = crowd.begin(archive_closed_days)
    with pytest.raises(TimeoutError):
        archiving.result(timeout=0.5)
    may_end.set()

    insert.result(timeout=30)
    assert archiving.result(timeout=30).archived == ()


@pytest.mark.django_db
@pytest.mark.parametrize("rest", ["half", "the whole"])
def test_a_file_that_a_crash_left_is_taken_where_it_is_right_and_replaced_where_not(
    archive_folder: Path, rest: str
) -> None:
    accepted_long_ago(events_of_two_days()[:1])
    day = an_hour_of(MONTH).date()
    with packed_day(day=day) as (file, _):
        whole = file.read()
    left = archive_folder / f"{day:%Y/%m}" / f"usage-events-{day}.ndjson.gz"
    left.parent.mkdir(parents=True)
    left.write_bytes(whole if rest == "the whole" else whole[: len(whole) // 2])

    (row,) = archive_closed_days().archived

    assert left.read_bytes() == whole
    assert row.file_digest == hashlib.sha256(whole).hexdigest()


class BreaksWhileWriting(ArchiveFolder):
    def _save(self, name: str, content: File[Any]) -> str:
        class Broken(File[Any]):
            def chunks(self, chunk_size: int | None = None) -> Any:
                yield b"half"
                raise OSError("the disk is full")

        return super()._save(name, Broken(content.file))


class ForgetsTheEnd(ArchiveFolder):
    def _save(self, name: str, content: File[Any]) -> str:
        saved = super()._save(name, content)
        path = Path(self.path(saved))
        path.write_bytes(path.read_bytes()[:-1])
        return saved


def kept_by(settings: Any, storage: type, **options: Any) -> None:
    backend = {"BACKEND": f"{storage.__module__}.{storage.__name__}", "OPTIONS": options}
    settings.STORAGES = {**settings.STORAGES, "archive": backend}


@pytest.mark.django_db
def test_a_crash_while_writing_leaves_neither_row_nor_half_a_file(settings: Any, archive_folder: Path) -> None:
    accepted_long_ago(events_of_two_days()[:1])
    kept_by(settings, BreaksWhileWriting, location=str(archive_folder))

    with pytest.raises(OSError, match="the disk is full"):
        archive_closed_days()

    assert not EventArchive.objects.exists()
    assert [path.name for path in archive_folder.rglob("*.gz")] == []
    kept_by(settings, ArchiveFolder, location=str(archive_folder))
    assert len(archive_closed_days().archived) == 1
    assert [path.name[0] for path in archive_folder.rglob("*") if path.is_file()] == ["u"], "nothing unfinished stays"


@pytest.mark.django_db
def test_what_reads_back_otherwise_is_not_recorded(settings: Any, archive_folder: Path) -> None:
    accepted_long_ago(events_of_two_days()[:1])
    kept_by(settings, ForgetsTheEnd, location=str(archive_folder))

    with pytest.raises(ArchiveDiffers, match="reads back otherwise"):
        archive_closed_days()

    assert not EventArchive.objects.exists()


@pytest.mark.django_db
def test_any_storage_of_django_will_do(settings: Any) -> None:
    accepted_long_ago(events_of_two_days())
    kept_by(settings, InMemoryStorage)

    report = archive_closed_days()

    assert len(report.archived) == 2
    assert storages["archive"].exists(report.archived[0].file_name)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "attack",
    [
        "UPDATE metering_eventarchive SET file_digest = repeat('0', 64)",
        "UPDATE metering_eventarchive SET event_count = event_count + 1",
        "UPDATE metering_eventarchive SET day = day - 1",
        "UPDATE metering_eventarchive SET restored_at = now()",
        "DELETE FROM metering_eventarchive",
        "TRUNCATE metering_eventarchive",
    ],
)
def test_the_record_of_an_archive_cannot_be_changed(attack: str) -> None:
    accepted_long_ago(events_of_two_days())
    archive_closed_days()

    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(attack)


@pytest.mark.django_db
def test_the_command_tells_each_day_and_the_job_goes_on_until_all_are_done(capsys: Any) -> None:
    accepted_long_ago(
        [PastEvent(f"k{day}", an_hour_of(MONTH, day=day)) for day in (1, 2)]
        + [PastEvent("later", an_hour_of(months_ago(2)))]
    )

    call_command("archive_events", "--days", "1")
    assert "1 days archived, 2 left" in capsys.readouterr().out
    assert archive_days() == "1 days with 1 events archived, 1 left"
    assert archive_days() == "1 days with 1 events archived, 0 left"
    assert "metering.tasks.archive_days" in [job.task for job in REGULAR_JOBS]
