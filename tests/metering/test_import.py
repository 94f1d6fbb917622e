"""Files are imported once, whole and in constant memory; what is refused is set aside with the reason."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from metering.core.mapping import read_mapping
from metering.importing import ImportProgress, RejectedRows, import_rows
from metering.models import UsageEvent
from metering.reading import RowFile
from tests.factories import JULY

pytestmark = pytest.mark.django_db

HEADER = "event_id,idempotency_key,event_type,timestamp,customer_id,quantity"
COMPLETE = "--map event_type==t --map customer_id==c --map timestamp=at --map quantity=n"

Import = Callable[..., str]


@pytest.fixture
def imported(capsys: pytest.CaptureFixture[str]) -> Import:
    """Import a file and return what the command says on its standard output."""

    def run(path: Path, rules: str = "", *, exit_code: int = 0) -> str:
        try:
            call_command("import_events", str(path), *rules.split())
            code = 0
        except SystemExit as exit_:
            code = int(str(exit_.code))
        assert code == exit_code
        return capsys.readouterr().out

    return run


def rejections(path: Path) -> list[tuple[int, str, str]]:
    lines = Path(f"{path}.rejected.ndjson").read_text().splitlines()
    return [(row["row"], row["field"], row["code"]) for row in map(json.loads, lines)]


@pytest.mark.contract
def test_the_azure_trace_is_accepted_once_per_meter_whole(shared: Path, imported: Import) -> None:
    trace = shared / "data" / "azure_llm_inference_2023_code.csv.gz"
    common = "--map timestamp=TIMESTAMP --map customer_id==cust_azure"
    input_tokens = f"{common} --map quantity=ContextTokens --map event_type==llm.input_tokens"
    output_tokens = f"{common} --map quantity=GeneratedTokens --map event_type==llm.output_tokens"

    assert imported(trace, input_tokens) == "accepted 8819, duplicates 0, rejected 0\n"
    assert imported(trace, input_tokens) == "accepted 0, duplicates 8819, rejected 0\n"
    assert imported(trace, output_tokens) == "accepted 8819, duplicates 0, rejected 0\n"

    with gzip.open(trace, "rt") as lines:
        rows = [line.split(",") for line in lines.read().splitlines()[1:]]
    stored = UsageEvent.objects.filter(event_type="llm.input_tokens")
    assert sum(event.quantity for event in stored) == sum(int(row[1]) for row in rows)
    # Seven digits of a second are cut to six.
    assert min(event.timestamp for event in stored).isoformat() == f"{rows[0][0].replace(' ', 'T')[:26]}+00:00"


def test_csv_with_the_names_of_the_fields_needs_no_mapping(tmp_path: Path, imported: Import) -> None:
    path = tmp_path / "usage.csv"
    path.write_text(
        f"\ufeff{HEADER},properties.region,properties,note\r\n"
        'e1,k1,t,2026-07-01T00:00:00Z,c, 1.5 ,eu,"{""a"": 1.10}",ignored\r\n'
        "\r\n"
        "e2,k2,t,2026-07-01T00:00:00Z,c,2,,,\r\n"
    )

    assert imported(path) == "accepted 2, duplicates 0, rejected 0\n"

    first, second = UsageEvent.objects.order_by("event_id")
    assert (first.quantity, first.properties["region"]) == (Decimal("1.5"), "eu")
    assert (second.quantity, second.properties) == (2, {})


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("events.ndjson", '{"at":"2026-07-01T00:00:00Z","n":1}\n\n{"at":"2026-07-01T00:00:00Z","n":"2.5"}'),
        ("events.jsonl", '{"at":"2026-07-01T00:00:00Z","n":1}\r\n{"at":"2026-07-01T00:00:00Z","n":"2.5"}\r\n'),
        ("events.json", ' [ {"at":"2026-07-01T00:00:00Z","n":1} ,\n{"at":"2026-07-01T00:00:00Z","n":"2.5"} ] \n'),
        ("events.csv", "at,n\n2026-07-01T00:00:00Z,1\n2026-07-01T00:00:00Z,2.5\n"),
        ("without_suffix", '[{"at":"2026-07-01T00:00:00Z","n":1},{"at":"2026-07-01T00:00:00Z","n":"2.5"}]'),
    ],
)
def test_every_format_gives_the_same_events(
    tmp_path: Path, imported: Import, name: str, text: str, packed: bool
) -> None:
    path = tmp_path / (f"{name}.gz" if packed else name)
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())

    assert imported(path, COMPLETE) == "accepted 2, duplicates 0, rejected 0\n"
    assert imported(path, COMPLETE) == "accepted 0, duplicates 2, rejected 0\n"

    assert sorted(event.quantity for event in UsageEvent.objects.all()) == [1, Decimal("2.5")]


def test_a_file_that_has_grown_adds_only_its_new_rows(tmp_path: Path, imported: Import) -> None:
    path = tmp_path / "usage.csv"
    path.write_text("at,n\n2026-07-01T00:00:00Z,1\n2026-07-01T00:00:00Z,1\n")
    imported(path, COMPLETE)
    with path.open("a") as file:
        file.write("2026-07-01T00:00:00Z,1\n")

    assert imported(path, COMPLETE) == "accepted 1, duplicates 2, rejected 0\n"


def test_refused_rows_are_set_aside_with_number_and_reason(tmp_path: Path, imported: Import) -> None:
    path = tmp_path / "usage.csv"
    path.write_bytes(
        b"at,n,customer_id\n"
        b"2026-07-01T00:00:00Z,1,c\n"
        b'2026-07-01T00:00:00Z,"1,000",c\n'
        b"2026-07-01T00:00:00Z,1\n"
        b"2026-07-01T00:00:00Z,1,\xff\n"
        b"2026-07-01T00:00:00Z,,c\n"
        b"2026-07-01T00:00:00Z,-1,c\n"
        b'2026-07-01T00:00:00Z,1,"c'
    )

    said = imported(path, "--map event_type==t --map timestamp=at --map quantity=n", exit_code=1)

    assert said == "accepted 1, duplicates 0, rejected 6\n"
    assert rejections(path) == [
        (2, "quantity", "not_a_number"),
        (3, "", "malformed"),
        (4, "customer_id", "encoding"),
        (5, "quantity", "required"),
        (6, "quantity", "negative"),
        (7, "", "malformed"),
    ]


def test_a_conflict_is_told_as_a_rejected_row_with_what_was_read(tmp_path: Path, imported: Import) -> None:
    path = tmp_path / "usage.csv"
    rows = [
        "e1,k1,t,2026-07-01T00:00:00Z,c,1",
        "e1,k1,t,2026-07-01T00:00:00Z,c,2.50",
        "e1,k1,t,2026-07-02T00:00:00Z,c,1",
    ]
    path.write_text("\n".join([HEADER, *rows]))

    assert imported(path, exit_code=1) == "accepted 1, duplicates 1, rejected 1\n"

    assert rejections(path) == [(2, "idempotency_key", "conflict")]
    assert json.loads(Path(f"{path}.rejected.ndjson").read_text())["values"]["quantity"] == "2.50"


@pytest.mark.parametrize(
    ("preset", "name", "line"),
    [
        ("access_log", "access.log", '::1 - acme [01/Jul/2026:00:00:00 +0200] "GET / HTTP/1.1" 200 1024'),
        (
            "openmeter",
            "events.ndjson",
            '{"id":"1","source":"s","type":"t","subject":"acme","time":"2026-07-01T00:00:00Z","data":{"value":1024}}',
        ),
    ],
)
def test_a_preset_reads_a_well_known_format_and_a_rule_wins_over_it(
    tmp_path: Path, imported: Import, preset: str, name: str, line: str
) -> None:
    path = tmp_path / name
    path.write_text(f"{line}\n")
    rules = (
        f"--preset {preset} --map event_type==egress --map quantity={'bytes' if name == 'access.log' else 'data.value'}"
    )

    assert imported(path, rules) == "accepted 1, duplicates 0, rejected 0\n"
    assert imported(path, rules) == "accepted 0, duplicates 1, rejected 0\n"

    event = UsageEvent.objects.get()
    assert (event.customer_id, event.event_type, event.quantity) == ("acme", "egress", 1024)


def test_a_preset_says_what_stands_in_no_line_of_its_format(tmp_path: Path, imported: Import) -> None:
    path = tmp_path / "access.log"
    path.write_text('::1 - acme [01/Jul/2026:00:00:00 +0200] "GET / HTTP/1.1" 200 1\n\nnot a request\n')

    assert imported(path, "--preset access_log", exit_code=1) == "accepted 1, duplicates 0, rejected 1\n"

    assert rejections(path) == [(2, "", "malformed")]


def test_an_object_without_mapping_is_an_event_as_it_stands(tmp_path: Path, imported: Import) -> None:
    path = tmp_path / "events.ndjson"
    event = {"event_type": "t", "timestamp": "2026-07-01T00:00:00Z", "customer_id": "c", "quantity": 1}
    lines = [
        event,
        event | {"surplus": 1},
        event | {"timestamp": "2026-07-01T00:00:00"},
        event | {"event_id": "e", "idempotency_key": ""},
    ]
    path.write_text("\n".join(json.dumps(line) for line in lines))

    assert imported(path, exit_code=1) == "accepted 1, duplicates 0, rejected 3\n"

    assert rejections(path) == [
        (2, "surplus", "unknown_field"),
        (3, "timestamp", "naive"),
        (4, "idempotency_key", "required"),
    ]


def test_a_mapping_reaches_into_objects(tmp_path: Path, imported: Import) -> None:
    path = tmp_path / "events.ndjson"
    path.write_text('{"at":"2026-07-01T00:00:00Z","usage":{"tokens":0.1},"meta":{"region":"eu"}}')

    imported(
        path,
        "--map event_type==t --map customer_id==c --map timestamp=at --map quantity=usage.tokens"
        " --map properties.region=meta.region",
    )

    stored = UsageEvent.objects.get()
    assert (stored.quantity, stored.properties) == (Decimal("0.1"), {"region": "eu"})
    assert stored.event_id == stored.idempotency_key
    assert stored.idempotency_key.startswith("row-1-")


@pytest.mark.parametrize(
    ("local", "utc"),
    [
        ("2026-07-01 02:00:00", datetime(2026, 7, 1, tzinfo=UTC)),
        ("2026-01-01 01:00:00", datetime(2026, 1, 1, tzinfo=UTC)),
        ("2026-07-01T02:00:00Z", datetime(2026, 7, 1, 2, tzinfo=UTC)),
    ],
)
def test_a_zone_says_what_local_times_mean(tmp_path: Path, imported: Import, local: str, utc: datetime) -> None:
    path = tmp_path / "usage.csv"
    path.write_text(f"at,n\n{local},1\n")

    imported(path, f"{COMPLETE} --timezone Europe/Berlin")

    assert UsageEvent.objects.get().timestamp == utc


@pytest.mark.parametrize("local", ["2026-03-29 02:30:00", "2025-10-26 02:30:00"])
def test_a_local_time_that_is_skipped_or_happens_twice_is_refused(tmp_path: Path, imported: Import, local: str) -> None:
    path = tmp_path / "usage.csv"
    path.write_text(f"at,n\n{local},1\n")

    imported(path, f"{COMPLETE} --timezone Europe/Berlin", exit_code=1)

    assert rejections(path) == [(1, "timestamp", "ambiguous")]


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("--map quantity=Nope", "columns are at, n"),
        ("--map quantitiy=n", "'quantitiy' is not a field"),
        ("--map quantity", "write FIELD=COLUMN"),
        ("--map quantity=", "name a column"),
        ("--map event_type==", "name a column"),
        ("--map quantity=n --map quantity=at", "mapped twice"),
        ("--map properties.=n", "is not a field"),
        ("--timezone Mars/Olympus", "no such zone"),
        ("--timezone ../etc/passwd", "no such zone"),
    ],
)
def test_a_wrong_mapping_is_told_before_anything_is_imported(tmp_path: Path, rules: str, said: str) -> None:
    path = tmp_path / "usage.csv"
    path.write_text("at,n\n2026-07-01T00:00:00Z,1\n")

    with pytest.raises(CommandError, match=said.replace("'", ".")):
        call_command("import_events", str(path), *rules.split())

    assert not UsageEvent.objects.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        b"a,a\n1,2\n",
        b"[",
        b"[1 2]",
        b'[{"a":1}',
        b"[] surplus",
        b"\x1f\x8b\x08nonsense",
        gzip.compress(b"at,n\n" * 100_000, mtime=0)[:200],
    ],
)
def test_a_file_that_cannot_be_read_is_told_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "usage"
    path.write_bytes(content)

    with pytest.raises(CommandError):
        call_command("import_events", str(path), *COMPLETE.split())


def test_what_stands_before_the_damage_is_imported_and_the_damage_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "".join(f"2026-07-01T00:00:00Z,{number},{os.urandom(20).hex()}\n" for number in range(20_000))
    path = tmp_path / "usage.csv.gz"
    path.write_bytes(gzip.compress(f"at,n,noise\n{rows}".encode())[:-50_000])

    with pytest.raises(CommandError, match=r"after row .*damaged"):
        call_command("import_events", str(path), *COMPLETE.split())

    said = capsys.readouterr().out
    assert UsageEvent.objects.count() > 10_000
    assert said == f"accepted {UsageEvent.objects.count()}, duplicates 0, rejected 0\n"


def test_a_folder_that_is_not_writable_sends_the_rejects_to_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write everywhere, so the obstacle is a folder in the place of the file."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    path = tmp_path / "usage.csv"
    path.write_text("at,n\n2026-07-01T00:00:00Z,x\n")
    (tmp_path / "usage.csv.rejected.ndjson").mkdir()

    with pytest.raises(SystemExit):
        call_command("import_events", str(path), *COMPLETE.split())

    assert (tmp_path / "here" / "usage.csv.rejected.ndjson").is_file()


def test_a_foreign_file_without_a_mapping_is_refused_at_once_with_what_to_map(tmp_path: Path) -> None:
    path = tmp_path / "usage.csv"
    path.write_text("when,account,tokens,quantity\n2026-07-01T00:00:00Z,acme,1,2\n")

    with pytest.raises(CommandError) as refusal:
        call_command("import_events", str(path))

    assert str(refusal.value) == (
        "nothing was imported: no column gives event_type, timestamp, customer_id; columns are when, account, tokens, "
        "quantity. Say which column is meant, or give a constant after ==, for example "
        "--map event_type==llm.tokens --map timestamp=COLUMN --map customer_id=COLUMN"
    )
    assert not UsageEvent.objects.exists()
    assert [file.name for file in tmp_path.iterdir()] == ["usage.csv"]


def test_batches_are_committed_as_they_go(tmp_path: Path) -> None:
    path = tmp_path / "usage.csv"
    path.write_text("at,n\n" + "2026-07-01T00:00:00Z,1\n" * 12_000)
    mapping = read_mapping(rules=["event_type==t", "customer_id==c", "timestamp=at", "quantity=n"], zone=None)
    progress = ImportProgress()

    with RowFile(path) as file:
        steps = [
            (progress.receipt.accepted, UsageEvent.objects.count())
            for _ in import_rows(
                file=file, mapping=mapping, rejected=RejectedRows(path), progress=progress, received_at=JULY
            )
        ]

    assert steps == [(5000, 5000), (10_000, 10_000), (12_000, 12_000)]


@pytest.mark.parametrize("format_", ["csv", "ndjson", "json"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, format_: str) -> None:
    """Sixty megabytes are read row by row within ten megabytes more than an empty file takes."""
    path = tmp_path / f"usage.{format_}"
    with path.open("w") as file:
        rows = 600_000
        if format_ == "csv":
            file.write("a\n" + f"{'x' * 100}\n" * rows)
        else:
            element = json.dumps({"a": "x" * 90})
            separator = "\n" if format_ == "ndjson" else ","
            body = separator.join([element] * rows)
            file.write(body if format_ == "ndjson" else f"[{body}]")
    reader = (
        "import resource, sys; from pathlib import Path; from metering.reading import RowFile\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(sum(1 for _ in RowFile(Path(sys.argv[1])).rows()))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )

    run = subprocess.run(
        [sys.executable, "-c", reader, str(path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
    )

    count, kilobytes = map(int, run.stdout.split())
    assert count == rows
    assert kilobytes < 10_000
