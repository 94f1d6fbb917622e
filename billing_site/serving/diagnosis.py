"""What `manage.py doctor` looks at: each question answered with what was found and, where it is not well, how to mend it."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from django.conf import settings
from django.core import checks
from django.db import DatabaseError, connection
from django_q.models import Failure

from billing_site.database.privileges import may_shadow, missing_privileges, owns_nothing
from billing_site.database.settings import EMBEDDED_ENGINE
from billing_site.kernel.clock import now, server_moment
from billing_site.kernel.errors import BillingError
from billing_site.kernel.jobs import LATE_AFTER, queue_state
from billing_site.serving.readiness import missing_migrations
from invoicing.entities.models import FIRST, LegalEntity
from invoicing.evidence.models import Anchor, EvidenceBlock
from invoicing.payments.queries import payment_health
from invoicing.workflows.verify import check_guards_are_on
from metering.queries import backlog

POSTGRESQL_MIN = 150_000
SKEW_MAX = timedelta(seconds=2)
FREE_BYTES_MIN = 1_000_000_000
GIGABYTE = 1_000_000_000
FAILURES_SINCE = timedelta(days=1)
ANCHOR_AGE_MAX = timedelta(days=2)


class State(StrEnum):
    """How it stands."""

    WELL = "ok"
    NOTE = "note"
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    """The answer to one question; `remedy` is empty where all is well."""

    subject: str
    state: State
    found: str
    remedy: str = ""


def diagnose() -> list[Finding]:
    """Ask every question. What needs the database is left out where it does not answer."""
    findings = [*_configuration(), *_stripe(), *_disk(), *_database()]
    if any(finding.subject == "database" and finding.state is State.WRONG for finding in findings):
        return findings
    migrations = _asked(_migrations, subject="migrations")
    findings += migrations
    if all(finding.state is not State.WRONG for finding in migrations):
        for subject, question in (
            ("triggers", _triggers),
            ("application role", _application_role),
            ("sellers", _sellers),
            ("queue", _queue),
            ("rollup", _rollup),
            ("payments", _payments),
            ("evidence", _evidence),
        ):
            findings += _asked(question, subject=subject)
    return [*findings, *_asked(_clock, subject="clock")]


def _asked(question: Callable[[], Iterator[Finding]], *, subject: str) -> list[Finding]:
    """Ask one question of the database; that it cannot be answered is an answer."""
    try:
        return list(question())
    except (DatabaseError, BillingError) as error:
        connection.close()
        return [Finding(subject, State.WRONG, f"cannot be told: {_first_line(error)}", "See the other lines.")]


def _configuration() -> Iterator[Finding]:
    problems = [message for message in checks.run_checks() if not message.is_silenced()]
    for message in problems:
        state = State.WRONG if message.level >= checks.ERROR else State.NOTE
        yield Finding("configuration", state, message.msg, message.hint or "See `manage.py check`.")
    if not problems:
        file = Path(settings.BASE_DIR) / ".env"
        yield Finding("configuration", State.WELL, f"from {file}" if file.exists() else "defaults and environment")


def _stripe() -> Iterator[Finding]:
    if settings.STRIPE_IS_SANDBOX:
        yield Finding("stripe", State.WELL, f"no key: the sandbox on {settings.SANDBOX_BIND} plays Stripe")
    elif settings.STRIPE_LIVE_MODE:
        yield Finding("stripe", State.NOTE, "LIVE key: invoices charge real money", "Intended? Otherwise use sk_test_.")
    else:
        yield Finding("stripe", State.WELL, "test key")
    if not settings.STRIPE_WEBHOOK_SECRET:
        yield Finding(
            "webhooks",
            State.WRONG,
            "STRIPE_WEBHOOK_SECRET is not set: webhooks are refused",
            f"Make an endpoint for {settings.PUBLIC_URL}/webhooks/stripe at Stripe; set its signing secret.",
        )


def _disk() -> Iterator[Finding]:
    folder = Path(settings.DATA_DIR)
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        remedy = "Make the folder, or set BILLING_DATA_DIR to one where this user may write."
        yield Finding("data folder", State.WRONG, f"{folder} cannot be written", remedy)
        return
    free = shutil.disk_usage(folder).free
    found = f"{folder}, {free / GIGABYTE:.1f} GB free"
    if free < FREE_BYTES_MIN:
        yield Finding("data folder", State.WRONG, found, "Make room: PostgreSQL stops when the disk is full.")
    else:
        yield Finding("data folder", State.WELL, found)


def _database() -> Iterator[Finding]:
    is_embedded = settings.DATABASES["default"]["ENGINE"] == EMBEDDED_ENGINE
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('server_version_num')::int, current_setting('server_version')")
            number, version = cursor.fetchone()
    except (DatabaseError, BillingError, OSError) as error:
        remedy = (
            "See the log that `manage.py database status` names."
            if is_embedded
            else "Is it running, and is DATABASE_URL right (host, port, user, password, database)?"
        )
        yield Finding("database", State.WRONG, f"does not answer: {_first_line(error)}", remedy)
        return
    found = f"PostgreSQL {version}, {'embedded' if is_embedded else 'from DATABASE_URL'}"
    if number < POSTGRESQL_MIN:
        yield Finding("database", State.WRONG, found, "Needs PostgreSQL 15 or newer.")
    else:
        yield Finding("database", State.WELL, found)


def _migrations() -> Iterator[Finding]:
    missing = missing_migrations()
    if missing:
        yield Finding("migrations", State.WRONG, f"{missing} are missing", "Run `manage.py migrate`.")
    else:
        yield Finding("migrations", State.WELL, "all applied")


def _triggers() -> Iterator[Finding]:
    off = list(check_guards_are_on())
    for finding in off:
        yield Finding(
            "triggers", State.WRONG, f"{finding.subject}: {finding.message}", "Run `manage.py pgtrigger install`."
        )
    if not off:
        yield Finding("triggers", State.WELL, "every guard is on")


def _application_role() -> Iterator[Finding]:
    role = settings.DATABASE_APPLICATION_USER
    if not role:
        yield Finding(
            "application role",
            State.NOTE,
            "web and worker connect as the owner of the tables, who can switch triggers off",
            "Make a role that owns nothing and name it in DATABASE_APPLICATION_URL.",
        )
    elif not owns_nothing(connection=connection, role=role):
        remedy = "Let it be a role of its own: NOSUPERUSER NOCREATEROLE, owner of no table, member of no owner."
        yield Finding("application role", State.WRONG, f"{role} is missing, or could become the owner", remedy)
    elif may_shadow(connection=connection, role=role):
        found = f"{role} can make tables of its own, which guards would find in the place of ours"
        remedy = "As the owner of the database: REVOKE TEMPORARY, CREATE ON DATABASE ... FROM PUBLIC; REVOKE CREATE ON SCHEMA ... FROM PUBLIC."
        yield Finding("application role", State.WRONG, found, remedy)
    elif missing := missing_privileges(connection=connection, role=role):
        found = f"{role} lacks {len(missing)} privileges: {', '.join(missing[:3])}"
        yield Finding("application role", State.WRONG, found, "Run `manage.py migrate`, which grants them.")
    else:
        yield Finding("application role", State.WELL, f"web and worker connect as {role}, which owns nothing")


def _sellers() -> Iterator[Finding]:
    entities = list(LegalEntity.objects.order_by("key").values_list("key", "email"))
    example = [key for key, email in entities if email.endswith("@example.com")]
    holder = settings.STRIPE_LEGAL_ENTITY
    if holder not in (FIRST, *(key for key, _ in entities)):
        found = f"STRIPE_LEGAL_ENTITY names {holder}, and there is none: nothing that Stripe takes can be booked"
        yield Finding("sellers", State.WRONG, found, "Name the key of a legal entity: who has the account at Stripe.")
    elif settings.STRIPE_LIVE_MODE and example:
        found = f"documents name the example seller ({', '.join(example)}), and the key of Stripe's is a live one"
        yield Finding("sellers", State.NOTE, found, "Say in the admin, under Legal entities, who sells.")
    else:
        yield Finding("sellers", State.WELL, ", ".join(key for key, _ in entities) or "the settings name the first")


def _queue() -> Iterator[Finding]:
    at = now()
    queue = queue_state(at=at)
    found = f"{queue.waiting} waiting, the oldest for {queue.oldest_seconds} s"
    if queue.worker_is_alive:
        yield Finding("queue", State.WELL, f"{found}; a worker is there")
    elif queue.waiting and queue.oldest_seconds > LATE_AFTER.total_seconds():
        yield Finding("queue", State.WRONG, f"{found}; no worker takes them", "Start `manage.py serve`.")
    else:
        yield Finding("queue", State.NOTE, f"{found}; no worker is running", "`manage.py serve` runs one.")
    failed = Failure.objects.filter(stopped__gte=at - FAILURES_SINCE).count()
    if failed:
        yield Finding("jobs", State.NOTE, f"{failed} attempts failed within a day", "See Failed tasks in the admin.")


def _rollup() -> Iterator[Finding]:
    waiting = backlog()
    if not waiting.events:
        yield Finding("rollup", State.WELL, "every accepted event is counted or listed")
        return
    lag_seconds = int(waiting.lag(at=now()).total_seconds())
    found = f"{waiting.events} accepted events are in no window yet, the oldest for {lag_seconds} s"
    if lag_seconds > settings.ROLLUP_LAG_ALARM_SECONDS:
        remedy = "Is `manage.py roll_up --watch` running (`manage.py serve` runs it)? Its output says what stops it."
        yield Finding("rollup", State.WRONG, found, remedy)
    else:
        yield Finding("rollup", State.WELL, found)


def _payments() -> Iterator[Finding]:
    health = payment_health()
    late = health.pushes_delayed + health.notices_delayed
    found = f"{health.pushes_done} invoices pushed, {health.pushes_pending} pending, {health.notices_waiting} notices waiting"
    if health.pushes_refused:
        yield Finding(
            "payments",
            State.NOTE,
            f"Stripe refused {health.pushes_refused} invoices",
            "See refused pushes in the admin.",
        )
    elif late:
        yield Finding(
            "payments", State.NOTE, f"{found}; {late} had to be put off", "They are tried again; see the admin."
        )
    else:
        yield Finding("payments", State.WELL, found)


def _evidence() -> Iterator[Finding]:
    anchor = Anchor.objects.order_by("-made_at").first()
    head = EvidenceBlock.objects.order_by("-number").first()
    remedy = "`manage.py serve` makes one every night, `manage.py anchor` now; keep them elsewhere (ANCHOR_EMAIL)."
    if head is None:
        yield Finding("evidence", State.WELL, "nothing is carved in stone yet")
    elif anchor is None:
        yield Finding("evidence", State.NOTE, f"{head.last_row} rows are in the chain, no anchor was made yet", remedy)
    else:
        found = f"{head.last_row} rows are in the chain, the last anchor is of {anchor.made_at:%Y-%m-%d %H:%M} UTC"
        is_old = now() - anchor.made_at > ANCHOR_AGE_MAX
        yield Finding("evidence", State.NOTE if is_old else State.WELL, found, remedy if is_old else "")


def _clock() -> Iterator[Finding]:
    before = now()
    there = server_moment()
    after = now()
    skew = max(before - there, there - after, timedelta(0))
    found = f"database and this machine differ by {skew.total_seconds():.1f} s"
    if skew > SKEW_MAX:
        yield Finding("clock", State.WRONG, found, "Let both follow a time server (chrony, systemd-timesyncd).")
    else:
        yield Finding("clock", State.WELL, found)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
