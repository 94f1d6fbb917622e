"""Events of before the partitions move into their months, to the last byte, and back."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from django.db import IntegrityError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor

from metering.ingest import dedup_key
from tests.billing_site.test_database_fast_migrations import throwaway_database
from tests.metering.archiving.past import an_hour_of, months_ago

BEFORE, PARTITIONED = "0004_guards_that_no_session_switches_off", "0006_partition_usage_events"
RECEIVED = [an_hour_of(months_ago(5)), an_hour_of(months_ago(5), day=28), an_hour_of(months_ago(2)), months_ago(0)]


def migrate(database: BaseDatabaseWrapper, name: str) -> None:
    MigrationExecutor(database).migrate([("metering", name)])


def run(database: BaseDatabaseWrapper, statement: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
    with database.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def insert(database: BaseDatabaseWrapper, key: str, received_at: datetime | None = None) -> None:
    run(
        database,
        """
        INSERT INTO metering_usageevent (dedup_key, event_id, idempotency_key, event_type, customer_id, timestamp,
                                         quantity, properties, received_at)
        VALUES (%s, %s, %s, 't', 'cust_a', '2026-01-01 00:00:00.000001+00', 0.000000000001, '{"n": 1.10}',
                COALESCE(%s, statement_timestamp()))
        """,
        [dedup_key(customer_id="cust_a", idempotency_key=key), key, key, received_at],
    )


@pytest.fixture
def database(django_db_blocker: Any) -> Iterator[BaseDatabaseWrapper]:
    with django_db_blocker.unblock(), throwaway_database(name="test_partition_migration") as database:
        yield database


ROWS = "SELECT id, dedup_key, event_id, properties::text, quantity::text, timestamp, received_at FROM metering_usageevent ORDER BY id"


def test_events_of_before_move_into_their_months_and_back(database: BaseDatabaseWrapper) -> None:
    migrate(database, BEFORE)
    for number, received_at in enumerate(RECEIVED):
        insert(database, f"k{number}", received_at)
    rows = run(database, ROWS)

    migrate(database, PARTITIONED)

    assert run(database, ROWS) == rows
    by_month = run(database, "SELECT tableoid::regclass::text, count(*) FROM metering_usageevent GROUP BY 1 ORDER BY 1")
    assert [count for _, count in by_month] == [2, 1, 1]
    assert by_month[0][0] == f"metering_usageevent_y{months_ago(5):%Y}m{months_ago(5):%m}"
    horizon = run(database, "SELECT open_from, consolidated_before FROM metering_keyhorizon")
    assert horizon == [(months_ago(0), months_ago(5))]
    insert(database, "new")
    assert run(database, "SELECT max(id) FROM metering_usageevent") == [(len(RECEIVED) + 1,)], "numbers go on"
    for known in ("k0", "k3"):
        with pytest.raises(IntegrityError):
            insert(database, known)

    migrate(database, BEFORE)

    assert run(database, ROWS)[: len(rows)] == rows
    insert(database, "newer")
    assert len(run(database, ROWS)) == len(RECEIVED) + 2
    with pytest.raises(IntegrityError):
        insert(database, "k0")
    migrate(database, PARTITIONED)
    assert len(run(database, ROWS)) == len(RECEIVED) + 2


def test_an_empty_table_is_partitioned_too(database: BaseDatabaseWrapper) -> None:
    migrate(database, PARTITIONED)

    insert(database, "first")

    assert run(database, "SELECT count(*) FROM metering_usageevent") == [(1,)]
    migrate(database, BEFORE)
    assert run(database, "SELECT count(*) FROM metering_usageevent") == [(1,)]
