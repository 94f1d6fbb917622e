"""Background jobs of metering."""

from billing_site.kernel.jobs import RegularJob
from metering.partitions import consolidate_keys, make_months_ahead, open_present_month
from metering.rollup import roll_up

REGULAR_JOBS = (
    RegularJob(name="Roll up usage", task="metering.tasks.roll_up_usage", cron="* * * * *"),
    RegularJob(name="Keep months of events", task="metering.tasks.keep_months", cron="5 0 * * *"),
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
