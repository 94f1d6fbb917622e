"""Windows are counted again from raw events; what differs is shown first, and mended so that who billed it can tell."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from billing_site.kernel.errors import InvalidInput
from billing_site.kernel.period import Period
from metering.core.definition import AGGREGATIONS
from metering.correcting import cancel_event
from metering.ingest import accept_events
from metering.models import Meter, UsageWindow
from metering.operations import create_meter
from metering.queries import conservation
from metering.replaying import preview_replay, replay_windows
from metering.rollup import roll_up
from tests.factories import AUGUST, JULY, an_event

NOON = datetime(2026, 7, 9, 12, tzinfo=UTC)
IN_JULY = Period(JULY, AUGUST)

pytestmark = pytest.mark.django_db


def a_meter_with_windows(aggregation: str = "sum") -> Meter:
    prop = "namespace_id" if aggregation == "unique_count" else ""
    create_meter(key="m", name="M", event_type="t", aggregation=aggregation, value_property=prop, actor="t", reason="t")
    for place in range(6):
        event = an_event(
            "cust_acme", str(place + 1), at=NOON + timedelta(minutes=25 * place), event_type="t", key=f"k{place}"
        )
        fields = {name: getattr(event, name) for name in event.__struct_fields__}
        accept_events(events=[type(event)(**fields | {"namespace_id": f"ns{place % 2}"})])
    cancel_event(customer_id="cust_acme", idempotency_key="k5", actor="a", reason="r")
    roll_up()
    return Meter.objects.get()


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_nothing_differs_where_nothing_went_wrong(aggregation: str) -> None:
    a_meter_with_windows(aggregation)
    before = list(UsageWindow.objects.order_by("id").values())

    replay = replay_windows(meter_key="m", period=IN_JULY, actor="a", reason="r")

    assert (replay.window_count, replay.difference_count) == (len(before), 0)
    assert list(UsageWindow.objects.order_by("id").values()) == before
    assert Meter.objects.get().history.count() == 1


@pytest.mark.requirement("S4-043")
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE metering_usagewindow SET value = value + 1",
        "UPDATE metering_usagewindow SET event_count = event_count + 1",
        "DELETE FROM metering_usagewindow",
        """INSERT INTO metering_usagewindow (meter_id, customer_id, start, grouping, value, event_count, last_event)
           SELECT meter_id, 'cust_ghost', start, grouping, 5, 1, 1 FROM metering_usagewindow LIMIT 1""",
    ],
)
def test_what_was_damaged_is_shown_mended_and_numbered(aggregation: str, damage: str) -> None:
    meter = a_meter_with_windows(aggregation)
    with connection.cursor() as cursor:
        cursor.execute(damage)

    seen = preview_replay(meter_key="m", period=IN_JULY)
    mended = replay_windows(meter_key="m", period=IN_JULY, actor="alice", reason="a bad disk")

    assert seen.difference_count == mended.difference_count > 0
    assert preview_replay(meter_key="m", period=IN_JULY).difference_count == 0
    assert all(row.balanced for row in conservation())
    touched = UsageWindow.objects.filter(start__in=[one.start for one in mended.differences])
    assert max(touched.values_list("last_event", flat=True)) > meter.rolled_up_to
    assert "alice: " in Meter.objects.get().history.latest().history_change_reason


def test_only_the_period_is_counted_again() -> None:
    a_meter_with_windows()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE metering_usagewindow SET value = value + 1")

    first_hour = Period(NOON + timedelta(minutes=10), NOON + timedelta(minutes=20))
    mended = replay_windows(meter_key="m", period=first_hour, actor="a", reason="r")

    assert (mended.window_count, mended.difference_count) == (1, 1)
    assert mended.period == Period(NOON, NOON + timedelta(hours=1))


@pytest.mark.parametrize(("aggregation", "compared"), [("sum", 1), ("max", 0), ("time_weighted_sum", 0)])
def test_an_hour_whose_events_are_purged_is_compared_only_where_adding_is_enough(
    aggregation: str, compared: int
) -> None:
    a_meter_with_windows(aggregation)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE metering_usagewindow SET archived_count = event_count, archived_value = value")
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("DELETE FROM metering_usageevent")
        cursor.execute("SET session_replication_role = origin")
    before = list(UsageWindow.objects.order_by("id").values())

    replay = replay_windows(meter_key="m", period=Period(NOON, NOON + timedelta(hours=1)), actor="a", reason="r")

    assert (replay.window_count, replay.archived_count, replay.difference_count) == (compared, 1 - compared, 0)
    assert list(UsageWindow.objects.order_by("id").values()) == before


def test_mending_needs_a_reason() -> None:
    a_meter_with_windows()

    with pytest.raises(InvalidInput):
        replay_windows(meter_key="m", period=IN_JULY, actor="a", reason=" ")
