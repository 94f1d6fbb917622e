"""Take months of events out of the database: only what is archived, counted and needed by nobody (S2-033, S2-035)."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from django.db import OperationalError, connection, transaction

from billing_site.kernel.clock import now
from billing_site.kernel.errors import Conflict
from metering.archiving.contributions import gather, put_aside
from metering.archiving.retention import MonthOfEvents, Retention, look_at, retention
from metering.models import (
    ARCHIVE_LOCK,
    EventArchive,
    EventCancellation,
    KeyHorizon,
    Meter,
    MeterBackdating,
    RetentionRun,
)
from metering.queries.control import conservation
from metering.rollup import roll_up

# Whoever reads or writes events waits behind us for so long at most.
LOCK_TIMEOUT = "3s"
LOCK_NOT_AVAILABLE = "55P03"


class PurgeRefused(Conflict):
    """The months stay; the message says why."""

    code = "purge_refused"


@dataclass(frozen=True)
class PurgeReport:
    """What was looked at, which months went, and why one that seemed ready did not."""

    looked_at: Retention
    purged: tuple[MonthOfEvents, ...]
    refused: tuple[tuple[str, str], ...] = ()

    @property
    def purged_events(self) -> int:
        """How many events left the database."""
        return sum(month.event_count for month in self.purged)


def look_at_retention(*, at: datetime, actor: str) -> Retention:
    """Record what a purge would do, and why not more (S2-034); purges nothing."""
    looked_at = retention(at=at)
    _record(PurgeReport(looked_at, ()), actor=actor, applied=False)
    return looked_at


def purge_events(*, at: datetime, actor: str) -> PurgeReport:
    """Purge every month that may go, each in a transaction of its own; running it again purges nothing more.

    Rolls up first. Raises PurgeRefused where windows and events disagree: what is wrong must be mended while both are
    there. A month that cannot be locked, or of which something changed meanwhile, stays and is told.
    """
    roll_up()
    looked_at = retention(at=at)
    purged: list[MonthOfEvents] = []
    refused: list[tuple[str, str]] = []
    if looked_at.ready:
        _refuse_imbalance()
    for month in looked_at.ready:
        try:
            purged.append(_purge(month, at=at))
        except PurgeRefused as problem:
            refused.append((month.name, problem.message))
    report = PurgeReport(looked_at, tuple(purged), tuple(refused))
    _record(report, actor=actor, applied=True)
    return report


def _refuse_imbalance() -> None:
    differing = [row.meter for row in conservation() if not row.balanced]
    if differing:
        raise PurgeRefused(
            f"windows and events of {', '.join(differing)} disagree; run `manage.py verify` and mend that first: "
            "afterwards nobody could"
        )


@transaction.atomic
def _purge(seen: MonthOfEvents, *, at: datetime) -> MonthOfEvents:
    month = seen.month
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [ARCHIVE_LOCK])
    if not _is_attached(month.table):
        raise PurgeRefused("somebody else has purged it")
    # All that takes long comes before the locks; what may change meanwhile is asked for again under them.
    again = look_at(month=month, at=at)
    if again.reasons:
        raise PurgeRefused("; ".join(again.reasons))
    known = _cursors()
    gather(start=month.start, end=month.end)
    # From here on no rollup writes windows: those that do take the meters first, too.
    list(Meter.objects.order_by("pk").select_for_update(no_key=True))
    if missing := put_aside():
        raise PurgeRefused(f"{missing} windows do not hold what the month's events count; run `manage.py verify`")
    assert KeyHorizon.objects.get().consolidated_before >= month.end, "the keys of a purged month are remembered"
    try:
        _drop(month.table, unless_changed=lambda: _refuse_changes(again, known))
    except OperationalError as busy:
        if getattr(busy.__cause__, "sqlstate", None) != LOCK_NOT_AVAILABLE:
            raise
        raise PurgeRefused("somebody reads or writes events for long; nothing was purged, try again") from busy
    EventArchive.objects.filter(day__gte=month.start.date(), day__lt=month.end.date()).update(
        purged_at=now(), restored_at=None
    )
    return again


def _is_attached(table: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM pg_inherits WHERE inhrelid = to_regclass(%s)", [table])
        return cursor.rowcount == 1


def _cursors() -> dict[int, int]:
    return dict(Meter.objects.values_list("pk", "rolled_up_to"))


def _drop(table: str, *, unless_changed: Callable[[], None]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        # Functions of the owner: the worker owns no table.
        cursor.execute("SELECT metering_lock_events()")
        unless_changed()
        cursor.execute("SELECT metering_drop_month(%s)", [table])
        cursor.execute("SET LOCAL lock_timeout = 0")


def _refuse_changes(month: MonthOfEvents, known: dict[int, int]) -> None:
    """Refuse where a correction or a meter came while the month was counted; with the events locked no more can come."""
    since = min(known.values(), default=0)
    changed = (
        EventCancellation.objects.filter(
            number__gt=since, event_number__gte=month.first_number, event_number__lte=month.last_number
        ).exists()
        or MeterBackdating.objects.filter(number__gt=since).exists()
        or _cursors().keys() != known.keys()
    )
    if changed:
        raise PurgeRefused("a correction or a new meter came meanwhile; try again")


def _record(report: PurgeReport, *, actor: str, applied: bool) -> RetentionRun:
    gone = {month.name for month in report.purged}
    refused = dict(report.refused)
    return RetentionRun.objects.create(
        actor=actor,
        applied=applied,
        purged_events=report.purged_events,
        months=[
            {
                "month": month.name,
                "events": month.event_count,
                "bytes": month.month.bytes_used,
                "windows": month.windows,
                "purged": month.name in gone,
                "reasons": [*month.reasons, *([refused[month.name]] if month.name in refused else [])],
            }
            for month in report.looked_at.months
        ],
    )
