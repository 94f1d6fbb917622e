"""Before and after the start: the database is as the code wants it, the schedules are in place, the web answers."""

import time
from collections.abc import Callable

import requests
from django.conf import settings
from django.core.management import call_command
from django.db import ProgrammingError, connection
from django.db.migrations.executor import MigrationExecutor

from billing_site.api.tasks import REGULAR_JOBS as API_JOBS
from billing_site.backoffice.roles import ensure_roles
from billing_site.database.fast_migrations import migrating_alone
from billing_site.database.privileges import grant_privileges
from billing_site.kernel.clock import now
from billing_site.kernel.jobs import RegularJob, ensure_schedules
from dunning.notices.template_operations import install_built_ins
from dunning.policies.operations import ensure_presets
from dunning.tasks import REGULAR_JOBS as DUNNING_JOBS
from invoicing.entities.operations import first_entity
from invoicing.tasks import REGULAR_JOBS as INVOICING_JOBS
from metering.tasks import REGULAR_JOBS as METERING_JOBS

# A relation or a column that the code knows and the database does not (PostgreSQL, appendix A).
UNDEFINED = ("42P01", "42703")
POLL_SECONDS = 0.1
ANSWER_TIMEOUT_SECONDS = 5


def regular_jobs() -> list[RegularJob]:
    """Return what the scheduler queues again and again, of every app."""
    return [*METERING_JOBS, *INVOICING_JOBS, *DUNNING_JOBS, *API_JOBS]


def migrate_if_needed(*, say: Callable[[str], None]) -> None:
    """Bring the database's tables, and what web and worker may do with them, to what the code wants; silent where they are."""
    steps = missing_migrations()
    if steps:
        say(f"Migrating the database ({steps} steps) ...")
        call_command("migrate", interactive=False, verbosity=0)
    elif settings.DATABASE_APPLICATION_USER:
        with migrating_alone(connection=connection):
            grant_privileges(connection=connection, role=settings.DATABASE_APPLICATION_USER)


def missing_migrations() -> int:
    """Count the migrations that the code has and the database does not."""
    executor = MigrationExecutor(connection)
    return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def is_for_want_of_migrations(*, error: ProgrammingError) -> bool:
    """Say whether a statement failed for a table or column that a missing migration would make."""
    return getattr(error.__cause__, "sqlstate", None) in UNDEFINED and missing_migrations() > 0


def install_schedules_and_roles() -> None:
    """Let the scheduler run exactly our regular jobs, and the roles exist that staff are given, somebody who sells, words to tell customers and policies to chase them by."""
    ensure_schedules(regular_jobs())
    ensure_roles()
    first_entity()
    install_built_ins(at=now())
    ensure_presets()


def wait_until_healthy(*, url: str, seconds: float, go_on: Callable[[], bool]) -> bool:
    """Ask `/health` until it says ok, at most so long and as long as `go_on` says so; tell whether it did."""
    until = time.monotonic() + seconds
    with requests.Session() as session:
        session.trust_env = False
        while go_on() and time.monotonic() < until:
            try:
                if session.get(f"{url}/health", timeout=ANSWER_TIMEOUT_SECONDS).status_code == requests.codes.ok:
                    return True
            except requests.RequestException:
                pass
            time.sleep(POLL_SECONDS)
    return False
