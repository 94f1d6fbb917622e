"""Tables made at once equal those that the migrations make, and an existing database migrates normally."""

import functools
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps as global_apps
from django.apps.registry import Apps
from django.conf import settings
from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder
from django.db.migrations.state import ProjectState

from billing_site.database.fast_migrations import APPS, create_tables_at_once, migrate_what_stands_apart

CATALOG_QUERIES = {
    "columns": """
        select table_name, column_name, data_type, udt_name, character_maximum_length, numeric_precision,
               numeric_scale, is_nullable, column_default, is_identity, identity_generation, collation_name
          from information_schema.columns where table_schema = 'public' and table_name like %(tables)s
    """,
    "indexes": "select tablename, indexname, indexdef from pg_indexes where tablename like %(tables)s",
    "constraints": """
        select conrelid::regclass::text, conname, contype, condeferrable, condeferred, pg_get_constraintdef(oid)
          from pg_constraint where conrelid::regclass::text like %(tables)s
    """,
    "triggers": """
        select tgrelid::regclass::text, tgname, tgenabled::text, pg_get_triggerdef(tgr.oid), obj_description(tgr.oid)
          from pg_trigger tgr where not tgisinternal and tgrelid::regclass::text like %(tables)s
    """,
    "functions": """
        select distinct proname, prosrc, prosecdef, proconfig::text from pg_proc
          join pg_trigger on tgfoid = pg_proc.oid where not tgisinternal and tgrelid::regclass::text like %(tables)s
    """,
}
# So many of each there are at least.
AT_LEAST = {
    "djstripe": {"columns": 600, "indexes": 300, "constraints": 200, "triggers": 0, "functions": 0},
    "invoicing": {"columns": 600, "indexes": 150, "constraints": 200, "triggers": 120, "functions": 60},
    "dunning": {"columns": 200, "indexes": 70, "constraints": 250, "triggers": 50, "functions": 50},
}
# Whose tables must stand, made at once like those of the others, before an app's are made either way.
FIRST = {"dunning": ["invoicing"]}
ROOT = Path(__file__).resolve().parents[2]
# What dj-stripe's migrations made, and of what: they are another's, and change with its pinned version alone.
WRITTEN_DOWN = Path(__file__).with_name("djstripe_migrated.json")


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


def leaves_of(connection: BaseDatabaseWrapper, app: str) -> list[tuple[str, str]]:
    """Return the last migrations of an app."""
    return [key for key in MigrationExecutor(connection).loader.graph.leaf_nodes() if key[0] == app]


def catalog(connection: BaseDatabaseWrapper, app: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return what PostgreSQL knows of the tables of an app, apart from the order of the columns."""
    found = {}
    with connection.cursor() as cursor:
        for what, query in CATALOG_QUERIES.items():
            cursor.execute(query, {"tables": f"{app}\\_%"})
            found[what] = sorted(cursor.fetchall(), key=repr)
    return found


def applied(connection: BaseDatabaseWrapper, app: str) -> set[tuple[str, str]]:
    """Return the recorded migrations of an app and of what it needs."""
    return {key for key in MigrationRecorder(connection).applied_migrations() if key[0] in (app, "auth", "metering")}


def make_at_once(connection: BaseDatabaseWrapper, *apps: str) -> None:
    """Make the tables of new apps the short way."""
    for app in apps:
        assert create_tables_at_once(connection=connection, targets=leaves_of(connection, app), app=app) is True


def of_what(connection: BaseDatabaseWrapper) -> str:
    """Return a digest of all that decides what dj-stripe's migrations make: what is pinned, the server, our part in it, its settings."""
    files = [ROOT / "requirements.txt", *sorted((ROOT / "billing_site/database").rglob("*.py"))]
    said = {name: repr(getattr(settings, name)) for name in dir(settings) if name.startswith(("DJSTRIPE_", "AUTH_U"))}
    digest = hashlib.sha256(repr((connection.pg_version, settings.INSTALLED_APPS, said)).encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def digest_of_all(found: dict[str, list[tuple[Any, ...]]], migrations: set[tuple[str, str]]) -> str:
    """Return a digest of what PostgreSQL knows of an app's tables, and of the migrations that are recorded."""
    return hashlib.sha256(repr((sorted(found.items()), sorted(migrations))).encode()).hexdigest()


@pytest.fixture
def models_are_made_anew_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Django make in memory no more models anew than an operation looks at: with each it makes all that are related, a hundred of them.

    Of each relation that it copies it asks all models whether they may be swapped, too. What it says to PostgreSQL stays the same: tables and
    columns have the names that they had, and where a relation changes all models are made anew.
    """

    def make_anew(state: ProjectState, app_label: str, model_name: str, delay: bool = False) -> None:
        if "apps" in state.__dict__ and delay:
            state._reload({(app_label, model_name)})
        elif "apps" in state.__dict__:
            del state.__dict__["apps"]

    monkeypatch.setattr(ProjectState, "reload_model", make_anew)
    ask = functools.partial(Apps.get_swappable_settings_name.__wrapped__, global_apps)
    monkeypatch.setattr(global_apps, "get_swappable_settings_name", functools.cache(ask), raising=False)


@pytest.mark.slow
@pytest.mark.usefixtures("models_are_made_anew_seldom")
@pytest.mark.parametrize("app", APPS)
def test_the_tables_made_at_once_equal_those_of_the_migrations(app: str, django_db_blocker: Any) -> None:
    """What dj-stripe's migrations made of the same, as it is written down, is not made again; `WRITE_DOWN=1` makes it and writes it down."""
    with django_db_blocker.unblock(), throwaway_database(name="test_short_way") as short:
        make_at_once(short, *FIRST.get(app, ()), app)
        made_at_once, recorded = catalog(short, app), applied(short, app)
        digests = {"of": of_what(short), "made": digest_of_all(made_at_once, recorded)}
        writes = app == "djstripe" and "WRITE_DOWN" in os.environ
        if writes or app != "djstripe" or json.loads(WRITTEN_DOWN.read_text()) != digests:
            with throwaway_database(name="test_long_way") as long:
                make_at_once(long, *FIRST.get(app, ()))
                MigrationExecutor(long).migrate(leaves_of(long, app))
                migrated = catalog(long, app)
                assert recorded >= applied(long, app)
            for what, rows in migrated.items():
                assert made_at_once[what] == rows, what
        if writes:
            WRITTEN_DOWN.write_text(json.dumps(digests, indent=2) + "\n")

    for what, rows in made_at_once.items():
        assert len(rows) >= AT_LEAST[app][what], what


@pytest.mark.parametrize("app", APPS)
def test_a_database_that_has_any_of_it_migrates_the_normal_way(app: str, django_db_blocker: Any) -> None:
    with django_db_blocker.unblock(), throwaway_database(name="test_begun") as begun:
        with begun.cursor() as cursor:
            cursor.execute(f"create table {app}_charge (id int)")

        assert create_tables_at_once(connection=begun, targets=leaves_of(begun, app), app=app) is False
        assert applied(begun, app) == set()


@pytest.mark.parametrize("app", APPS)
def test_a_second_time_and_a_run_for_another_app_make_nothing(app: str, django_db_blocker: Any) -> None:
    with django_db_blocker.unblock(), throwaway_database(name="test_twice") as database:
        other = [("contenttypes", "0001_initial")]
        assert create_tables_at_once(connection=database, targets=other, app=app) is False
        make_at_once(database, *FIRST.get(app, ()), app)
        before = catalog(database, app)

        assert create_tables_at_once(connection=database, targets=leaves_of(database, app), app=app) is False
        assert catalog(database, app) == before


def test_what_stands_apart_is_migrated_first_in_a_new_database_and_in_no_other(django_db_blocker: Any) -> None:
    def apps_of(connection: BaseDatabaseWrapper) -> set[str]:
        return {app for app, _name in MigrationRecorder(connection).applied_migrations()}

    with django_db_blocker.unblock(), throwaway_database(name="test_apart") as database:
        leaves = MigrationExecutor(database).loader.graph.leaf_nodes()
        migrate_what_stands_apart(connection=database, targets=leaves)
        assert apps_of(database) >= {"auth", "metering", "django_q", "sessions"}
        assert apps_of(database).isdisjoint(APPS)

    with django_db_blocker.unblock(), throwaway_database(name="test_not_new") as database:
        MigrationExecutor(database).migrate([("contenttypes", "0001_initial")])
        migrate_what_stands_apart(connection=database, targets=leaves)
        assert apps_of(database) == {"contenttypes"}


def test_a_failure_on_the_way_leaves_no_table_behind(django_db_blocker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    record = MigrationRecorder.record_applied

    def fail(recorder: MigrationRecorder, app: str, name: str) -> None:
        if app == "djstripe":
            raise RuntimeError("the power failed")
        record(recorder, app, name)

    with django_db_blocker.unblock(), throwaway_database(name="test_failed") as database:
        monkeypatch.setattr(MigrationRecorder, "record_applied", fail)
        with pytest.raises(RuntimeError):
            create_tables_at_once(connection=database, targets=leaves_of(database, "djstripe"), app="djstripe")
        monkeypatch.undo()

        assert not catalog(database, "djstripe")["columns"]
        call_command("migrate", "djstripe", database=database.alias, verbosity=0)
        assert catalog(database, "djstripe")["columns"]
