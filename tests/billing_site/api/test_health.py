"""/health says whether requests can be served, and never crashes (S1-097)."""

from datetime import timedelta

import pytest
from django.db import OperationalError
from django.test import Client
from django_q.models import OrmQ, Schedule

from billing_site.api import health
from billing_site.kernel import jobs
from billing_site.kernel.clock import now
from tests.factories import JULY, use

JOB = jobs.RegularJob(name="Tick", task="billing_site.api.tasks.forget_old_answers", cron="* * * * *")


@pytest.mark.requirement("S1-097")
@pytest.mark.django_db
def test_a_house_in_order_answers_200():
    response = Client().get("/health")

    assert response.status_code == 200
    report = response.json()
    assert report | {"worker": ""} == {
        "status": "ok",
        "stripe_configured": True,
        "stripe_mode": "sandbox",
        "database": "ok",
        "migrations": "ok",
        "queue": {"waiting": 0, "oldest_seconds": 0},
        "worker": "",
        "rollup": {"state": "ok", "waiting": 0, "lag_seconds": 0},
        "stripe": {"state": "ok", "since": None},
    }
    assert "no-store" in response.headers["Cache-Control"]


@pytest.mark.django_db
def test_missing_migrations_are_a_503(monkeypatch):
    monkeypatch.setattr(health._Migrated, "found", False)
    monkeypatch.setattr(health.MigrationExecutor, "migration_plan", lambda *_: ["one"])

    response = Client().get("/health")

    assert response.status_code == 503
    assert response.json()["migrations"] == "missing"


def test_without_a_database_the_answer_is_a_503_and_no_trace(monkeypatch):
    def unreachable(*_: object) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr("django.db.backends.base.base.BaseDatabaseWrapper.ensure_connection", unreachable)

    response = Client().get("/health")

    assert response.status_code == 503
    assert response.json() == {
        "status": "unavailable",
        "stripe_configured": True,
        "stripe_mode": "sandbox",
        "database": "down",
        "migrations": "unknown",
        "queue": None,
        "worker": "unknown",
        "rollup": None,
        "stripe": None,
    }


@pytest.mark.django_db
def test_the_mode_of_stripe_is_told(settings):
    settings.STRIPE_IS_SANDBOX = False
    assert Client().get("/health").json()["stripe_mode"] == "test"
    settings.STRIPE_LIVE_MODE = True
    assert Client().get("/health").json()["stripe_mode"] == "live"


@pytest.mark.django_db
def test_a_worker_is_alive_while_schedules_are_punctual_and_no_job_waits_long():
    at = now()
    assert not jobs.queue_state(at=at).worker_is_alive

    jobs.ensure_schedules([JOB])
    Schedule.objects.update(next_run=at - timedelta(seconds=120))
    assert jobs.queue_state(at=at).worker_is_alive
    Schedule.objects.update(next_run=at - timedelta(seconds=121))
    assert not jobs.queue_state(at=at).worker_is_alive

    Schedule.objects.update(next_run=at)
    OrmQ.objects.create(key="billing", payload="", lock=at - timedelta(seconds=121))
    OrmQ.objects.create(key="billing", payload="", lock=at + timedelta(seconds=270))
    state = jobs.queue_state(at=at)
    assert (state.waiting, state.oldest_seconds, state.worker_is_alive) == (1, 121, False)


@pytest.mark.django_db
def test_events_that_no_rollup_has_passed_are_an_alarm_that_takes_nobody_out_of_service(settings):
    settings.ROLLUP_LAG_ALARM_SECONDS = -1
    use("cust_a", "1", at=JULY)

    response = Client().get("/health")

    assert response.status_code == 200
    assert response.json()["rollup"] == {"state": "late", "waiting": 1, "lag_seconds": 0}
