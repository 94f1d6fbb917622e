"""Background jobs: the only caller of django-q2.

A job queued inside a transaction commits or vanishes with it: queueing is the outbox. Delivery is
at least once, so every job must have one effect however often it runs.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Min
from django.dispatch import receiver
from django_q.brokers import Broker
from django_q.conf import Conf
from django_q.models import OrmQ, Schedule, Task
from django_q.signals import pre_execute
from django_q.tasks import async_task

from billing_site.kernel.clock import now
from billing_site.kernel.requests import begin, new_name, request_id
from billing_site.kernel.written_query import WrittenQuery

# The scheduler looks every half minute; a schedule that is later than this has nobody to run it.
LATE_AFTER = timedelta(seconds=120)


@dataclass(frozen=True)
class QueueState:
    """How many jobs wait for a worker, for how long the oldest one, and whether a worker seems to be there."""

    waiting: int
    oldest_seconds: int
    worker_is_alive: bool


@dataclass(frozen=True)
class RegularJob:
    """A task that the scheduler queues again and again; `name` identifies it, `cron` says when (UTC)."""

    name: str
    task: str
    cron: str


@receiver(pre_execute)
def _begin_as_requested(task: dict[str, Any], **signal: object) -> None:
    """Let a job be told under the name of the request that queued it; of one that the scheduler queued, under its own."""
    begin(task.get("group") or new_name(of="job"))


def queue(task: str, *arguments: int | str) -> None:
    """Queue a task by its dotted name; arguments are ids, never objects."""
    async_task(task, *arguments, group=request_id())


def queue_later(task: str, *arguments: int | str, due_at: datetime) -> None:
    """Queue a task that no worker takes before a moment."""
    gathered = _Gathering()
    async_task(task, *arguments, group=request_id(), broker=gathered)
    OrmQ.objects.create(key=gathered.list_key, payload=gathered.payloads[0], lock=due_at)


def queue_each(task: str, ids: Iterable[int]) -> None:
    """Queue a task once for each id, in this order, with one statement for all of them."""
    gathered = _Gathering()
    for number in ids:
        async_task(task, number, group=request_id(), broker=gathered)
    moment = now()
    OrmQ.objects.bulk_create(
        [OrmQ(key=gathered.list_key, payload=payload, lock=moment) for payload in gathered.payloads]
    )


class _Gathering(Broker):
    """Stands in for the queue's broker: what it is given is kept, to be written at once."""

    def __init__(self) -> None:
        super().__init__(list_key=Conf.CLUSTER_NAME)
        self.payloads: list[str] = []

    def enqueue(self, task: str) -> int:
        """Keep a signed package; return how many there are, which is what the queue logs."""
        self.payloads.append(task)
        return len(self.payloads)


def withdraw(task: str) -> int:
    """Take the jobs of a task out of the queue, where what they were queued for is done already; returns how many."""
    waiting = [job.pk for job in OrmQ.objects.order_by("pk") if job.func() == task]
    OrmQ.objects.filter(pk__in=waiting).delete()
    return len(waiting)


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


def queue_state(*, at: datetime) -> QueueState:
    """Return the state of the queue at a moment.

    A worker runs in another process: that schedules are punctual and no job waits long is the proof of its life.
    """
    waiting = OrmQ.objects.filter(lock__lte=at).aggregate(count=Count("id"), oldest=Min("lock"))
    due = Schedule.objects.exclude(repeats=0).aggregate(next=Min("next_run"))["next"]
    oldest = max(timedelta(0), at - waiting["oldest"]) if waiting["oldest"] else timedelta(0)
    punctual = due is not None and at - due <= LATE_AFTER
    return QueueState(waiting["count"], int(oldest.total_seconds()), punctual and oldest <= LATE_AFTER)


def oldest_waiting(*, at: datetime) -> datetime:
    """Return since when the oldest job waits that a worker could take; the given moment where none waits."""
    found = _OLDEST.rows(at=at)
    return found[0][0] if found else at


# Each sweep of an outbox asks it: written once.
_OLDEST = WrittenQuery(
    lambda at: OrmQ.objects.filter(lock__lte=at).order_by("lock").values_list("lock")[:1], at=datetime
)


def stands_still(*, at: datetime, since: datetime) -> bool:
    """Tell whether nothing was finished since a moment although jobs wait, or schedules are due, from before it.

    A worker that looks at this after it has been there since that moment is stuck: one of its processes was killed
    while it held a lock that the others wait for, and none of them will ever know.
    """
    assert since < at, "a worker needs time to do something"
    jobs_wait = OrmQ.objects.filter(lock__lte=since).exists()
    schedules_wait = Schedule.objects.exclude(repeats=0).filter(next_run__lte=since - LATE_AFTER).exists()
    return (jobs_wait or schedules_wait) and not Task.objects.filter(stopped__gte=since).exists()
