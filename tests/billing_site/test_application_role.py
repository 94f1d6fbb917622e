"""Web and worker connect as a role that owns no table: what it may do is stated, and everything that they do works with it."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import psycopg
import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import IntegrityError, connection

from billing_site.database.privileges import (
    grant_privileges,
    may_shadow,
    missing_privileges,
    owns_nothing,
    stated_privileges,
)
from billing_site.database.settings import application_user, database_settings
from billing_site.serving.diagnosis import State, diagnose
from billing_site.serving.programs import Address, programs
from invoicing import tasks as invoicing_tasks
from invoicing.evidence.chain import extend_chain
from invoicing.tax.models import TaxRate
from invoicing.tax.operations import end_dated
from invoicing.workflows.verify import verify
from metering import tasks as metering_tasks
from tests.factories import SEPTEMBER
from tests.invoicing.carved_rows import a_busy_house
from tests.invoicing.test_taxes import BY, germany

ROLE = settings.DATABASE_APPLICATION_USER
OURS = ("invoicing", "metering", "dunning", "marketplaces")


@pytest.fixture
def as_application(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this test's connection log in as web and worker do."""
    connection.close()
    with monkeypatch.context() as patch:
        patch.setitem(connection.settings_dict, "USER", ROLE)
        yield
        connection.close()


@pytest.fixture
def application(db: None) -> Iterator[psycopg.Connection]:
    """A connection of its own, logged in as the application."""
    server = connection.cursor().connection.info
    with psycopg.connect(
        host=server.host, port=server.port, dbname=server.dbname, user=ROLE, autocommit=True
    ) as connected:
        yield connected


def test_every_table_of_ours_has_stated_privileges() -> None:
    tables = {
        model._meta.db_table
        for model in apps.get_models(include_auto_created=True)
        if model._meta.app_label in OURS and model._meta.managed
    }

    assert tables - set(stated_privileges()) == set(), "say in database/privileges.py what web and worker may do"
    assert set(stated_privileges()) - tables == {"django_migrations"}


@pytest.mark.django_db
def test_the_application_owns_nothing_and_lacks_nothing() -> None:
    assert owns_nothing(connection=connection, role=ROLE)
    assert not owns_nothing(connection=connection, role="billing")
    assert missing_privileges(connection=connection, role=ROLE) == []


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE invoicing_invoice DISABLE TRIGGER USER",
        "ALTER TABLE invoicing_invoice ADD COLUMN x text",
        "DROP TABLE invoicing_posting",
        "DROP TRIGGER pgtrigger_never_truncated_47f2d ON metering_usageevent",
        "CREATE TABLE mine (id int)",
        "CREATE TEMPORARY TABLE invoicing_invoice AS SELECT * FROM invoicing_invoice",
        "CREATE TEMPORARY VIEW invoicing_books AS SELECT 1",
        "CREATE FUNCTION pg_temp.to_jsonb(anyelement) RETURNS jsonb LANGUAGE sql AS 'SELECT NULL::jsonb'",
        "CREATE SCHEMA mine",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "SET session_replication_role = replica",
        "SET ROLE billing",
        "SET SESSION AUTHORIZATION billing",
        "ALTER ROLE billing_application SUPERUSER",
        "GRANT billing TO billing_application",
        "CREATE ROLE another",
        "TRUNCATE invoicing_posting",
        "TRUNCATE invoicing_customer CASCADE",
        "UPDATE invoicing_posting SET amount = 0",
        "DELETE FROM invoicing_journalentry",
        "UPDATE invoicing_creditentry SET amount = 0",
        "UPDATE invoicing_creditgrant SET amount = 0",
        "UPDATE invoicing_historicalinvoice SET total = 0",
        "UPDATE invoicing_taxrate SET rate = 0",
        "UPDATE invoicing_coupon SET code = 'MINE'",
        "UPDATE invoicing_evidencerow SET digest = ''",
        "DELETE FROM metering_usageevent",
        "DELETE FROM metering_knownkey",
        "UPDATE django_migrations SET name = 'x'",
        "COPY invoicing_posting TO PROGRAM 'cat'",
        "COPY invoicing_posting TO '/tmp/stolen'",
        "SELECT metering_attach_month(now())",
    ],
)
def test_what_could_undo_what_is_carved_is_denied(application: psycopg.Connection, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        application.execute(statement)


@pytest.mark.parametrize(
    "leaf",
    [
        "invoicing_posting",
        "metering_usageevent",
        "metering_usageevent_y1999m01",
        "x; DROP TABLE invoicing_posting",
    ],
)
def test_only_a_closed_month_of_events_can_be_dropped(application: psycopg.Connection, leaf: str) -> None:
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="is no month of usage events"):
        application.execute("SELECT metering_drop_month(%s)", [leaf])


def test_the_open_month_cannot_be_dropped(application: psycopg.Connection) -> None:
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="is not closed"):
        application.execute("SELECT metering_drop_month(metering_month_name(now()))")


@pytest.mark.django_db
def test_a_table_of_the_callers_does_not_take_the_place_of_ours() -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE metering_keyhorizon (consolidated_before timestamptz) ON COMMIT DROP")
        cursor.execute("INSERT INTO metering_keyhorizon VALUES ('infinity')")
        with pytest.raises(IntegrityError, match="is not closed"):
            cursor.execute("SELECT metering_drop_month(metering_month_name(now()))")


@pytest.mark.django_db
def test_doctor_names_a_role_that_could_stand_tables_in_the_place_of_ours() -> None:
    assert not may_shadow(connection=connection, role=ROLE)
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_database()")
        cursor.execute(f'GRANT TEMPORARY ON DATABASE "{cursor.fetchone()[0]}" TO PUBLIC')

    assert may_shadow(connection=connection, role=ROLE)
    [finding] = [one for one in diagnose() if one.subject == "application role"]
    assert finding.state is State.WRONG
    assert "REVOKE TEMPORARY" in finding.remedy


def test_a_busy_house_is_run_billed_and_verified_by_the_application(as_application: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT session_user, current_user")
        assert cursor.fetchone() == (ROLE, ROLE)

    a_busy_house()
    extend_chain(at=SEPTEMBER)

    assert verify() == []


@pytest.mark.django_db
def test_every_regular_job_runs_as_the_application_also_the_one_that_makes_months() -> None:
    a_busy_house()
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL ROLE {ROLE}")

    for module in (metering_tasks, invoicing_tasks):
        for job in module.REGULAR_JOBS:
            getattr(module, job.task.rpartition(".")[2])()


@pytest.mark.django_db
def test_a_rate_of_tax_is_ended_by_the_application() -> None:
    germany()
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL ROLE {ROLE}")

    ended = end_dated(row=TaxRate.objects.get(), valid_to=date(2027, 1, 1), **BY)

    assert TaxRate.objects.get().valid_to == ended.valid_to == date(2027, 1, 1)


@pytest.mark.django_db
def test_a_table_that_is_new_can_be_read_and_the_next_migration_grants_the_rest() -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE something_new (id int)")
        cursor.execute(
            "SELECT has_table_privilege(%s, 'something_new', 'SELECT'), has_table_privilege(%s, 'something_new', 'UPDATE')",
            [ROLE, ROLE],
        )
        assert cursor.fetchone() == (True, False)

    assert len(missing_privileges(connection=connection, role=ROLE)) == 3
    call_command("migrate", verbosity=0)
    assert missing_privileges(connection=connection, role=ROLE) == []


@pytest.mark.django_db
def test_the_doctor_says_when_the_application_could_be_the_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    def told() -> tuple[State, str]:
        [finding] = [one for one in diagnose() if one.subject == "application role"]
        return finding.state, finding.found

    assert told() == (State.WELL, "web and worker connect as billing_application, which owns nothing")
    with connection.cursor() as cursor:
        cursor.execute("REVOKE INSERT ON invoicing_posting FROM billing_application")
    assert told() == (State.WRONG, "billing_application lacks 1 privileges: INSERT on invoicing_posting")
    monkeypatch.setattr(settings, "DATABASE_APPLICATION_USER", "billing")
    assert told() == (State.WRONG, "billing is missing, or could become the owner")
    monkeypatch.setattr(settings, "DATABASE_APPLICATION_USER", "")
    assert told()[0] is State.NOTE


def test_web_worker_and_rollup_are_told_to_be_the_application() -> None:
    address = Address("127.0.0.1", 1)

    started = programs(web=address, web_workers=1, sandbox=address, public_url="http://x")

    assert {program.environment["DATABASE_ROLE"] for program in started} == {"application"}


OWNER, APPLICATION = "postgresql://owner:o@db.example:5432/books", "postgresql://teller:t@db.example:5432/books"


def test_another_server_has_two_logins_and_each_process_one_of_them(tmp_path: Path) -> None:
    entries = {
        role: database_settings(database_url=OWNER, application_url=APPLICATION, role=role, data_dir=tmp_path)
        for role in ("owner", "application")
    }

    assert {role: entry["USER"] for role, entry in entries.items()} == {"owner": "owner", "application": "teller"}
    assert application_user(database_url=OWNER, application_url=APPLICATION) == "teller"
    assert application_user(database_url=OWNER, application_url="") == ""
    assert database_settings(database_url=OWNER, role="application", data_dir=tmp_path)["USER"] == "owner"
    assert database_settings(database_url="", role="application", data_dir=tmp_path)["USER"] == "billing_application"


@pytest.mark.parametrize(
    ("database_url", "application_url", "role"),
    [
        ("", APPLICATION, "owner"),
        (OWNER, "postgresql://teller:secret@other.example:5432/books", "owner"),
        (OWNER, "sqlite:///secret", "application"),
        (OWNER, APPLICATION, "secret"),
    ],
)
def test_logins_that_do_not_fit_together_are_refused_without_a_password(
    database_url: str, application_url: str, role: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="DATABASE_") as refused:
        database_settings(database_url=database_url, application_url=application_url, role=role, data_dir=tmp_path)

    assert "secret" not in str(refused.value)


@pytest.mark.django_db
def test_a_role_that_another_server_lacks_is_named_with_how_to_make_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "ENGINE", "django.db.backends.postgresql")

    with pytest.raises(Exception, match=r'(?s)DATABASE_APPLICATION_URL.*CREATE ROLE "nobody_here" LOGIN'):
        grant_privileges(connection=connection, role="nobody_here")
