"""Whether the house stands: database, migrations, queue, worker, Stripe's mode (S1-097)."""

from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from billing_site.kernel import clock, jobs
from billing_site.kernel.errors import BillingError
from invoicing.payments.breaker import outage_now
from metering.queries import backlog

UNKNOWN = "unknown"


@never_cache
@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """Answer 200 while requests can be served, 503 while they cannot; never with a stack trace."""
    report = {
        "stripe_configured": bool(settings.STRIPE_SECRET_KEY),
        "stripe_mode": stripe_mode(),
        **_database_state(),
    }
    well = report["database"] == "ok" and report["migrations"] == "ok"
    return JsonResponse({"status": "ok" if well else "unavailable", **report}, status=200 if well else 503)


def stripe_mode() -> str:
    """Return which Stripe the pushes go to: `sandbox` (our own), `test` or `live`."""
    if settings.STRIPE_IS_SANDBOX:
        return "sandbox"
    return "live" if settings.STRIPE_LIVE_MODE else "test"


def _database_state() -> dict[str, Any]:
    state: dict[str, Any] = {
        "database": "down",
        "migrations": UNKNOWN,
        "queue": None,
        "worker": UNKNOWN,
        "rollup": None,
        "stripe": None,
    }
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        state["database"] = "ok"
        state["migrations"] = "ok" if _is_migrated() else "missing"
        if state["migrations"] == "ok":
            queue = jobs.queue_state(at=clock.now())
            state["queue"] = {"waiting": queue.waiting, "oldest_seconds": queue.oldest_seconds}
            state["worker"] = "ok" if queue.worker_is_alive else "absent"
            # A rollup that lags is no reason to take the web out of service: what is accepted is safe, and usage complete.
            state["rollup"] = _rollup_state()
            state["stripe"] = _stripe_state()
    # An embedded server that cannot be started is a foreseen failure of ours, not of the driver.
    except (DatabaseError, InterfaceError, BillingError, OSError):
        connection.close()
    return state


def _rollup_state() -> dict[str, Any]:
    waiting = backlog()
    lag_seconds = int(waiting.lag(at=clock.now()).total_seconds())
    state = "late" if lag_seconds > settings.ROLLUP_LAG_ALARM_SECONDS else "ok"
    return {"state": state, "waiting": waiting.events, "lag_seconds": lag_seconds}


def _stripe_state() -> dict[str, Any]:
    """Return whether Stripe is called; that it is not keeps nobody from reading, and what is to be sent waits (S2-030)."""
    outage = outage_now()
    if outage is None:
        return {"state": "ok", "since": None}
    # The address is open to all; why it is so is told in the back office.
    return {"state": "stopped" if outage.is_by_hand else "out", "since": outage.opened_at.isoformat()}


class _Migrated:
    """What was found migrated stays migrated: the graph is not laid out again for every question."""

    found = False


def _is_migrated() -> bool:
    if not _Migrated.found:
        executor = MigrationExecutor(connection)
        _Migrated.found = not executor.migration_plan(executor.loader.graph.leaf_nodes())
    return _Migrated.found
