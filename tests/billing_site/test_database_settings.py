"""DATABASE_URL names any PostgreSQL; without it the embedded one is used, and what is missing is told plainly."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from billing_site.database import binaries
from billing_site.database.account import Account, server_account
from billing_site.database.binaries import Binaries, find_binaries
from billing_site.database.errors import EmbeddedDatabaseError
from billing_site.database.settings import database_settings
from tests.billing_site.database_clients import ROOT

ORDINARY = Path("/usr/lib/postgresql/15/bin")


def test_without_a_url_the_embedded_server_is_named_and_nothing_is_made(tmp_path: Path) -> None:
    entry = database_settings(database_url="", data_dir=tmp_path / "data")

    assert entry["ENGINE"] == "billing_site.database.postgresql"
    assert (entry["NAME"], entry["USER"], entry["CONN_HEALTH_CHECKS"]) == ("billing", "billing", True)
    assert not (tmp_path / "data").exists()


def test_a_url_names_an_ordinary_server(tmp_path: Path) -> None:
    url = "postgresql://teller:s%2Fecret@db.example:6432/books?sslmode=require"

    entry = database_settings(database_url=url, data_dir=tmp_path)

    assert entry["ENGINE"] == "django.db.backends.postgresql"
    assert [entry[key] for key in ("USER", "PASSWORD", "HOST", "PORT", "NAME")] == [
        "teller",
        "s/ecret",
        "db.example",
        6432,
        "books",
    ]
    assert entry["OPTIONS"] == {"sslmode": "require"}
    assert entry["CONN_HEALTH_CHECKS"] is True and entry["CONN_MAX_AGE"] == 60


@pytest.mark.parametrize("url", ["postgresql://teller@%2Frun%2FPG/books", "postgresql://teller@/books?host=/run/PG"])
def test_a_url_may_name_the_folder_of_a_socket_as_libpq_has_it(url: str, tmp_path: Path) -> None:
    entry = database_settings(database_url=url, data_dir=tmp_path)

    assert (entry["HOST"] or entry["OPTIONS"]["host"]) == "/run/PG"
    assert (entry["USER"], entry["NAME"]) == ("teller", "books")


@pytest.mark.parametrize("url", ["sqlite:///secret.db", "mysql://u:secret@h/d", "secret", "postgresql://u:secret@h/"])
def test_a_url_that_cannot_be_used_is_refused_without_repeating_its_password(url: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="DATABASE_URL") as refused:
        database_settings(database_url=url, data_dir=tmp_path)

    assert "secret" not in str(refused.value)


def test_where_there_is_no_wheel_the_error_names_the_platform_and_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "candidate_folders", list)

    with pytest.raises(EmbeddedDatabaseError, match=rf"(?s){sys.platform}.*DATABASE_URL"):
        find_binaries(cluster_major=None)


def test_where_there_is_no_wheel_the_package_of_the_system_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "WHEEL", "no_such_wheel")
    if not ORDINARY.is_dir():
        pytest.skip("no PostgreSQL in /usr/lib/postgresql")

    assert find_binaries(cluster_major=None).major >= binaries.OLDEST_MAJOR


def test_a_cluster_gets_the_programs_of_its_own_version(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {Path("/new"): Binaries(folder=Path("/new"), major=19), Path("/old"): Binaries(Path("/old"), major=18)}
    monkeypatch.setattr(binaries, "candidate_folders", lambda: list(installed))
    monkeypatch.setattr(binaries, "_binaries_in", installed.get)

    assert find_binaries(cluster_major=None).major == 19
    assert find_binaries(cluster_major=18).folder == Path("/old")
    with pytest.raises(EmbeddedDatabaseError, match=r"made by PostgreSQL 17, but the installed version is 19, 18"):
        find_binaries(cluster_major=17)


@pytest.fixture
def ordinary_url(tmp_path: Path) -> Iterator[str]:
    """The URL of a PostgreSQL 15 as Debian installs it, started with its own means."""
    if not ORDINARY.is_dir():
        pytest.skip("no PostgreSQL 15 of the system here")
    cluster = tmp_path / "ordinary"
    cluster.mkdir()
    able = server_account(cluster=tmp_path / "absent")
    able = Account(uid=able.uid, gid=able.gid, capability=2) if os.geteuid() == 0 else able
    able.own(cluster)
    pg_ctl = [str(ORDINARY / "pg_ctl"), "-D", str(cluster)]
    initdb = [str(ORDINARY / "initdb"), "-D", str(cluster), "-U", "teller", "--auth=trust", "--no-sync"]
    assert able.run(command=initdb, directory=cluster).returncode == 0
    options = f"-c listen_addresses='' -c unix_socket_directories={cluster} -c fsync=off"
    start = [*pg_ctl, "-w", "-l", str(cluster / "log"), "-o", options, "start"]
    assert able.run(command=start, directory=cluster).returncode == 0
    yield f"postgresql://teller@{quote(str(cluster), safe='')}/postgres"
    able.run(command=[*pg_ctl, "-m", "immediate", "stop"], directory=cluster)


@pytest.mark.slow
def test_the_project_migrates_on_an_ordinary_postgresql_15(ordinary_url: str, tmp_path: Path) -> None:
    environment = {**os.environ, "DATABASE_URL": ordinary_url, "BILLING_DATA_DIR": str(tmp_path / "data")}

    runs = [manage(*command, environment=environment) for command in (["migrate"], ["migrate"], ["database", "status"])]

    assert [run.returncode for run in runs[:2]] == [0, 0], runs[0].stderr + runs[1].stderr
    assert "No migrations to apply" in runs[1].stdout
    assert runs[2].returncode == 1 and "external" in runs[2].stderr
    assert not (tmp_path / "data" / "postgresql").exists()


@pytest.mark.slow
def test_web_and_worker_have_a_login_of_their_own_at_an_ordinary_postgresql(ordinary_url: str, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "DATABASE_URL": ordinary_url,
        "DATABASE_APPLICATION_URL": ordinary_url.replace("teller@", "cashier@"),
        "BILLING_DATA_DIR": str(tmp_path / "data"),
    }
    lacking = manage("migrate", environment=environment)
    with psycopg.connect(ordinary_url, autocommit=True) as connection:
        connection.execute("CREATE ROLE cashier LOGIN")

    granted = manage("migrate", environment=environment)

    assert lacking.returncode == 1 and 'CREATE ROLE "cashier" LOGIN' in lacking.stderr
    assert granted.returncode == 0, granted.stderr
    assert manage("verify", environment={**environment, "DATABASE_ROLE": "application"}).returncode == 0
    told = " ".join(manage("doctor", environment={**environment, "COLUMNS": "300"}).stdout.split())
    assert "web and worker connect as cashier, which owns nothing" in told


def test_the_database_command_starts_describes_and_stops_the_server(tmp_path: Path) -> None:
    environment = {**os.environ, "DATABASE_URL": "", "BILLING_DATA_DIR": str(tmp_path / "data")}

    def database(action: str) -> subprocess.CompletedProcess[str]:
        return manage("database", action, environment=environment)

    assert database("status").returncode == 3
    assert database("start").returncode == 0
    running = database("status")
    assert running.returncode == 0 and "running" in running.stdout and "kept" in running.stdout
    assert database("stop").returncode == 0
    assert database("status").returncode == 3


def manage(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a management command in a process of its own."""
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
