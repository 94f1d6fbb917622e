"""Background jobs of metering."""

from billing_site.kernel.jobs import RegularJob
from metering.archiving.schedule import archive_some_days, keep_retention
from metering.partitions import consolidate_keys, make_months_ahead, open_present_month
from metering.rollup import roll_up

REGULAR_JOBS = (
    RegularJob(name="Roll up usage", task="metering.tasks.roll_up_usage", cron="* * * * *"),
    RegularJob(name="Keep months of events", task="metering.tasks.keep_months", cron="5 0 * * *"),
    RegularJob(name="Archive closed days", task="metering.tasks.archive_days", cron="25 0 * * *"),
    RegularJob(name="Look at retention", task="metering.tasks.look_at_retention", cron="40 3 * * 1"),
)


def roll_up_usage() -> str:
    """Sum new events into hourly windows; running twice counts nothing twice."""
    report = roll_up()
    return f"{report.events} events in {report.windows} windows, up to event {report.rolled_up_to}"


def keep_months() -> str:
    """Make the partitions of the months ahead, open the present one, and remember the keys of closed ones."""
    make_months_ahead()
    open_present_month()
    return f"{consolidate_keys()} keys of closed months remembered"


def archive_days() -> str:
    """Archive the days that are closed; running twice archives nothing twice."""
    return archive_some_days()


def look_at_retention() -> str:
    """Say what could be purged, and purge it only where RETENTION_PURGE says so (S2-034)."""
    return keep_retention()
