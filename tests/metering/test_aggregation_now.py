"""What was just said counts at once, before any rollup: cancelled, amended, dated back, or grouped another way."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

from billing_site.kernel.period import Period
from metering.core.parsing import Event
from metering.correcting import amend_event, cancel_event
from metering.ingest import accept_events
from metering.listing import listing_faults
from metering.models import UnappliedEvent
from metering.operations import backdate_meter, create_meter
from metering.queries import billing_usage, usage_between, usage_report
from metering.rollup import roll_up
from tests.factories import JULY, an_event, use
from tests.metering.conftest import Crowd

HOUR = timedelta(hours=1)
DAY = Period(JULY, JULY + timedelta(days=1))
SAID: dict[str, Any] = {"actor": "test", "reason": "wrong"}


def a_meter(key: str, **definition: Any) -> None:
    create_meter(
        **{
            "key": key,
            "name": key,
            "event_type": "action.consumed",
            "effective_from": JULY - HOUR,
            **SAID,
            **definition,
        }
    )


def with_properties(event: Event, **properties: Any) -> Event:
    return Event(**{name: getattr(event, name) for name in event.__struct_fields__} | {"properties": properties})


def used(meter: str, period: Period = DAY) -> Decimal:
    return usage_between(meter_key=meter, customer_id="cust_a", period=period)


@pytest.mark.django_db
def test_a_level_that_was_cancelled_since_the_rollup_is_not_carried_into_the_next_period() -> None:
    a_meter("level", aggregation="time_weighted_sum")
    use("cust_a", "1", at=JULY)
    use("cust_a", "50", at=JULY + HOUR, key="wrong")
    roll_up()
    afterwards = Period(JULY + 5 * HOUR, JULY + 7 * HOUR)
    before = used("level", afterwards)

    cancel_event(customer_id="cust_a", idempotency_key="wrong", **SAID)

    assert (before, used("level", afterwards)) == (100, 2)
    roll_up()
    assert used("level", afterwards) == 2


@pytest.mark.django_db
def test_an_earlier_effective_date_shows_at_once_and_is_billed_after_the_rollup() -> None:
    a_meter("actions", effective_from=JULY + 2 * HOUR)
    use("cust_a", "1", at=JULY + HOUR)
    use("cust_a", "10", at=JULY + 3 * HOUR)
    roll_up()

    backdate_meter(key="actions", effective_from=JULY, **SAID)

    billed = billing_usage(customer_id="cust_a", meter_keys=["actions"], period=DAY)["actions"].quantity
    assert (used("actions"), billed) == (11, 10)
    roll_up()
    assert billing_usage(customer_id="cust_a", meter_keys=["actions"], period=DAY)["actions"].quantity == 11


@pytest.mark.django_db
@pytest.mark.requirement("S0-153")
@pytest.mark.parametrize(
    ("aggregation", "total", "groups"),
    [
        # 5 for an hour, then 7 for 23 hours; the groups alone hold 5 for 24 and 7 for 23.
        ("time_weighted_sum", 166, {"eu": 120, "us": 161}),
        ("latest", 7, {"eu": 5, "us": 7}),
        ("max", 7, {"eu": 5, "us": 7}),
        ("average", 6, {"eu": 5, "us": 7}),
    ],
)
def test_the_quantity_of_a_period_is_the_same_however_it_is_grouped(
    aggregation: str, total: int, groups: dict[str, int]
) -> None:
    a_meter("meter", aggregation=aggregation)
    accept_events(
        events=[
            with_properties(an_event("cust_a", "5", at=JULY), region="eu"),
            with_properties(an_event("cust_a", "7", at=JULY + HOUR), region="us"),
        ]
    )

    report = usage_report(meter_key="meter", customer_id="cust_a", period=DAY, granularity="day", group_by="region")

    assert report.total == used("meter") == total
    assert {window.group: window.value for window in report.windows} == groups


@pytest.mark.django_db
def test_levels_of_one_dimension_stay_apart_when_they_are_grouped_by_another_property() -> None:
    a_meter("level", aggregation="time_weighted_sum", dimensions=["host"])
    accept_events(
        events=[
            with_properties(an_event("cust_a", "5", at=JULY), host="a", region="eu"),
            with_properties(an_event("cust_a", "7", at=JULY), host="b", region="eu"),
        ]
    )

    report = usage_report(
        meter_key="level", customer_id="cust_a", period=Period(JULY, JULY + HOUR), granularity="day", group_by="region"
    )

    assert report.total == 12
    assert [window.value for window in report.windows] == [12]


@pytest.mark.django_db(transaction=True)
def test_an_amendment_is_seen_as_a_whole_or_not_at_all(crowd: Crowd) -> None:
    """The old event is in a window and the new one in none: whoever asks in between must not count both, or neither."""
    a_meter("actions")
    for number in range(8):
        use("cust_a", "1", at=JULY + number * HOUR, key=f"event-{number}")
    roll_up()
    left = iter(range(8))

    def amend_after_each_statement(execute: Any, *statement: Any) -> Any:
        answer = execute(*statement)
        key = f"event-{next(left)}"
        changes = {"properties": {"amended": True}}
        crowd.begin(lambda: amend_event(customer_id="cust_a", idempotency_key=key, changes=changes, **SAID)).result(
            timeout=20
        )
        return answer

    with connection.execute_wrapper(amend_after_each_statement):
        seen = used("actions")

    assert seen == used("actions") == 8


@pytest.mark.django_db
def test_a_new_meter_that_catches_up_does_not_list_again_what_was_cancelled_meanwhile() -> None:
    """Its first steps end before the number of the cancellation, which the list has passed already."""
    a_meter("actions")
    use("cust_a", "1", at=JULY - 2 * HOUR, key="too early")
    for number in range(3):
        use("cust_a", "1", at=JULY, key=f"event-{number}")
    cancel_event(customer_id="cust_a", idempotency_key="too early", **SAID)
    roll_up()
    a_meter("second", effective_from=JULY)

    roll_up(batch=1)

    assert listing_faults() == []
    assert UnappliedEvent.objects.count() == 0
