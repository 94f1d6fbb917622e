"""Windows hold each event of a meter exactly once, whatever commits when and whoever rolls up at the same time."""

import threading
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction

from metering import rollup
from metering.core.parsing import Event
from metering.ingest import accept_events
from metering.models import Meter, UnappliedEvent, UsageEvent, UsageWindow
from metering.operations import create_meter
from metering.queries import backlog, conservation
from metering.rollup import IngestStandsStill, roll_up
from metering.tasks import REGULAR_JOBS, roll_up_usage
from tests.factories import JULY, an_event, use
from tests.metering.conftest import Crowd


def a_meter(
    key: str = "actions", *, aggregation: str = "sum", value_property: str = "", effective_from: datetime | None = None
) -> Meter:
    return create_meter(
        key=key,
        name=key,
        event_type="action.consumed",
        aggregation=aggregation,
        value_property=value_property,
        effective_from=effective_from,
        actor="test",
        reason="set up",
    )


def values(meter: str = "actions") -> list[Decimal]:
    windows = UsageWindow.objects.filter(meter__key=meter).order_by("customer_id", "start")
    return [window.value for window in windows]


@pytest.mark.requirement("S0-007")
@pytest.mark.django_db
def test_events_are_summed_per_customer_and_hour() -> None:
    a_meter()
    use("cust_a", "0.1", at=JULY)
    use("cust_a", "0.2", at=JULY + timedelta(minutes=59, seconds=59, microseconds=999_999))
    use("cust_a", "4", at=JULY + timedelta(hours=1))
    use("cust_b", "5", at=JULY)
    use("cust_b", "7", at=JULY, event_type="something.else")

    report = roll_up()

    assert values() == [Decimal("0.3"), 4, 5]
    assert (report.events, report.windows) == (4, 3)


@pytest.mark.django_db
def test_numbers_that_no_event_has_take_no_steps(django_assert_max_num_queries: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval('metering_usageevent_id_seq', nextval('metering_usageevent_id_seq') + 1000000)")
    use("cust_a", "1", at=JULY)
    use("cust_a", "2", at=JULY)

    with django_assert_max_num_queries(60):
        roll_up(batch=1)

    assert UnappliedEvent.objects.count() == 2


@pytest.mark.django_db
def test_rolling_up_twice_counts_nothing_twice() -> None:
    a_meter()
    use("cust_a", "1", at=JULY)

    roll_up()
    second = roll_up()

    assert values() == [1]
    assert (second.events, second.windows) == (0, 0)


@pytest.mark.django_db
def test_a_late_event_falls_in_the_hour_when_it_happened() -> None:
    a_meter()
    use("cust_a", "1", at=JULY)
    roll_up()
    use("cust_a", "2", at=JULY)

    roll_up()

    window = UsageWindow.objects.get()
    assert (window.value, window.event_count) == (3, 2)
    assert window.last_event == UsageEvent.objects.latest("id").pk


@pytest.mark.django_db
def test_a_count_meter_counts_events_and_not_their_quantity() -> None:
    a_meter("calls", aggregation="count")
    use("cust_a", "1000", at=JULY)
    use("cust_a", "0", at=JULY)

    roll_up()

    assert values("calls") == [2]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("value", "counted"),
    [
        (5, "5"),
        (0, "0"),
        (Decimal("0.000000000001"), "0.000000000001"),
        (Decimal("1E+3"), "1000"),
        ("12.5", "12.5"),
        ("1.5000000000000000", "1.5"),
        (-5, None),
        ("-5", None),
        ("1e3", None),
        ("five", None),
        ("", None),
        (None, None),
        (True, None),
        ([5], None),
        ({"n": 5}, None),
        (10**26, None),
        (Decimal("0.0000000000001"), None),
    ],
)
def test_a_property_is_summed_if_it_is_a_number_and_otherwise_listed(value: object, counted: str | None) -> None:
    a_meter("tokens", value_property="tokens")
    accept_events(events=[_with_properties(an_event("cust_a", "1", at=JULY), {"tokens": value})])

    roll_up()

    assert values("tokens") == ([] if counted is None else [Decimal(counted)])
    (row,) = conservation()
    assert (row.accepted, row.aggregated, row.listed) == (1, int(counted is not None), int(counted is None))
    assert row.balanced


@pytest.mark.django_db
def test_a_new_meter_counts_the_past_too_in_bounded_steps() -> None:
    a_meter("first")
    for number in range(7):
        use("cust_a", "1", at=JULY + timedelta(hours=number))
    roll_up()
    a_meter("second", effective_from=JULY)

    roll_up(batch=2)

    assert values("second") == values("first") == [1] * 7
    assert len(set(Meter.objects.values_list("rolled_up_to", flat=True))) == 1


@pytest.mark.django_db
def test_the_greatest_quantities_never_stop_the_rollup() -> None:
    a_meter()
    for _ in range(3):
        use("cust_a", "99999999999999999999999999.999999999999", at=JULY)

    roll_up()

    assert values() == [Decimal("299999999999999999999999999.999999999997")]


@pytest.mark.django_db
def test_what_is_not_counted_yet_is_the_backlog() -> None:
    a_meter()
    use("cust_a", "1", at=JULY)
    use("cust_a", "1", at=JULY)

    assert backlog().events == 2
    roll_up()
    assert backlog().events == 0


@pytest.mark.django_db
def test_the_scheduled_job_exists_and_rolls_up() -> None:
    a_meter()
    use("cust_a", "1", at=JULY)

    said = roll_up_usage()

    assert said.startswith("1 events in 1 windows")
    assert "metering.tasks.roll_up_usage" in [job.task for job in REGULAR_JOBS]


@pytest.mark.django_db(transaction=True)
def test_an_event_that_commits_late_with_a_low_number_is_not_lost(crowd: Crowd) -> None:
    a_meter()
    inserted, may_commit = threading.Event(), threading.Event()

    def insert_slowly() -> None:
        with transaction.atomic():
            use("cust_a", "100", at=JULY, key="slow")
            inserted.set()
            assert may_commit.wait(60)

    slow = crowd.begin(insert_slowly)
    assert inserted.wait(60)
    use("cust_a", "1", at=JULY, key="fast")
    rolling = crowd.begin(roll_up)
    assert not _is_done_within(rolling, seconds=0.5), "the rollup waits for the insert that drew a lower number"
    may_commit.set()
    slow.result(60)

    report = rolling.result(60)

    assert report.events == 2
    assert values() == [101]
    assert UsageEvent.objects.get(idempotency_key="slow").pk < UsageEvent.objects.get(idempotency_key="fast").pk


@pytest.mark.django_db(transaction=True)
def test_the_rollup_does_not_wait_for_inserts_that_begin_after_it(crowd: Crowd) -> None:
    a_meter()
    begun = {name: threading.Event() for name in ("before", "after")}
    may_commit = {name: threading.Event() for name in ("before", "after")}

    def insert(name: str) -> None:
        with transaction.atomic():
            use("cust_a", "1", at=JULY, key=name)
            begun[name].set()
            assert may_commit[name].wait(60)

    before = crowd.begin(lambda: insert("before"))
    assert begun["before"].wait(60)
    rolling = crowd.begin(roll_up)
    assert not _is_done_within(rolling, seconds=0.5)
    after = crowd.begin(lambda: insert("after"))
    assert begun["after"].wait(60)
    may_commit["before"].set()
    before.result(60)

    report = rolling.result(60)

    assert report.events == 1
    may_commit["after"].set()
    after.result(60)
    roll_up()
    assert values() == [2]


@pytest.mark.django_db(transaction=True)
def test_an_insert_that_is_never_ended_is_told_and_nothing_is_skipped(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_meter()
    monkeypatch.setattr(rollup, "PATIENCE_SECONDS", 0.2)
    inserted, may_end = threading.Event(), threading.Event()

    def insert_and_hang() -> None:
        with transaction.atomic():
            use("cust_a", "1", at=JULY)
            inserted.set()
            assert may_end.wait(60)

    hanging = crowd.begin(insert_and_hang)
    assert inserted.wait(60)

    with pytest.raises(IngestStandsStill, match="1 transactions"):
        roll_up()

    may_end.set()
    hanging.result(60)
    roll_up()
    assert values() == [1]


@pytest.mark.requirement("S0-111")
@pytest.mark.django_db(transaction=True)
def test_many_rollups_and_inserts_at_once_count_each_event_once(crowd: Crowd) -> None:
    a_meter("sum")
    a_meter("calls", aggregation="count")

    def send(sender: int) -> None:
        for batch in range(10):
            accept_events(
                events=[
                    an_event(
                        f"cust_{number % 3}",
                        "0.1",
                        at=JULY + timedelta(hours=number % 5),
                        key=f"{sender}-{batch}-{number}",
                    )
                    for number in range(50)
                ]
            )

    def roll_up_often() -> None:
        for _ in range(10):
            roll_up(batch=37)

    crowd.all([*(lambda sender=sender: send(sender) for sender in range(4)), *([roll_up_often] * 4)])
    roll_up()

    assert sum(values("sum")) == Decimal("200.0")
    assert sum(values("calls")) == 2000
    assert all(row.balanced and row.accepted == 2000 for row in conservation())


@pytest.mark.django_db
@pytest.mark.parametrize(
    "forgery",
    [
        "UPDATE metering_usagewindow SET value = value + 1",
        "UPDATE metering_usagewindow SET event_count = event_count + 1",
        "UPDATE metering_usagewindow SET value = value + CASE customer_id WHEN 'cust_a' THEN 1 ELSE -1 END",
        "UPDATE metering_usagewindow SET customer_id = 'cust_c' WHERE customer_id = 'cust_a'",
        "DELETE FROM metering_usagewindow WHERE customer_id = 'cust_a'",
        "DELETE FROM metering_usageevent WHERE customer_id = 'cust_a'",
        "UPDATE metering_usageevent SET quantity = 2 WHERE customer_id = 'cust_a'",
    ],
)
def test_a_forged_window_or_event_breaks_the_conservation(forgery: str) -> None:
    a_meter()
    use("cust_a", "1", at=JULY)
    use("cust_b", "1", at=JULY)
    roll_up()
    assert conservation()[0].balanced

    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(forgery)
        cursor.execute("SET session_replication_role = origin")

    assert not conservation()[0].balanced


def _with_properties(event: Event, properties: dict[str, object]) -> Event:
    return Event(**{name: getattr(event, name) for name in Event.__struct_fields__} | {"properties": properties})


def _is_done_within(future: object, *, seconds: float) -> bool:
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())  # type: ignore[attr-defined]
    return done.wait(seconds)
