"""Months of events: made ahead, opened in turn with inserts, closed for good, their keys remembered."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from metering.ingest import accept_events, dedup_key
from metering.models import INGEST_LOCK, EventConflict, KeyHorizon, KnownKey, UsageEvent
from metering.partitions import consolidate_keys, faults, make_months_ahead, months, open_present_month
from metering.tasks import keep_months
from tests.factories import an_event
from tests.metering.archiving.past import PastEvent, accepted_long_ago, an_hour_of, months_ago, turn_horizon_back
from tests.metering.conftest import Crowd

PRESENT = months_ago(0)
CLOSED = months_ago(2)
REFUSED = (IntegrityError, DatabaseError)


def run(statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def name_of(month: datetime) -> str:
    return f"metering_usageevent_y{month:%Y}m{month:%m}"


def insert(key: str, *, table: str = "metering_usageevent", received_at: str = "statement_timestamp()") -> None:
    """An insert by raw SQL, which no code of ours has looked at."""
    run(
        f"""
        INSERT INTO {table} (id, dedup_key, event_id, idempotency_key, event_type, customer_id, timestamp, quantity,
                             received_at)
        VALUES (nextval('metering_usageevent_id_seq'), %s, 'e', %s, 't', 'cust_a', now(), 1, {received_at})
        """,
        dedup_key(customer_id="cust_a", idempotency_key=key),
        key,
    )


def close_the_present_month() -> None:
    """Let the present month be closed and the next one open, as at midnight of its last day."""
    run("SET session_replication_role = replica")
    run("UPDATE metering_keyhorizon SET open_from = open_from + interval '1 month'")
    run("SET session_replication_role = origin")


@pytest.fixture
def horizon() -> Iterator[None]:
    """Put the horizon back: tests with transactions of their own leave what they wrote."""
    before = KeyHorizon.objects.get()
    yield
    run("SET session_replication_role = replica")
    run(
        "UPDATE metering_keyhorizon SET open_from = %s, consolidated_before = %s",
        before.open_from,
        before.consolidated_before,
    )
    run("SET session_replication_role = origin")


@pytest.mark.django_db
def test_months_are_made_ahead_with_all_their_guards_and_again_makes_none() -> None:
    make_months_ahead()
    before = months()

    make_months_ahead()

    assert months() == before
    assert [month.start for month in before if month.start >= PRESENT] == [months_ago(-ahead) for ahead in range(4)]
    assert all(month.end == following.start for month, following in pairwise(before))
    assert faults() == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("break_it", "what"),
    [
        ("ALTER TABLE {} DROP CONSTRAINT {}_key_once", "a unique index on dedup_key"),
        ("ALTER TABLE {} DROP CONSTRAINT {}_number_once", "a unique index on id"),
        ("DROP TRIGGER only_as_a_whole ON {}", "its trigger only_as_a_whole"),
        ("ALTER TABLE {} DISABLE TRIGGER USER", "its trigger append_only"),
    ],
)
def test_a_month_without_a_guard_is_found(break_it: str, what: str) -> None:
    run(break_it.replace("{}", name_of(PRESENT)))

    assert (name_of(PRESENT), what) in faults()


@pytest.mark.django_db
def test_where_the_month_has_no_partition_ingest_makes_it() -> None:
    run(f"DROP TABLE {name_of(PRESENT)}")

    receipt = accept_events(events=[an_event("cust_a", "1", at=datetime.now(UTC))])

    assert receipt.accepted == 1
    assert PRESENT in [month.start for month in months()]
    assert faults() == []


@pytest.mark.django_db
def test_where_nobody_opened_the_month_ingest_opens_it() -> None:
    run("SET session_replication_role = replica")
    run("UPDATE metering_keyhorizon SET open_from = %s, consolidated_before = %s", months_ago(1), months_ago(1))
    run("SET session_replication_role = origin")

    receipt = accept_events(events=[an_event("cust_a", "1", at=datetime.now(UTC))])

    assert receipt.accepted == 1
    assert KeyHorizon.objects.get().open_from == PRESENT


@pytest.mark.django_db
def test_without_a_horizon_the_first_insert_makes_one() -> None:
    run("SET session_replication_role = replica")
    run("DELETE FROM metering_keyhorizon")
    run("SET session_replication_role = origin")

    with pytest.raises(DatabaseError, match="open month only"), transaction.atomic():
        insert("raw")
    assert accept_events(events=[an_event("cust_a", "1", at=datetime.now(UTC))]).accepted == 1
    assert KeyHorizon.objects.get().open_from == PRESENT


@pytest.mark.django_db
@pytest.mark.parametrize(
    "attack",
    [
        "UPDATE {} SET quantity = 2",
        "DELETE FROM {}",
        "TRUNCATE {}",
        "TRUNCATE metering_usageevent",
        "UPDATE metering_usageevent SET received_at = received_at + interval '40 days'",
        "UPDATE metering_keyhorizon SET open_from = open_from - interval '1 month'",
        "UPDATE metering_keyhorizon SET consolidated_before = consolidated_before - interval '1 month'",
        "UPDATE metering_keyhorizon SET consolidated_before = open_from + interval '1 month'",
        "DELETE FROM metering_keyhorizon",
        "DELETE FROM metering_knownkey",
        "UPDATE metering_knownkey SET number = 0",
        "TRUNCATE metering_knownkey",
        "INSERT INTO metering_keyhorizon VALUES (2, now(), now())",
    ],
)
def test_raw_sql_cannot_change_what_is_closed(attack: str) -> None:
    accepted_long_ago([PastEvent("old", an_hour_of(CLOSED))])

    with pytest.raises(REFUSED), transaction.atomic():
        run(attack.replace("{}", name_of(CLOSED)))

    assert UsageEvent.objects.count() == KnownKey.objects.count() == 1


@pytest.mark.django_db
def test_raw_sql_cannot_insert_past_the_table() -> None:
    for month in (PRESENT, months_ago(-1)):
        with pytest.raises(IntegrityError, match="go through metering_usageevent"), transaction.atomic():
            insert("leaf", table=name_of(month))


@pytest.mark.django_db
@pytest.mark.parametrize("month", [CLOSED, months_ago(-1)], ids=["closed", "to come"])
def test_raw_sql_cannot_insert_into_a_month_that_is_not_open(month: datetime) -> None:
    accepted_long_ago([PastEvent("old", an_hour_of(CLOSED))])
    make_months_ahead()

    with pytest.raises(DatabaseError, match="open month only"), transaction.atomic():
        insert("raw", received_at=f"'{month.isoformat()}'")


@pytest.mark.requirement("S0-105")
@pytest.mark.django_db
@pytest.mark.parametrize("consolidated", [True, False], ids=["in the memory of keys", "in its month"])
def test_raw_sql_cannot_insert_a_key_of_an_earlier_month(consolidated: bool) -> None:
    accepted_long_ago([PastEvent("old", an_hour_of(CLOSED))])
    if not consolidated:
        turn_horizon_back(CLOSED)
        run("SET session_replication_role = replica")
        run("DELETE FROM metering_knownkey")
        run("SET session_replication_role = origin")

    with pytest.raises(IntegrityError, match="accepted in an earlier month"), transaction.atomic():
        insert("old")
    repeated = accept_events(events=[an_event("cust_a", "1", at=datetime.now(UTC), event_type="x", key="old")])

    assert (repeated.accepted, len(repeated.conflicts)) == (0, 1)
    assert EventConflict.objects.get().event_number == UsageEvent.objects.get().pk


@pytest.mark.django_db
def test_a_detached_month_still_refuses_changes_of_its_keys_elsewhere() -> None:
    """Detaching is the owner's right and nobody can forbid it; what was consolidated stays known."""
    accepted_long_ago([PastEvent("old", an_hour_of(CLOSED))])
    run(f"ALTER TABLE metering_usageevent DETACH PARTITION {name_of(CLOSED)}")

    assert accept_events(events=[an_event("cust_a", "1", at=datetime.now(UTC), key="old")]).accepted == 0
    with pytest.raises(IntegrityError), transaction.atomic():
        insert("old")


@pytest.mark.django_db
def test_keys_are_remembered_once_however_often_it_is_asked() -> None:
    accepted_long_ago([PastEvent("one", an_hour_of(CLOSED)), PastEvent("two", an_hour_of(months_ago(1)))])
    before = list(KnownKey.objects.order_by("dedup_key").values())
    turn_horizon_back(CLOSED)

    added = consolidate_keys()

    assert added == 0, "what is known is not added again"
    assert consolidate_keys() == 0
    assert list(KnownKey.objects.order_by("dedup_key").values()) == before
    assert len(before) == 2
    assert KeyHorizon.objects.get().consolidated_before == PRESENT


@pytest.mark.django_db
def test_a_crash_between_two_months_loses_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    accepted_long_ago([PastEvent("one", an_hour_of(CLOSED)), PastEvent("two", an_hour_of(months_ago(1)))])
    run("SET session_replication_role = replica")
    run("DELETE FROM metering_knownkey")
    run("SET session_replication_role = origin")
    turn_horizon_back(CLOSED)
    run(
        """
        CREATE FUNCTION breaks() RETURNS trigger AS $$
        BEGIN
            IF (SELECT count(*) FROM metering_knownkey) > 1 THEN RAISE EXCEPTION 'the power failed'; END IF;
            RETURN NULL;
        END $$ LANGUAGE plpgsql;
        CREATE TRIGGER breaks AFTER INSERT ON metering_knownkey FOR EACH STATEMENT EXECUTE FUNCTION breaks();
        """
    )

    with pytest.raises(DatabaseError, match="the power failed"), transaction.atomic():
        consolidate_keys()
    assert accept_events(events=[an_event("cust_a", "1", at=datetime.now(UTC), key="two")]).accepted == 0
    run("DROP TRIGGER breaks ON metering_knownkey")

    consolidate_keys()
    assert KnownKey.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_keys_consolidated_by_many_at_once_are_remembered_once(crowd: Crowd, horizon: None) -> None:
    now = datetime.now(UTC)
    accept_events(events=[an_event("cust_a", "1", at=now, key=f"k{number}") for number in range(500)])
    close_the_present_month()

    added = crowd.all([consolidate_keys] * 8)

    assert sorted(added) == [0] * 7 + [500]
    assert KnownKey.objects.count() == 500
    assert KeyHorizon.objects.get().consolidated_before == months_ago(-1)


@pytest.mark.django_db(transaction=True)
def test_opening_a_month_waits_for_open_inserts_and_they_for_it(crowd: Crowd, horizon: None) -> None:
    inserted, may_end, waits = threading.Event(), threading.Event(), threading.Event()

    def insert_slowly() -> None:
        with transaction.atomic():
            accept_events(events=[an_event("cust_a", "1", at=datetime.now(UTC), key="slow")])
            inserted.set()
            may_end.wait(30)

    def open_it() -> None:
        waits.set()
        open_present_month()

    slow = crowd.begin(insert_slowly)
    assert inserted.wait(30)
    opening = crowd.begin(open_it)
    assert waits.wait(30)
    with pytest.raises(TimeoutError):
        opening.result(timeout=0.5)
    assert run("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted", INGEST_LOCK)
    may_end.set()

    slow.result(timeout=30)
    opening.result(timeout=30)
    assert UsageEvent.objects.count() == 1


@pytest.mark.requirement("S0-105")
@pytest.mark.django_db(transaction=True)
def test_a_key_that_a_slow_insert_commits_in_the_closing_month_is_refused_in_the_new_one(
    crowd: Crowd, horizon: None
) -> None:
    """The new month is played by the present one, the closing month by an older one that is open for a moment."""
    inserted, may_end = threading.Event(), threading.Event()
    closing = months_ago(1)
    run("SELECT metering_make_month(%s)", closing)
    run("SET session_replication_role = replica")
    run("UPDATE metering_keyhorizon SET open_from = %s, consolidated_before = %s", closing, closing)
    run("SET session_replication_role = origin")

    def insert_before_midnight() -> None:
        with transaction.atomic():
            insert("same", received_at=f"'{closing + timedelta(days=20):%Y-%m-%d}'")
            inserted.set()
            may_end.wait(30)

    try:
        slow = crowd.begin(insert_before_midnight)
        assert inserted.wait(30)
        repeated = crowd.begin(
            lambda: accept_events(events=[an_event("cust_a", "1", at=datetime.now(UTC), event_type="t", key="same")])
        )
        with pytest.raises(TimeoutError):
            repeated.result(timeout=0.5)
        may_end.set()
        slow.result(timeout=30)
        receipt = repeated.result(timeout=30)

        assert (receipt.accepted, receipt.duplicates) == (0, 1)
        assert UsageEvent.objects.count() == 1
        assert KeyHorizon.objects.get().open_from == PRESENT
    finally:
        may_end.set()
        run(f"DROP TABLE {name_of(closing)}")


@pytest.mark.django_db(transaction=True)
def test_everybody_may_open_the_month_at_once(crowd: Crowd, horizon: None) -> None:
    run(f"DROP TABLE {name_of(PRESENT)}")
    events = [an_event("cust_a", "1", at=datetime.now(UTC), key=f"k{number}") for number in range(8)]

    receipts = crowd.all([lambda event=event: accept_events(events=[event]) for event in events])

    assert [receipt.accepted for receipt in receipts] == [1] * 8
    assert UsageEvent.objects.count() == 8
    assert faults() == []


@pytest.mark.django_db
def test_the_nightly_job_keeps_months_and_keys() -> None:
    accepted_long_ago([PastEvent("one", an_hour_of(CLOSED))])
    run("SET session_replication_role = replica")
    run("DELETE FROM metering_knownkey")
    run("SET session_replication_role = origin")
    turn_horizon_back(CLOSED)

    assert keep_months() == "1 keys of closed months remembered"
    assert KnownKey.objects.count() == 1
