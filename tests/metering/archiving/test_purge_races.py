"""A purge among others at work: it waits briefly, gives way, and never takes what somebody is changing."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from invoicing.workflows.verify import verify
from metering.archiving import purge
from metering.archiving.export import archive_closed_days
from metering.archiving.purge import purge_events
from metering.archiving.restore import restore_month
from metering.correcting import cancel_event
from metering.ingest import accept_events
from metering.models import EventArchive, KeyHorizon, UsageEvent, UsageWindow
from metering.partitions import months
from metering.queries import conservation
from metering.rollup import roll_up
from tests.factories import an_event
from tests.metering.archiving.past import PastEvent, a_meter, accepted_long_ago, an_hour_of, months_ago
from tests.metering.conftest import Crowd

pytestmark = pytest.mark.django_db(transaction=True)
OLD = months_ago(18)
TABLE = f"metering_usageevent_y{OLD:%Y}m{OLD:%m}"


def now() -> datetime:
    return datetime.now(UTC)


def run(statement: str, *parameters: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


@pytest.fixture(autouse=True)
def an_old_month() -> Iterator[None]:
    """A month that may go; afterwards the tables and the horizon are as they were."""
    before = KeyHorizon.objects.get()
    a_meter()
    accepted_long_ago([PastEvent(f"k{number}", an_hour_of(OLD) + timedelta(seconds=number)) for number in range(20)])
    roll_up()
    archive_closed_days()
    yield
    run(f"DROP TABLE IF EXISTS {TABLE}")
    run("SET session_replication_role = replica")
    run("UPDATE metering_keyhorizon SET consolidated_before = %s", before.consolidated_before)
    run("SET session_replication_role = origin")


def purged() -> tuple[list[str], list[str]]:
    report = purge_events(at=now(), actor="test")
    return [month.name for month in report.purged], [why for _, why in report.refused]


def is_here() -> bool:
    return OLD in [month.start for month in months()]


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Any]) -> None:
    """Let something happen between the count of the month and the moment at which it goes."""
    gather = purge.gather

    def gather_and_act(**span: Any) -> int:
        found = gather(**span)
        with_own_connection = threading.Thread(target=lambda: (act(), connection.close()))
        with_own_connection.start()
        with_own_connection.join(30)
        return found

    monkeypatch.setattr(purge, "gather", gather_and_act)


def test_a_long_reader_is_not_waited_for(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purge, "LOCK_TIMEOUT", "300ms")
    reading, may_end = threading.Event(), threading.Event()

    def read_slowly() -> None:
        with transaction.atomic():
            assert UsageEvent.objects.count() == 20
            reading.set()
            may_end.wait(30)

    reader = crowd.begin(read_slowly)
    assert reading.wait(30)
    went, refused = purged()
    may_end.set()
    reader.result(timeout=30)

    assert (went, refused) == ([], ["somebody reads or writes events for long; nothing was purged, try again"])
    assert UsageWindow.objects.get().archived_count == 0
    assert not EventArchive.objects.get().is_purged
    assert purged() == ([f"{OLD:%Y-%m}"], [])


def test_verify_sees_all_of_a_purge_or_nothing(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [crowd.begin(verify) for _ in range(3)]
    went: list[str] = []
    while not went:
        went, _ = purged()
    looks += [crowd.begin(verify) for _ in range(3)]

    assert [look.result(timeout=60) for look in looks] == [[]] * 6


def test_a_correction_that_comes_meanwhile_keeps_the_month(monkeypatch: pytest.MonkeyPatch) -> None:
    meanwhile(
        monkeypatch,
        lambda: cancel_event(customer_id="cust_a", idempotency_key="k3", actor="test", reason="wrong"),
    )

    went, refused = purged()

    assert (went, refused) == ([], ["a correction or a new meter came meanwhile; try again"])
    monkeypatch.undo()
    assert purged() == ([f"{OLD:%Y-%m}"], [])
    assert all(row.balanced for row in conservation())
    restore_month(month=OLD)
    assert all(row.balanced for row in conservation())
    assert UsageWindow.objects.get().event_count == 19


def test_a_correction_that_is_counted_meanwhile_keeps_the_month(monkeypatch: pytest.MonkeyPatch) -> None:
    def cancel_and_count() -> None:
        cancel_event(customer_id="cust_a", idempotency_key="k3", actor="test", reason="wrong")
        roll_up()

    meanwhile(monkeypatch, cancel_and_count)

    assert purged()[0] == []
    assert all(row.balanced for row in conservation())


def test_a_meter_that_is_made_meanwhile_keeps_the_month(monkeypatch: pytest.MonkeyPatch) -> None:
    meanwhile(monkeypatch, lambda: a_meter("another", "count", effective_from=OLD))

    assert purged()[0] == []
    monkeypatch.undo()
    assert purged()[0] == [f"{OLD:%Y-%m}"]
    assert all(row.balanced for row in conservation())


def test_a_crash_in_the_middle_leaves_everything_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def power_fails(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(purge, "_refuse_changes", power_fails)
    with pytest.raises(KeyboardInterrupt):
        purged()

    assert is_here()
    assert UsageWindow.objects.get().archived_count == 0
    assert not EventArchive.objects.get().is_purged
    assert verify() == []


def test_a_month_goes_once_and_comes_back_once_whoever_asks(crowd: Crowd) -> None:
    went = crowd.all([purged] * 4)
    came = crowd.all([lambda: restore_month(month=OLD).events] * 4)

    assert sorted(len(names) for names, _ in went) == [0, 0, 0, 1]
    assert sorted(came) == [0, 0, 0, 20]
    assert verify() == []


def test_days_archived_by_many_at_once_are_archived_once(crowd: Crowd) -> None:
    run("SET session_replication_role = replica")
    run("DELETE FROM metering_eventarchive")
    run("SET session_replication_role = origin")

    reports = crowd.all([archive_closed_days] * 4)

    assert sorted(len(report.archived) for report in reports) == [0, 0, 0, 1]


def test_ingest_and_rollup_go_on_while_months_go_and_come(crowd: Crowd) -> None:
    done = threading.Event()

    def send() -> int:
        sent = 0
        while not done.is_set():
            late = an_event("cust_a", "1", at=an_hour_of(OLD) + timedelta(minutes=1))
            sent += accept_events(events=[late, an_event("cust_b", "1", at=now())]).accepted
            roll_up()
        return sent

    senders = [crowd.begin(send) for _ in range(2)]
    went = 0
    for _ in range(3):
        went += len(purged()[0])
        restore_month(month=OLD)
    done.set()
    sent = sum(sender.result(timeout=60) for sender in senders)

    assert went >= 1
    assert UsageEvent.objects.count() == 20 + sent
    assert verify() == []
