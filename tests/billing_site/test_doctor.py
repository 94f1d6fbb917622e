"""What is wrong is found, and told with what to do about it."""

import ast
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django_q.models import OrmQ

from billing_site import checks
from billing_site.kernel.clock import now
from billing_site.kernel.jobs import ensure_schedules
from billing_site.serving.diagnosis import State, diagnose
from billing_site.serving.readiness import regular_jobs
from invoicing.entities.operations import first_entity
from invoicing.tax.stripe_questions import PROVIDER as STRIPE_TAX
from tests.factories import JULY, use

ROOT = Path(__file__).resolve().parents[2]


def found(subject: str) -> tuple[State, str, str]:
    [finding] = [finding for finding in diagnose() if finding.subject == subject]
    return finding.state, finding.found, finding.remedy


def problems() -> dict[str, str]:
    return {str(message.id): message.msg for message in checks.check_settings()}


@pytest.mark.django_db
def test_a_fresh_installation_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    ensure_schedules(regular_jobs())

    call_command("doctor")

    told = capsys.readouterr().out
    assert all(
        word in told for word in ("database", "migrations", "triggers", "queue", "stripe", "clock", "data folder")
    )
    assert "wrong" not in told


@pytest.mark.django_db
def test_a_trigger_that_is_switched_off_is_found() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE metering_usageevent DISABLE TRIGGER USER")

    states = {finding.state for finding in diagnose() if finding.subject == "triggers"}

    assert states == {State.WRONG}
    with pytest.raises(SystemExit, match="1"):
        call_command("doctor")


@pytest.mark.django_db
def test_an_accepted_event_that_is_in_no_window_is_told_and_after_too_long_it_is_wrong(settings: Any) -> None:
    assert found("rollup") == (State.WELL, "every accepted event is counted or listed", "")
    use("cust_a", "1", at=JULY)
    waits = found("rollup")
    settings.ROLLUP_LAG_ALARM_SECONDS = -1

    state, told, remedy = found("rollup")

    # However long the test itself takes.
    waiting = re.compile(r"1 accepted events are in no window yet, the oldest for \d+ s")
    assert waits[0] == State.WELL and waiting.fullmatch(waits[1])
    assert state == State.WRONG and waiting.fullmatch(told)
    assert "manage.py roll_up --watch" in remedy
    with pytest.raises(SystemExit, match="1"):
        call_command("doctor")


@pytest.mark.django_db
def test_a_migration_that_is_missing_is_found_and_nothing_is_asked_that_depends_on_it() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'invoicing'")

    state, _found, remedy = found("migrations")

    assert (state, remedy) == (State.WRONG, "Run `manage.py migrate`.")
    assert not [finding for finding in diagnose() if finding.subject in ("queue", "payments")]


@pytest.mark.django_db
def test_jobs_that_nobody_takes_are_found() -> None:
    ensure_schedules(regular_jobs())
    OrmQ.objects.create(key="billing", payload="x", lock=now() - timedelta(minutes=10))

    state, told, remedy = found("queue")

    assert state is State.WRONG
    assert "1 waiting" in told and "no worker takes them" in told
    assert "manage.py serve" in remedy


@pytest.mark.django_db
def test_a_real_key_without_a_webhook_secret_is_wrong(settings: Any) -> None:
    settings.STRIPE_IS_SANDBOX = False
    settings.STRIPE_WEBHOOK_SECRET = ""

    state, told, remedy = found("webhooks")

    assert state is State.WRONG and "refused" in told and "/webhooks/stripe" in remedy


@pytest.mark.django_db
def test_a_live_key_is_pointed_out(settings: Any) -> None:
    settings.STRIPE_IS_SANDBOX, settings.STRIPE_LIVE_MODE = False, True

    state, told, _remedy = found("stripe")

    assert state is State.NOTE and "real money" in told


@pytest.mark.django_db
def test_a_data_folder_that_cannot_be_written_is_found(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path / "nowhere"

    assert found("data folder")[0] is State.WRONG


def test_a_database_that_does_not_answer_is_told_without_a_trace() -> None:
    environment = {"DATABASE_URL": "postgresql://somebody:secret@127.0.0.1:1/nothing", "SECRET_KEY": "x" * 50}

    told = subprocess.run(
        [sys.executable, "-W", "ignore", str(ROOT / "manage.py"), "doctor"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert told.returncode == 1
    assert "does not" in told.stdout and "DATABASE_URL" in told.stdout
    assert "Traceback" not in told.stdout + told.stderr
    assert "secret" not in told.stdout + told.stderr


def test_the_default_settings_have_no_problem() -> None:
    assert problems() == {}


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("STRIPE_SECRET_KEY", "pk_test_something", "billing.E001"),
        ("STRIPE_WEBHOOK_SECRET", "", "billing.W002"),
        ("PUBLIC_URL", "billing.example.com", "billing.E005"),
        ("PUBLIC_URL", "https://billing.example.com/", "billing.E005"),
        ("SANDBOX_BIND", "0.0.0.0:12111", "billing.E006"),
        ("DEFAULT_CURRENCY", "EURO", "billing.E010"),
        ("DEFAULT_CURRENCY", "PLN", "billing.E011"),
        ("SECRET_KEY", "short", "billing.W013"),
        ("TAX_PROVIDER", "invoicing.tax.nobody.Knows", "billing.E020"),
        ("TAX_PROVIDER", STRIPE_TAX, "billing.W021"),
        ("STRIPE_TAX_ANSWER_DAYS", 32, "billing.E022"),
        ("STRIPE_TAX_ANSWER_DAYS", -1, "billing.E022"),
    ],
)
def test_a_setting_that_cannot_be_is_named(settings: Any, name: str, value: Any, problem: str) -> None:
    setattr(settings, name, value)

    assert problem in problems()


def test_jobs_may_not_be_retried_while_they_still_run(settings: Any) -> None:
    settings.Q_CLUSTER = {**settings.Q_CLUSTER, "timeout": 120, "retry": 240}
    assert "billing.E009" in problems()

    settings.Q_CLUSTER = {**settings.Q_CLUSTER, "retry": 241}
    assert "billing.E009" not in problems()


def test_a_live_key_needs_care(settings: Any) -> None:
    settings.STRIPE_LIVE_MODE, settings.DEBUG = True, True

    assert {"billing.E003", "billing.W004"} <= set(problems())


@pytest.mark.django_db
def test_nobody_takes_real_money_as_the_example_seller(settings: Any) -> None:
    first_entity()
    assert found("sellers")[0] == State.WELL
    settings.STRIPE_LIVE_MODE = True

    state, told, remedy = found("sellers")

    assert (state, told) == (
        State.NOTE,
        "documents name the example seller (main), and the key of Stripe's is a live one",
    )
    assert "Legal entities" in remedy


def test_every_setting_is_in_the_example_and_nothing_else() -> None:
    tree = ast.parse((ROOT / "billing_site" / "settings.py").read_text())
    read = {
        str(node.args[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "env"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }
    described = set(re.findall(r"^# ([A-Z][A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))

    assert described == read


def test_live_money_with_mail_that_goes_nowhere_is_told(settings: Any) -> None:
    assert "billing.W023" not in problems()
    settings.STRIPE_LIVE_MODE = True
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"

    assert "no notice reaches them" in problems()["billing.W023"]
    settings.EMAIL_BACKEND = "anymail.backends.postmark.EmailBackend"
    assert "billing.W023" not in problems()


@pytest.mark.parametrize(("secret", "is_wrong"), [("", False), ("user:password", False), ("alone", True), (":x", True)])
def test_the_secret_of_mail_webhooks_is_a_user_and_a_password(settings: Any, secret: str, is_wrong: bool) -> None:
    settings.MAIL_WEBHOOK_SECRET = secret

    assert ("billing.E024" in problems()) == is_wrong
