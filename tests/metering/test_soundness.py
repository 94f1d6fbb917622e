"""What somebody changed in usage by SQL, past every guard, is named by `verify`: usage is not silently more or less."""

from decimal import Decimal

import msgspec
import pytest
from django.db import connection

from billing_site.kernel.period import Period
from invoicing.workflows.verify import verify
from metering.core.parsing import Event
from metering.correcting import amend_event
from metering.ingest import accept_events
from metering.models import EventConflict
from metering.operations import create_meter
from metering.queries import usage_between
from metering.rollup import roll_up
from metering.settling import amend_to_refused
from tests.billing_site.api.caller import Caller
from tests.factories import AUGUST, JULY, an_event

pytestmark = pytest.mark.django_db


def a_meter(aggregation: str = "sum") -> None:
    create_meter(
        key="m", name="M", event_type="t", aggregation=aggregation, value_property="x", actor="test", reason="test"
    )


def an_x(key: str, x: object) -> Event:
    return msgspec.structs.replace(an_event("cust_a", "1", at=JULY, event_type="t", key=key), properties={"x": x})


def change(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def named() -> list[str]:
    return [f"{finding.subject}: {finding.message}" for finding in verify()]


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("DELETE FROM metering_uniquevalue WHERE ctid = (SELECT min(ctid) FROM metering_uniquevalue)", "told apart"),
        ("UPDATE metering_uniquevalue SET start = start + interval '1 hour'", "told apart"),
        ("UPDATE metering_usagewindow SET last_event = 0", "sum of events"),
        ("UPDATE metering_usagewindow SET archived_count = 1", "none are purged"),
        (
            "INSERT INTO metering_unsettledhour (meter_id, customer_id, start, grouping, number)"
            " SELECT meter_id, customer_id, start, grouping, 1 FROM metering_usagewindow",
            "none are purged",
        ),
        ("UPDATE metering_keyhorizon SET open_from = open_from + interval '1 year'", "no event is accepted"),
    ],
)
def test_what_sql_changed_of_usage_is_named(statement: str, told: str) -> None:
    a_meter("unique_count")
    accept_events(events=[an_x(str(number), str(number)) for number in range(3)])
    roll_up()
    assert named() == []

    change(statement)

    assert [line for line in named() if told in line]


def test_an_event_with_a_number_that_nobody_drew_is_named() -> None:
    a_meter()
    accept_events(events=[an_x("one", 1)])
    change(
        "INSERT INTO metering_usageevent (id, dedup_key, event_id, idempotency_key, event_type, customer_id, timestamp,"
        " quantity) SELECT max(id) + 1000, gen_random_uuid(), 'x', 'x', 't', 'cust_a', '2026-07-05', 1200"
        " FROM metering_usageevent"
    )

    assert [line for line in named() if "nobody drew" in line]


def test_true_is_not_one_neither_to_an_amendment_nor_to_a_contradiction() -> None:
    a_meter()
    july = Period(JULY, AUGUST)
    accept_events(events=[an_x("k", Decimal(5)), an_x("other", True)])
    what = {"customer_id": "cust_a", "actor": "test", "reason": "typo"}

    first = amend_event(idempotency_key="k", changes={"properties": {"x": True}}, **what)
    second = amend_event(idempotency_key="k", changes={"properties": {"x": 1}}, **what)
    conflicts = accept_events(events=[an_x("other", 1)]).conflicts
    amend_to_refused(conflict_id=EventConflict.objects.get().pk, actor="test", reason="it is a number")

    assert first.number != second.number
    assert len(conflicts) == 1
    assert usage_between(meter_key="m", customer_id="cust_a", period=july) == 2


@pytest.mark.parametrize("offset", ["+00:60", "+05:99", "-24:00"])
def test_an_offset_has_less_than_24_hours_and_60_minutes(offset: str) -> None:
    event = {
        "event_id": "e",
        "idempotency_key": "k",
        "event_type": "t",
        "timestamp": f"2026-07-01T12:00:00{offset}",
        "customer_id": "cust_a",
        "quantity": "1",
    }

    answer = Caller("events:write").post("/api/v1/events", event)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "timestamp"
