"""Dead letters keep what came, are settled once, and can be read again."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction

from billing_site.kernel.errors import InvalidInput, Malformed, NotFound
from metering.collecting.arguments import mapping_of_words
from metering.collecting.dead_letters import DeadLetterBox, Origin
from metering.collecting.models import Collector, DeadLetter, Shape
from metering.collecting.replay import dismiss_dead_letters, preview_replay, replay_dead_letters
from metering.importing import Found
from metering.models import UsageEvent
from metering.reading import ROW_BYTES_MAX, Row

pytestmark = pytest.mark.django_db

AT = datetime(2026, 8, 3, 9, tzinfo=UTC)
EVENT = {
    "event_id": "e1",
    "idempotency_key": "k1",
    "event_type": "t",
    "timestamp": "2026-07-01T00:00:00Z",
    "customer_id": "cust_acme",
    "quantity": "2",
}


def a_letter(
    content: Any,
    *,
    shape: Shape = Shape.OBJECT,
    collector: Collector = Collector.KAFKA,
    position: int = 7,
    part: int = 0,
    preset: str = "",
    rules: tuple[str, ...] = (),
) -> DeadLetter:
    """List content as a collector would that refused it."""
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    source = "usage.csv" if collector == Collector.FILE else "usage/0"
    mapping = mapping_of_words(preset=preset, rules=rules, zone_name="")
    box = DeadLetterBox(Origin(collector, source, mapping, lambda row: shape))
    box.add(row=Row(position, None), found=Found(part, raw, error=Malformed("cannot be read")))
    box.save()
    return DeadLetter.objects.get(source=source, position=position, part=part)


def replay(*letters: DeadLetter, document: str | None = None) -> list[str]:
    report = replay_dead_letters(
        ids=[letter.pk for letter in letters], at=AT, actor="alice", reason="mended", document=document
    )
    return [verdict.outcome for verdict in report.verdicts]


@pytest.mark.requirement("S4-045")
def test_a_replay_accepts_what_is_an_event_now_once() -> None:
    letter = a_letter(EVENT)

    assert (replay(letter), replay(letter)) == (["accepted"], ["settled"])

    letter.refresh_from_db()
    assert (letter.outcome, letter.settled_by, letter.settlement_reason) == ("accepted", "alice", "mended")
    assert (letter.settled_at, letter.customer_id, letter.idempotency_key) == (AT, "cust_acme", "k1")
    assert UsageEvent.objects.count() == 1


def test_a_replay_of_what_was_accepted_meanwhile_is_a_duplicate_and_settled() -> None:
    first, second = a_letter(EVENT), a_letter(EVENT, position=8)

    assert replay(first, second) == ["accepted", "duplicate"]

    second.refresh_from_db()
    assert second.outcome == "duplicate"


def test_what_is_refused_again_stays_listed_with_its_first_reason() -> None:
    letter = a_letter(EVENT | {"quantity": "much"})

    report = replay_dead_letters(ids=[letter.pk], at=AT, actor="alice", reason="try")

    assert [(one.outcome, one.field, one.code) for one in report.verdicts] == [("refused", "quantity", "not_a_number")]
    letter.refresh_from_db()
    assert (letter.outcome, letter.settled_at, letter.message) == ("", None, "cannot be read")


def test_a_dry_run_says_what_would_happen_and_changes_nothing() -> None:
    letters = [a_letter(EVENT), a_letter(EVENT, position=8), a_letter(b"{", position=9)]

    report = preview_replay(ids=[letter.pk for letter in letters], at=AT)

    assert [verdict.outcome for verdict in report.verdicts] == ["accepted", "duplicate", "refused"]
    assert [report.count(outcome) for outcome in ("accepted", "duplicate", "conflict", "refused")] == [1, 1, 0, 1]
    assert not UsageEvent.objects.exists()
    assert not DeadLetter.objects.exclude(outcome="").exists()


def test_a_corrected_document_is_read_in_place_of_the_original_which_stays() -> None:
    letter = a_letter(EVENT | {"quantity": "much"})

    assert replay(letter, document=json.dumps(EVENT | {"quantity": "2.50"})) == ["accepted"]

    letter.refresh_from_db()
    assert json.loads(bytes(letter.raw))["quantity"] == "much"
    assert json.loads(letter.corrected)["quantity"] == "2.50"
    assert str(UsageEvent.objects.get().quantity.normalize()) == "2.5"


@pytest.mark.parametrize(
    ("document", "code"),
    [("{", "malformed"), ("", "no_value"), (json.dumps(EVENT | {"quantity": -1}), "negative"), ("[]", "malformed")],
)
def test_a_corrected_document_that_is_none_is_refused_and_nothing_is_settled(document: str, code: str) -> None:
    letter = a_letter(b"{")

    report = replay_dead_letters(ids=[letter.pk], at=AT, actor="alice", reason="try", document=document)

    assert [verdict.code for verdict in report.verdicts] == [code]
    letter.refresh_from_db()
    assert (letter.outcome, letter.corrected) == ("", "")


@pytest.mark.parametrize(
    ("content", "shape", "preset", "rules", "document"),
    [
        ({"at": "2026-07-01T00:00:00Z", "n": "3"}, Shape.ROW, "", True, None),
        (b"2026-07-01T00:00:00Z,3,surplus", Shape.TEXT, "", True, '{"at": "2026-07-01T00:00:00Z", "n": "3"}'),
        (b'::1 - c [01/Jul/2026:00:00:00 +0000] "GET / H" 200 5', Shape.LINE, "access_log", False, None),
        (b"garbage", Shape.LINE, "access_log", False, '::1 - c [01/Jul/2026:00:00:00 +0000] "GET / H" 200 5\n'),
        (
            {"transaction_id": "1", "external_customer_id": "c", "code": "t", "timestamp": 1_782_864_000},
            Shape.OBJECT,
            "lago",
            False,
            None,
        ),
    ],
)
def test_a_letter_is_read_again_by_the_mapping_it_came_with(
    content: Any, shape: Shape, preset: str, rules: bool, document: str | None
) -> None:
    mapped = ("event_type==t", "customer_id==c", "timestamp=at", "quantity=n") if rules else ()
    letter = a_letter(content, shape=shape, collector=Collector.FILE, preset=preset, rules=mapped)

    assert replay(letter, document=document) == ["accepted"]

    event = UsageEvent.objects.get()
    assert (event.customer_id, event.timestamp) == ("c", datetime(2026, 7, 1, tzinfo=UTC))
    assert event.idempotency_key == "1" or event.idempotency_key.startswith("row-7-")


def test_a_row_that_could_not_be_parted_needs_a_corrected_document() -> None:
    letter = a_letter(b"1,2,3", shape=Shape.TEXT, collector=Collector.FILE)

    assert replay(letter) == ["refused"]


def test_the_rest_of_a_file_cannot_be_replayed_but_dismissed() -> None:
    letter = a_letter(b"", shape=Shape.FILE, collector=Collector.FILE)

    assert replay(letter, document="{}") == ["refused"]
    assert dismiss_dead_letters(ids=[letter.pk], at=AT, actor="alice", reason="sent again") == 1


def test_dismissing_twice_dismisses_once_and_a_dismissed_letter_is_not_replayed() -> None:
    letter = a_letter(EVENT)

    dismissed = [dismiss_dead_letters(ids=[letter.pk], at=AT, actor=name, reason="test") for name in ("alice", "bob")]

    letter.refresh_from_db()
    assert (dismissed, letter.settled_by, replay(letter)) == ([1, 0], "alice", ["settled"])
    assert not UsageEvent.objects.exists()


def test_who_and_why_are_asked_for_and_letters_must_be_there() -> None:
    letter, other = a_letter(EVENT), a_letter(EVENT, position=8)

    with pytest.raises(InvalidInput, match="who does it"):
        replay_dead_letters(ids=[letter.pk], at=AT, actor="alice", reason=" ")
    with pytest.raises(NotFound):
        replay_dead_letters(ids=[0], at=AT, actor="alice", reason="r")
    with pytest.raises(InvalidInput, match="for one letter"):
        replay_dead_letters(ids=[letter.pk, other.pk], at=AT, actor="alice", reason="r", document="{}")


def test_the_same_content_at_the_same_place_is_listed_once_other_content_beside_it() -> None:
    for content in (b"{", b"{", b"["):
        mapping = mapping_of_words(preset="", rules=(), zone_name="")
        box = DeadLetterBox(Origin(Collector.KAFKA, "usage/0", mapping, lambda row: Shape.OBJECT))
        box.add(row=Row(7, None), found=Found(0, content, error=Malformed("no")))
        box.save()

    assert [bytes(letter.raw) for letter in DeadLetter.objects.order_by("pk")] == [b"{", b"["]


def test_of_content_beyond_a_mebibyte_the_beginning_is_kept() -> None:
    letter = a_letter(b"x" * (ROW_BYTES_MAX + 1))

    assert len(bytes(letter.raw)) == ROW_BYTES_MAX


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE metering_deadletter SET raw = 'x'",
        "UPDATE metering_deadletter SET message = 'x', outcome = 'dismissed', settled_at = now(), settled_by = 'x'",
        "UPDATE metering_deadletter SET settled_by = 'x'",
        "UPDATE metering_deadletter SET outcome = 'dismissed'",
        "UPDATE metering_deadletter SET outcome = 'lost', settled_at = now(), settled_by = 'x'",
        "DELETE FROM metering_deadletter",
        "TRUNCATE metering_deadletter",
    ],
)
def test_raw_sql_cannot_change_a_letter_or_settle_it_halfway(change: str) -> None:
    a_letter(EVENT)

    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(change)


def test_raw_sql_cannot_settle_a_letter_again() -> None:
    letter = a_letter(EVENT)
    replay(letter)

    with pytest.raises(IntegrityError, match="only by being settled"), connection.cursor() as cursor:
        cursor.execute("UPDATE metering_deadletter SET settled_by = 'mallory'")


def test_the_command_replays_what_waits_and_says_what_stays(capsys: pytest.CaptureFixture[str]) -> None:
    a_letter(EVENT)
    a_letter(EVENT | {"quantity": "much"}, position=8)
    a_letter({**EVENT, "idempotency_key": "k9"}, position=9, collector=Collector.FILE)

    with pytest.raises(SystemExit):
        call_command("replay_dead_letters", "--source", "usage/0", "--dry-run")
    with pytest.raises(SystemExit):
        call_command("replay_dead_letters", "--source", "usage/0", "--reason", "mended")
    call_command("replay_dead_letters", "--source", "usage.csv")

    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "would be: accepted 1, duplicates 0, conflicts 0, refused 1",
        "accepted 1, duplicates 0, conflicts 0, refused 1",
        "accepted 1, duplicates 0, conflicts 0, refused 0",
    ]
    assert "usage/0, offset 8: quantity must be a decimal number" in said.err
