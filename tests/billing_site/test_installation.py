"""What the README tells the owner of a new installation to do is what works."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.core.management import call_command
from django.db import connection

from invoicing.catalog.models import PlanVersion
from metering.models import Meter
from tests.billing_site.test_database_fast_migrations import throwaway_database

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs" / "catalog.example.yaml"
DEMO = ROOT / "billing_site" / "demo" / "catalog.yaml"
NO_TABLES = "The database has no tables yet (or is behind): run `python manage.py migrate`"


@pytest.mark.django_db
def test_the_example_catalog_loads_on_an_empty_database_and_again_without_a_change(
    capsys: pytest.CaptureFixture[str],
) -> None:
    call_command("load_catalog", str(EXAMPLE))
    call_command("load_catalog", str(EXAMPLE))

    assert re.search(r"created 10, changed 0, unchanged 0\n.*created 0, changed 0", capsys.readouterr().out, re.DOTALL)


@pytest.mark.django_db
def test_the_example_catalog_loads_beside_the_demo_and_changes_nothing_of_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    call_command("load_catalog", str(DEMO))
    meters, versions = (
        set(Meter.objects.values_list("pk", "key", "event_type", "aggregation", "value_property")),
        set(PlanVersion.objects.values_list("pk", "digest")),
    )
    capsys.readouterr()

    call_command("load_catalog", str(EXAMPLE))

    assert capsys.readouterr().out.endswith("created 10, changed 0, unchanged 0\n")
    assert meters < set(Meter.objects.values_list("pk", "key", "event_type", "aggregation", "value_property"))
    assert versions < set(PlanVersion.objects.values_list("pk", "digest"))


def test_the_readme_loads_the_example_catalog_that_is_tested_here() -> None:
    assert f"load_catalog {EXAMPLE.relative_to(ROOT)}" in (ROOT / "README.md").read_text()


@pytest.mark.django_db(transaction=True)
def test_every_command_that_needs_tables_says_that_they_are_missing(tmp_path: Path) -> None:
    usage = tmp_path / "usage.csv"
    usage.write_text("event_type,timestamp,customer_id,quantity\nt,2026-07-01T00:00:00Z,c,1\n")
    with throwaway_database(name="test_without_tables"):
        url = url_of_database("test_without_tables")
        for command in (
            ["load_catalog", str(EXAMPLE)],
            ["import_events", str(usage)],
            ["bill", "--as-of", "2026-08-01"],
            ["bill", "--as-of", "2026-08-01", "--issue"],
            ["verify"],
            ["work"],
            ["create_api_key", "x", "--scope", "usage:read"],
        ):
            told = manage(*command, DATABASE_URL=url, SECRET_KEY="x" * 50)

            assert told.returncode == 1, command
            assert told.stderr.splitlines()[-1:] == [NO_TABLES], (command, told.stderr)
            assert "Traceback" not in told.stdout + told.stderr


def url_of_database(name: str) -> str:
    with connection.cursor():
        server: Any = connection.connection.info
    return f"postgresql://{server.user}:{quote(server.password)}@{quote(server.host, safe='')}:{server.port}/{name}"


def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", str(ROOT / "manage.py"), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
