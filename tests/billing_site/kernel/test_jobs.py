"""When the queue stands still, and when it is only busy or idle."""

from datetime import UTC, datetime, timedelta

import pytest
from django_q.models import OrmQ, Schedule, Success

from billing_site.kernel.jobs import stands_still

AT = datetime(2026, 8, 1, 12, tzinfo=UTC)
SINCE = AT - timedelta(seconds=130)

pytestmark = pytest.mark.django_db


def wait_since(moment: datetime) -> None:
    OrmQ.objects.create(key="billing", payload="x", lock=moment)


def finished(at: datetime) -> None:
    Success.objects.create(id=str(at), name="x", func="x", started=at, stopped=at, success=True)


def test_an_empty_queue_is_idle() -> None:
    assert not stands_still(at=AT, since=SINCE)


def test_jobs_that_wait_while_nothing_is_finished_stand_still() -> None:
    wait_since(SINCE)
    finished(SINCE - timedelta(seconds=1))

    assert stands_still(at=AT, since=SINCE)


def test_jobs_that_wait_while_others_are_finished_have_only_to_wait() -> None:
    wait_since(SINCE)
    finished(SINCE)

    assert not stands_still(at=AT, since=SINCE)


def test_jobs_that_came_a_moment_ago_have_not_waited() -> None:
    wait_since(SINCE + timedelta(microseconds=1))

    assert not stands_still(at=AT, since=SINCE)


def test_schedules_that_nobody_queues_stand_still() -> None:
    Schedule.objects.create(name="x", func="x", next_run=SINCE - timedelta(seconds=120))
    assert stands_still(at=AT, since=SINCE)

    Schedule.objects.update(next_run=SINCE - timedelta(seconds=119))
    assert not stands_still(at=AT, since=SINCE)
