"""Background jobs of metering."""

from billing_site.kernel.jobs import RegularJob
from metering.rollup import roll_up

REGULAR_JOBS = (RegularJob(name="Roll up usage", task="metering.tasks.roll_up_usage", cron="* * * * *"),)


def roll_up_usage() -> str:
    """Sum new events into hourly windows; running twice counts nothing twice."""
    report = roll_up()
    return f"{report.events} events in {report.windows} windows, up to event {report.rolled_up_to}"
