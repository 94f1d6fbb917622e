"""What all tests share: a database that can be emptied although its tables are guarded, and the order in which they run."""

import gc
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.management.commands import flush
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.postgresql.operations import DatabaseOperations
from hypothesis import HealthCheck, settings

from billing_site.kernel.garbage import look_seldom, set_aside_for_good
from tests.contract.stripe_requests import misfits_since

# Seven thousand tests are loaded, and migrations.
look_seldom()

# Processes that tests start keep what they have compiled for the next one.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# How fast the machine is, and what else it does, is no property of what is tested.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")

# What migrations wrote: without the key horizon the first insert of a test would have to open the month.
KEPT = ("django_migrations", "django_content_type", "auth_permission", "metering_keyhorizon")
SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


class Emptier:
    """Empties the tables that a test has filled, over a connection of its own: Django begins a new one after each such test.

    It knows all tables already, and has planned its question: both take PostgreSQL 50 ms.
    """

    def __init__(self, own: BaseDatabaseWrapper) -> None:
        self.own = own
        self.asked_about: list[str] = []

    def empty_all(self) -> None:
        """Delete all rows but those that migrations wrote."""
        connection.close()  # What a test has left open in it would be waited for.
        if self.own.connection is not None and not self.own.is_usable():
            self.own.close()
        with self.own.cursor() as cursor:
            tables = [name for name in self.own.introspection.table_names(cursor) if name not in KEPT]
            cursor.execute("SELECT EXISTS (SELECT FROM pg_prepared_statements WHERE name = 'filled')")
            if tables != self.asked_about or cursor.fetchone() != (True,):
                self._ask_about(tables, cursor)
            cursor.execute("EXECUTE filled")
            filled = [row[0] for row in cursor.fetchall()]
            cursor.execute("SET session_replication_role = replica")
            for name in filled:
                cursor.execute(f'DELETE FROM "{name}"')

    def _ask_about(self, tables: list[str], cursor: Any) -> None:
        cursor.execute("DEALLOCATE ALL")
        cursor.execute(
            "PREPARE filled AS "
            + " UNION ALL ".join(f"SELECT '{name}' WHERE EXISTS (SELECT FROM \"{name}\")" for name in tables)
        )
        self.asked_about = tables


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Let tests that commit be tidied up after, past the triggers that refuse TRUNCATE and DELETE; and let no table be vacuumed: rows of tests that are rolled back would count as none, and the next test, which fills it in one transaction, would be planned for an empty table.

    And let no commit wait for the disk: no test kills this server, those that kill one have their own.
    """
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(
            f"ALTER DATABASE {connection.ops.quote_name(connection.settings_dict['NAME'])} SET synchronous_commit = off"
        )
        cursor.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
    connection.close()  # The next one begins with what the database says now.
    patch = pytest.MonkeyPatch()
    emptier = Emptier(connection.copy())
    patch.setattr(DatabaseOperations, "execute_sql_flush", lambda self, sql_list: emptier.empty_all())
    # It would look for each of a thousand permissions and content types, which are kept.
    patch.setattr(flush, "emit_post_migrate_signal", lambda *arguments, **named: None)
    yield
    patch.undo()
    emptier.own.close()


@pytest.fixture(autouse=True, scope="session")
def passwords_are_hashed_at_once() -> None:
    """Passwords of tests are nobody's: a million rounds of hashing for each administrator protect nothing."""
    django_settings.PASSWORD_HASHERS = [
        "django.contrib.auth.hashers.MD5PasswordHasher",
        *django_settings.PASSWORD_HASHERS,
    ]


@pytest.fixture(autouse=True, scope="session")
def request_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Let every sandbox write down what it is asked, in this process and in those that tests begin."""
    log = tmp_path_factory.mktemp("sandbox") / "requests"
    log.touch()
    django_settings.SANDBOX_REQUEST_LOG = os.environ["SANDBOX_REQUEST_LOG"] = str(log)
    return log


@pytest.fixture(autouse=True)
def requests_fit_the_sdk(request_log: Path) -> Iterator[None]:
    """Each request that the SDK sent during a test fits the installed SDK's request types."""
    begin = request_log.stat().st_size
    yield
    assert misfits_since(log=request_log, begin=begin) == []


@pytest.fixture
def shared() -> Path:
    """Return the folder of outside material; tests that use it are marked `contract`."""
    if not SHARED.is_dir():
        pytest.skip("../shared is absent: this is a clone without the outside contracts")
    return SHARED


def pytest_collection_modifyitems(config: pytest.Config, items: list[Any]) -> None:
    """Contract tests may only be skipped for one reason: the folder is absent. Where CI deals files out, long ones go first."""
    for item in items:
        if "shared" in getattr(item, "fixturenames", ()) and "contract" not in item.keywords:
            item.add_marker(pytest.mark.contract)
    if not config.getoption("loadscopereorder", default=True):
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        many = Counter(item.path for item in items)
        # A file is one worker's; a scenario that is dealt out last lets all others wait for it alone.
        items.sort(key=lambda item: (item.path not in slow, -many[item.path], item.path))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """No search for garbage in a test looks through what all tests have loaded; what the one before left is thrown away now."""
    gc.collect()
    set_aside_for_good()


@pytest.fixture(autouse=True)
def committed_months_are_as_before(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that commits leaves the tables of months as they were: the next test would find them, and no flush drops tables."""
    marker = request.node.get_closest_marker("django_db")
    commits = "transactional_db" in request.fixturenames or (marker and marker.kwargs.get("transaction"))
    if not commits:
        yield
        return
    before = _months(request)
    yield
    assert _months(request) == before, "the test has left tables of months behind"


def _months(request: pytest.FixtureRequest) -> list[str]:
    with request.getfixturevalue("django_db_blocker").unblock(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ '^metering_usageevent_y' ORDER BY 1"
        )
        return [row[0] for row in cursor.fetchall()]
