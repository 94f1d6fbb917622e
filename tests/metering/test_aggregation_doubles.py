"""The second look for repetitions: what a broken unique index let in is cancelled at aggregation, and verify names it."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import connection

from billing_site.kernel.period import Period
from metering.core.parsing import Event
from metering.doubles import ACTOR, cancel_doubles, doubled_keys
from metering.ingest import accept_events
from metering.listing import listing_faults
from metering.models import EventCancellation, KeyHorizon, RollupProgress, UsageEvent, UsageWindow
from metering.operations import create_meter
from metering.partitions import faults, months
from metering.queries import conservation, usage_between
from metering.rollup import roll_up, settled_mark
from tests.factories import JULY, an_event
from tests.metering.conftest import Crowd
from tests.metering.state.house import let_a_month_pass

_JULY_DAY = Period(JULY, JULY + timedelta(days=1))
INSERT_AGAIN = """
    INSERT INTO metering_usageevent (dedup_key, event_id, idempotency_key, event_type, customer_id, timestamp, quantity)
    SELECT dedup_key, event_id, idempotency_key, event_type, customer_id, timestamp + %s, quantity
    FROM metering_usageevent WHERE idempotency_key = %s LIMIT 1
"""


@pytest.fixture
def broken_index(db: None) -> Iterator[None]:
    """The unique index of the open month is gone; every trigger is there."""
    create_meter(key="actions", name="Actions", event_type="action.consumed", actor="test", reason="set up")
    with connection.cursor() as cursor:
        for month in months():
            cursor.execute(f'ALTER TABLE "{month.table}" DROP CONSTRAINT "{month.table}_key_once"')
    yield


def insert_again(key: str, *, later: timedelta = timedelta(0)) -> None:
    """By SQL, as a client whose retry met the broken index."""
    with connection.cursor() as cursor:
        cursor.execute(INSERT_AGAIN, [later, key])
        assert cursor.rowcount == 1


def an_accepted_event(key: str, quantity: str = "5") -> Event:
    event = an_event("cust_a", quantity, at=JULY, key=key)
    accept_events(events=[event])
    return event


@pytest.mark.requirement("S0-111")
@pytest.mark.parametrize("rolled_up_between", [True, False])
def test_a_double_that_a_broken_index_let_in_is_cancelled_and_never_billed(
    broken_index: None, rolled_up_between: bool
) -> None:
    an_accepted_event("same")
    an_accepted_event("other", "1")
    if rolled_up_between:
        roll_up()
    insert_again("same")

    roll_up()

    assert [(one.actor, one.idempotency_key) for one in EventCancellation.objects.all()] == [(ACTOR, "same")]
    assert EventCancellation.objects.get().event_number == UsageEvent.objects.latest("id").pk
    assert UsageWindow.objects.get().value == 6
    assert all(row.balanced for row in conservation())
    assert listing_faults() == []
    assert doubled_keys() == []


def test_the_missing_index_is_named(broken_index: None) -> None:
    assert {what for _, what in faults()} == {"a unique index on dedup_key"}


def test_a_double_that_is_stamped_anew_is_found_by_who_reads_everything(broken_index: None) -> None:
    an_accepted_event("same")
    insert_again("same", later=timedelta(minutes=3))

    roll_up()

    assert doubled_keys() == [("cust_a", "same", 2)]


def test_of_many_doubles_the_first_event_counts(broken_index: None) -> None:
    an_accepted_event("same")
    for _ in range(3):
        insert_again("same")

    roll_up()

    assert UsageWindow.objects.get().value == 5
    assert EventCancellation.objects.count() == 3


def test_a_double_is_shown_as_used_until_the_rollup_has_looked(broken_index: None) -> None:
    """Display adds what is stored; the second look belongs to aggregation, and bills nothing twice."""
    an_accepted_event("same")
    insert_again("same")

    before = usage_between(meter_key="actions", customer_id="cust_a", period=_JULY_DAY)
    roll_up()

    assert before == 10
    assert usage_between(meter_key="actions", customer_id="cust_a", period=_JULY_DAY) == 5


@pytest.fixture
def months_as_before(transactional_db: None) -> Iterator[None]:
    """Afterwards the months and the horizon are what they were: no flush drops tables."""
    before, horizon = {month.table for month in months()}, KeyHorizon.objects.get()
    yield
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        for table in {month.table for month in months()} - before:
            cursor.execute(f'DROP TABLE "{table}"')
        cursor.execute(
            "UPDATE metering_keyhorizon SET open_from = %s, consolidated_before = %s",
            [horizon.open_from, horizon.consolidated_before],
        )
        cursor.execute("SET session_replication_role = origin")


def test_a_double_in_the_next_month_is_refused_although_the_old_index_is_broken(months_as_before: None) -> None:
    """The trigger asks the closed month by its key, with or without a unique index."""
    an_accepted_event("same")
    let_a_month_pass()

    again = accept_events(events=[an_event("cust_a", "5", at=JULY + timedelta(days=40), key="same")])

    assert (again.accepted, again.duplicates) == (0, 1)
    assert UsageEvent.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_first_looks_at_once_cancel_a_double_once(crowd: Crowd) -> None:
    """On the first run there is no row yet that one could wait for."""
    create_meter(key="actions", name="Actions", event_type="action.consumed", actor="test", reason="set up")
    name = next(month.table for month in months() if _is_present(month.table))
    with connection.cursor() as cursor:
        cursor.execute(f'ALTER TABLE "{name}" DROP CONSTRAINT "{name}_key_once"')
    try:
        for number in range(200):
            an_accepted_event(f"key-{number}")
            insert_again(f"key-{number}")
        RollupProgress.objects.all().delete()
        mark = settled_mark()

        found = crowd.all([lambda: cancel_doubles(mark=mark)] * 6)

        assert sum(found) == EventCancellation.objects.count() == 200
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SET session_replication_role = replica")
            cursor.execute("DELETE FROM metering_eventcancellation")
            cursor.execute("DELETE FROM metering_usageevent")
            cursor.execute("SET session_replication_role = origin")
            cursor.execute(f'ALTER TABLE "{name}" ADD CONSTRAINT "{name}_key_once" UNIQUE (dedup_key)')


def _is_present(table: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT metering_month_name(now())")
        return bool(cursor.fetchone()[0] == table)
