"""The archive's part in the job schedule: archive every night, look at retention every week (S2-034)."""

from django.conf import settings

from billing_site.kernel.clock import now
from billing_site.kernel.jobs import queue
from metering.archiving.export import archive_closed_days
from metering.archiving.purge import PurgeReport, look_at_retention, purge_events

# One job archives so many days and queues the next: a worker's time is limited, and a million events take 20 seconds.
DAYS_A_JOB = 1
ACTOR = "weekly schedule"


def archive_some_days() -> str:
    """Archive the oldest closed days that are not archived yet, and queue the rest."""
    report = archive_closed_days(days_max=DAYS_A_JOB)
    if report.days_left:
        queue("metering.tasks.archive_days")
    events = sum(row.event_count for row in report.archived)
    return f"{len(report.archived)} days with {events} events archived, {report.days_left} left"


def keep_retention() -> str:
    """Record which months could be purged, and why the others not; purge them only where the settings say so (S2-035)."""
    at = now()
    if settings.RETENTION_PURGE == "apply":
        report = purge_events(at=at, actor=ACTOR)
    else:
        report = PurgeReport(look_at_retention(at=at, actor=ACTOR), ())
    return (
        f"{len(report.purged)} months purged, {len(report.looked_at.ready) - len(report.purged)} could be, "
        f"{len(report.looked_at.months) - len(report.looked_at.ready)} stay"
    )
