"""Background jobs: the only caller of django-q2.

A job queued inside a transaction commits or vanishes with it: queueing is the outbox. Delivery is
at least once, so every job must have one effect however often it runs.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from django_q.models import Schedule
from django_q.tasks import async_task


@dataclass(frozen=True)
class RegularJob:
    """A task that the scheduler queues again and again; `name` identifies it, `cron` says when (UTC)."""

    name: str
    task: str
    cron: str


def queue(task: str, *arguments: int | str) -> None:
    """Queue a task by its dotted name; arguments are ids, never objects."""
    async_task(task, *arguments)


def ensure_schedules(jobs: Iterable[RegularJob]) -> None:
    """Make the scheduler's table hold exactly these jobs; running it again changes nothing."""
    wanted = {job.name: job for job in jobs}
    Schedule.objects.exclude(name__in=wanted).delete()
    for job in wanted.values():
        schedule, created = Schedule.objects.get_or_create(
            name=job.name, defaults={"func": job.task, "schedule_type": Schedule.CRON, "cron": job.cron}
        )
        if not created and (schedule.func, schedule.cron) != (job.task, job.cron):
            schedule.func, schedule.cron = job.task, job.cron
            schedule.save(update_fields=["func", "cron"])
