"""dj-stripe's tables made at once equal those that its migrations make, and an existing database migrates normally."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder

from billing_site.database.fast_migrations import APP, create_tables_at_once

CATALOG_QUERIES = {
    "columns": """
        select table_name, column_name, data_type, udt_name, character_maximum_length, numeric_precision,
               numeric_scale, is_nullable, column_default, is_identity, identity_generation, collation_name
          from information_schema.columns where table_schema = 'public' and table_name like 'djstripe%'
    """,
    "indexes": "select tablename, indexname, indexdef from pg_indexes where tablename like 'djstripe%'",
    "constraints": """
        select conrelid::regclass::text, conname, contype, condeferrable, condeferred, pg_get_constraintdef(oid)
          from pg_constraint where conrelid::regclass::text like 'djstripe%'
    """,
}


@contextmanager
def throwaway_database(*, name: str) -> Iterator[BaseDatabaseWrapper]:
    """Give a new, empty database under an alias of its own, and drop it afterwards."""
    default = connections[DEFAULT_DB_ALIAS]
    with default._nodb_cursor() as cursor:
        cursor.execute(f'drop database if exists "{name}" with (force)')
        cursor.execute(f'create database "{name}"')
    connections.databases[name] = {**connections.databases[DEFAULT_DB_ALIAS], "NAME": name}
    try:
        yield connections[name]
    finally:
        connections[name].close()
        del connections.databases[name]
        del connections[name]
        with default._nodb_cursor() as cursor:
            cursor.execute(f'drop database "{name}" with (force)')


def leaves_of_djstripe(connection: BaseDatabaseWrapper) -> list[tuple[str, str]]:
    """Return the last migrations of dj-stripe."""
    return [key for key in MigrationExecutor(connection).loader.graph.leaf_nodes() if key[0] == APP]


def catalog(connection: BaseDatabaseWrapper) -> dict[str, list[tuple[Any, ...]]]:
    """Return what PostgreSQL knows of dj-stripe's tables, apart from the order of the columns."""
    found = {}
    with connection.cursor() as cursor:
        for what, query in CATALOG_QUERIES.items():
            cursor.execute(query)
            found[what] = sorted(cursor.fetchall(), key=repr)
    return found


def applied(connection: BaseDatabaseWrapper) -> set[tuple[str, str]]:
    """Return the recorded migrations of dj-stripe and of what it needs."""
    return {key for key in MigrationRecorder(connection).applied_migrations() if key[0] in (APP, "auth")}


@pytest.mark.slow
def test_the_tables_made_at_once_equal_those_of_the_migrations(django_db_blocker: Any) -> None:
    with (
        django_db_blocker.unblock(),
        throwaway_database(name="test_short_way") as short,
        throwaway_database(name="test_long_way") as long,
    ):
        assert create_tables_at_once(connection=short, targets=leaves_of_djstripe(short)) is True
        MigrationExecutor(long).migrate(leaves_of_djstripe(long))

        made_at_once, migrated = catalog(short), catalog(long)
        assert applied(short) >= applied(long)

    for what, rows in migrated.items():
        assert made_at_once[what] == rows, what
    assert len(migrated["columns"]) > 600 and len(migrated["indexes"]) > 300 and len(migrated["constraints"]) > 200


def test_a_database_that_has_any_of_it_migrates_the_normal_way(django_db_blocker: Any) -> None:
    with django_db_blocker.unblock(), throwaway_database(name="test_begun") as begun:
        with begun.cursor() as cursor:
            cursor.execute("create table djstripe_charge (id int)")

        assert create_tables_at_once(connection=begun, targets=leaves_of_djstripe(begun)) is False
        assert applied(begun) == set()


def test_a_second_time_and_a_run_for_another_app_make_nothing(django_db_blocker: Any) -> None:
    with django_db_blocker.unblock(), throwaway_database(name="test_twice") as database:
        assert create_tables_at_once(connection=database, targets=[("contenttypes", "0001_initial")]) is False
        assert create_tables_at_once(connection=database, targets=leaves_of_djstripe(database)) is True
        before = catalog(database)

        assert create_tables_at_once(connection=database, targets=leaves_of_djstripe(database)) is False
        assert catalog(database) == before


def test_a_failure_on_the_way_leaves_no_table_behind(django_db_blocker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: str) -> None:
        raise RuntimeError("the power failed")

    with django_db_blocker.unblock(), throwaway_database(name="test_failed") as database:
        monkeypatch.setattr(MigrationRecorder, "record_applied", fail)
        with pytest.raises(RuntimeError):
            create_tables_at_once(connection=database, targets=leaves_of_djstripe(database))
        monkeypatch.undo()

        assert not catalog(database)["columns"]
        call_command("migrate", APP, database=database.alias, verbosity=0)
        assert catalog(database)["columns"]
