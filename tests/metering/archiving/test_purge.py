"""A month leaves the database only when it is archived, counted and needed by nobody; what it counted stays."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection

from billing_site.kernel.errors import InvalidInput
from billing_site.kernel.period import Period
from metering.archiving.export import archive_closed_days
from metering.archiving.purge import PurgeRefused, purge_events
from metering.archiving.restore import restore_month
from metering.archiving.retention import needed_from, retention
from metering.archiving.schedule import keep_retention
from metering.ingest import accept_events, dedup_key
from metering.listing import listing_faults
from metering.models import EventArchive, EventConflict, KnownKey, Meter, RetentionRun, UnappliedEvent, UsageEvent
from metering.operations import backdate_meter
from metering.partitions import months
from metering.queries import conservation, usage_between, usage_windows
from metering.rollup import roll_up
from metering.tasks import REGULAR_JOBS
from tests.factories import an_event
from tests.metering.archiving.past import (
    PastEvent,
    a_meter,
    accepted_long_ago,
    an_hour_of,
    months_ago,
    turn_horizon_back,
)

OLD = months_ago(18)
HOUR = an_hour_of(OLD)


def now() -> datetime:
    return datetime.now(UTC)


def an_old_month(*more: PastEvent, aggregation: str = "sum") -> None:
    """A counted and archived month that nobody needs."""
    a_meter(aggregation=aggregation, value_property="user" if aggregation == "unique_count" else "")
    accepted_long_ago(
        [
            PastEvent("one", HOUR, quantity="2", properties={"user": "ann"}),
            PastEvent("two", HOUR + timedelta(minutes=30), quantity="3", properties={"user": "bob"}),
            *more,
        ]
    )
    roll_up()
    archive_closed_days()


def reasons() -> list[str]:
    (month,) = retention(at=now()).months
    return list(month.reasons)


def usage(month: datetime = OLD) -> Decimal:
    end = month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)
    return usage_between(meter_key="actions", customer_id="cust_a", period=Period(month, end))


@pytest.mark.requirement("S2-033")
@pytest.mark.django_db
def test_looking_purges_nothing_and_says_which_month_may_go() -> None:
    an_old_month()

    call_command("purge_events")

    assert UsageEvent.objects.count() == 2
    (run,) = RetentionRun.objects.all()
    assert (run.applied, run.purged_events) == (False, 0)
    assert run.months[0] | {"bytes": 0} == {
        "month": f"{OLD:%Y-%m}",
        "events": 2,
        "bytes": 0,
        "windows": 1,
        "purged": False,
        "reasons": [],
    }


@pytest.mark.requirement("S2-035")
@pytest.mark.django_db
@pytest.mark.parametrize("word", ["", "confirm", "CONFIRM ", "yes"])
def test_without_the_word_nothing_is_purged(word: str) -> None:
    an_old_month()

    with pytest.raises(CommandError, match="CONFIRM was not given"):
        call_command("purge_events", "--apply", "--confirm", word)

    assert UsageEvent.objects.count() == 2


@pytest.mark.requirement("S2-035")
@pytest.mark.django_db
def test_whoever_is_asked_must_type_the_word(monkeypatch: pytest.MonkeyPatch) -> None:
    an_old_month()
    asked: list[str] = []

    def answer(question: str) -> str:
        asked.append(question)
        return "n"

    monkeypatch.setattr("builtins.input", answer)
    with pytest.raises(CommandError, match="CONFIRM was not given"):
        call_command("purge_events", "--apply")

    assert asked == ["2 events leave the database. Type CONFIRM to purge them: "]
    assert UsageEvent.objects.count() == 2


@pytest.mark.requirement("S2-033")
@pytest.mark.django_db
def test_a_confirmed_purge_drops_the_month_and_keeps_what_it_counted(capsys: Any) -> None:
    an_old_month()

    call_command("purge_events", "--apply", "--confirm", "CONFIRM", "--actor", "alice")

    assert f"{OLD:%Y-%m}: 2 events purged" in capsys.readouterr().out
    assert UsageEvent.objects.count() == 0
    assert OLD not in [month.start for month in months()]
    assert usage() == 5
    assert all(row.balanced for row in conservation())
    window = Meter.objects.get().windows.get()
    assert (window.event_count, window.archived_count, window.archived_value) == (2, 2, 5)
    assert EventArchive.objects.get().is_purged
    run = RetentionRun.objects.order_by("-id")[0]
    assert (run.actor, run.applied, run.purged_events, run.months[0]["purged"]) == ("alice", True, 2, True)
    assert purge_events(at=now(), actor="again").purged == ()


@pytest.mark.requirement("S0-105")
@pytest.mark.django_db
def test_an_old_duplicate_is_still_a_duplicate_and_a_contradiction_still_a_conflict() -> None:
    an_old_month(PastEvent("plain", HOUR, quantity="4"))
    purge_events(at=now(), actor="test")

    same = accept_events(events=[an_event("cust_a", "4", at=now(), key="plain")])
    other = accept_events(events=[an_event("cust_a", "5", at=now(), key="plain")])
    new = accept_events(events=[an_event("cust_b", "4", at=now(), key="plain")])

    assert (same.accepted, same.duplicates, same.conflicts) == (0, 1, ())
    assert (other.accepted, other.duplicates, len(other.conflicts)) == (0, 0, 1)
    assert new.accepted == 1
    conflict = EventConflict.objects.get()
    key = dedup_key(customer_id="cust_a", idempotency_key="plain")
    assert conflict.event_number == KnownKey.objects.get(dedup_key=key).number
    assert conflict.accepted is None


@pytest.mark.requirement("S2-034")
@pytest.mark.django_db
def test_the_weekly_job_only_looks_unless_the_settings_say_otherwise(settings: Any) -> None:
    an_old_month()

    looked = keep_retention()
    kept = UsageEvent.objects.count()
    settings.RETENTION_PURGE = "apply"
    applied = keep_retention()

    (job,) = [job for job in REGULAR_JOBS if job.task == "metering.tasks.look_at_retention"]
    assert job.cron.split()[-1] == "1", "weekly, on Mondays"
    assert (looked, kept) == ("0 months purged, 1 could be, 0 stay", 2)
    assert (applied, UsageEvent.objects.count()) == ("1 months purged, 0 could be, 0 stay", 0)
    assert list(RetentionRun.objects.order_by("id").values_list("applied", flat=True)) == [False, True]


def become_the_application() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL ROLE {django_settings.DATABASE_APPLICATION_USER}")


@pytest.mark.django_db
def test_the_worker_purges_though_it_owns_no_table(settings: Any) -> None:
    an_old_month()
    settings.RETENTION_PURGE = "apply"

    become_the_application()

    assert keep_retention() == "1 months purged, 0 could be, 0 stay"


@pytest.mark.django_db
def test_nobody_drops_a_month_that_is_not_archived_to_its_last_event() -> None:
    an_old_month()
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("UPDATE metering_eventarchive SET last_number = last_number - 1")
        cursor.execute("SET LOCAL session_replication_role = origin")
        become_the_application()
        with pytest.raises(IntegrityError, match="is not archived as a whole"):
            cursor.execute("SELECT metering_drop_month(metering_month_name(%s))", [OLD])


@pytest.mark.django_db
def test_the_open_month_stays() -> None:
    a_meter()
    accept_events(events=[an_event("cust_a", "1", at=now())])

    assert reasons() == ["it is open"]


@pytest.mark.django_db
def test_a_month_within_retention_stays_to_the_day(settings: Any) -> None:
    settings.RETENTION_MONTHS = 14
    limit = needed_from(at=datetime(2026, 11, 21, tzinfo=UTC))
    settings.RETENTION_MONTHS = 1
    shorter = needed_from(at=datetime(2026, 11, 21, tzinfo=UTC))
    settings.RETENTION_MONTHS = 24
    longer = needed_from(at=datetime(2026, 11, 21, tzinfo=UTC))
    settings.RETENTION_MONTHS, settings.DISPUTE_DAYS = 14, 500
    disputed = needed_from(at=datetime(2026, 11, 21, tzinfo=UTC))

    assert limit == datetime(2025, 9, 1, tzinfo=UTC)
    assert shorter == datetime(2025, 10, 17, tzinfo=UTC), "400 days whatever the settings say"
    assert longer == datetime(2024, 11, 1, tzinfo=UTC)
    assert disputed == datetime(2025, 6, 8, tzinfo=UTC), "500 days and a period"


@pytest.mark.django_db
def test_a_month_that_is_young_stays() -> None:
    a_meter()
    accepted_long_ago([PastEvent("one", an_hour_of(months_ago(13)))])
    roll_up()
    archive_closed_days()

    (reason,) = reasons()
    assert "are needed (14 months of retention, 400 days of keys, 120 days of dispute)" in reason


@pytest.mark.django_db
def test_a_month_without_an_archive_stays() -> None:
    a_meter()
    accepted_long_ago([PastEvent("one", HOUR), PastEvent("two", an_hour_of(OLD, day=7))])
    roll_up()
    archive_closed_days(days_max=1)

    assert reasons() == ["2 events, of which 1 are archived"]


@pytest.mark.django_db
def test_a_month_that_a_meter_has_not_counted_stays() -> None:
    a_meter()
    accepted_long_ago([PastEvent("one", HOUR)])
    archive_closed_days()

    assert reasons()[0] == "the meter actions has counted up to number 0 only"


@pytest.mark.django_db
def test_a_month_whose_keys_are_not_consolidated_stays() -> None:
    an_old_month()
    turn_horizon_back(OLD)

    assert reasons() == ['its keys are not consolidated yet: the nightly job "Keep months of events" does that']


@pytest.mark.django_db
def test_a_month_with_a_correction_on_its_way_stays() -> None:
    an_old_month()
    event = UsageEvent.objects.order_by("id")[0]
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO metering_eventcancellation (number, event_number, customer_id, idempotency_key, reason, actor)"
            " VALUES (nextval('metering_usageevent_id_seq'), %s, 'cust_a', 'one', 'wrong', 'test')",
            [event.pk],
        )

    assert "1 corrections are not in the windows yet" in reasons()
    roll_up()
    assert reasons() == []


@pytest.mark.django_db
def test_a_month_with_an_unsettled_contradiction_stays() -> None:
    an_old_month(PastEvent("plain", HOUR))
    accept_events(events=[an_event("cust_a", "99", at=now(), key="plain")])

    assert reasons() == ["1 contradictions of its events are not settled"]


@pytest.mark.django_db
def test_a_month_whose_file_is_damaged_stays(archive_folder: Path) -> None:
    an_old_month()
    (path,) = archive_folder.rglob("*.gz")
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)

    (reason,) = reasons()
    assert reason.startswith(f"the archive of {HOUR.date()} is not what was recorded")
    assert purge_events(at=now(), actor="test").purged == ()
    path.unlink()
    assert "cannot be read" in reasons()[0]


@pytest.mark.django_db
def test_a_month_with_an_event_that_can_still_be_disputed_stays() -> None:
    an_old_month(PastEvent("ahead", HOUR, at=now() - timedelta(days=10)))

    (reason,) = reasons()
    assert "can still be disputed" in reason


def somebody_needs_it(*, span: Period, at: datetime) -> list[str]:
    return [f"needed from {span.start:%H:%M:%S} to {span.end:%H:%M:%S.%f}"]


@pytest.mark.django_db
def test_a_month_that_somebody_needs_stays(settings: Any) -> None:
    an_old_month()
    settings.RETENTION_HOLDS = [f"{__name__}.somebody_needs_it"]

    assert reasons() == ["needed from 10:00:00 to 10:30:00.000001"]


@pytest.mark.django_db
def test_windows_that_disagree_with_events_are_mended_before_anything_goes() -> None:
    an_old_month()
    Meter.objects.get().windows.update(value=6)

    with pytest.raises(PurgeRefused, match="windows and events of actions disagree"):
        purge_events(at=now(), actor="test")

    assert UsageEvent.objects.count() == 2


@pytest.mark.django_db
def test_what_is_listed_of_purged_events_stays_listed() -> None:
    an_old_month(PastEvent("stray", HOUR, event_type="nobody.counts"))
    purge_events(at=now(), actor="test")
    a_meter("others", "count")
    roll_up()

    assert UnappliedEvent.objects.get().event_type == "nobody.counts"
    assert listing_faults() == []
    restore_month(month=OLD)
    assert listing_faults() == []


@pytest.mark.django_db
def test_a_new_meter_cannot_pretend_to_count_what_is_purged() -> None:
    an_old_month()
    purge_events(at=now(), actor="test")
    purged_until = HOUR + timedelta(minutes=30)

    with pytest.raises(InvalidInput, match="restore their months first"):
        a_meter("early", effective_from=purged_until)
    with pytest.raises(InvalidInput, match="restore their months first"):
        backdate_meter(key=a_meter("late", effective_from=now()).key, effective_from=OLD, actor="t", reason="t")
    later = a_meter("later", effective_from=purged_until + timedelta(microseconds=1))
    by_itself = a_meter("by_itself")

    assert later.effective_from > purged_until
    assert by_itself.effective_from > purged_until
    roll_up()
    assert all(row.balanced for row in conservation())
    restore_month(month=OLD)
    assert all(row.balanced for row in conservation())


@pytest.mark.django_db
def test_hours_are_asked_for_as_before() -> None:
    an_old_month()
    period = Period(OLD, OLD + timedelta(days=10))
    before = usage_windows(meter_key="actions", customer_id="cust_a", period=period, granularity="hour")

    purge_events(at=now(), actor="test")

    assert usage_windows(meter_key="actions", customer_id="cust_a", period=period, granularity="hour") == before
