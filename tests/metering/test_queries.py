"""What may be asked about usage agrees with itself: tail and windows, billing and recount, any bounds."""

import itertools
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing_site.kernel.errors import NotFound
from billing_site.kernel.period import Period
from metering.core.parsing import Event
from metering.ingest import accept_events
from metering.models import Meter
from metering.operations import create_meter
from metering.queries import (
    Window,
    billing_usage,
    customers_with_usage,
    events_as_known,
    events_of_unknown_customers,
    late_usage,
    unmatched_events,
    usage_as_known,
    usage_between,
    usage_windows,
    windows_as_known,
)
from metering.rollup import roll_up
from tests.factories import AUGUST, JULY, an_event, use

pytestmark = pytest.mark.django_db

MONTH = Period(JULY, AUGUST)
HALF = timedelta(minutes=30)


@pytest.fixture(autouse=True)
def meter() -> Meter:
    return a_meter("actions")


def a_meter(key: str, event_type: str = "action.consumed", **fields: str) -> Meter:
    return create_meter(key=key, name=key, event_type=event_type, **fields, actor="test", reason="set up")


def used(period: Period = MONTH, customer_id: str = "cust_a") -> Decimal:
    return usage_between(meter_key="actions", customer_id=customer_id, period=period)


def test_usage_includes_what_was_just_accepted_and_what_is_rolled_up() -> None:
    use("cust_a", "1", at=JULY)
    roll_up()
    use("cust_a", "2", at=JULY)

    assert used() == 3


def test_usage_of_one_customer_is_not_that_of_another() -> None:
    use("cust_a", "1", at=JULY)
    use("cust_ab", "2", at=JULY)

    assert used(customer_id="cust_a") == 1
    assert used(customer_id="cust_") == 0


def test_a_period_is_half_open() -> None:
    moment = timedelta(microseconds=1)
    use("cust_a", "1", at=JULY - moment)
    use("cust_a", "10", at=JULY)
    use("cust_a", "100", at=AUGUST - moment)
    use("cust_a", "1000", at=AUGUST)

    before = used()
    roll_up()

    assert before == used() == 110


@pytest.mark.requirement("S0-009")
@pytest.mark.requirement("S0-008")
def test_windows_are_sparse_in_order_and_cut_at_the_bounds() -> None:
    use("cust_a", "1", at=JULY + HALF)
    use("cust_a", "2", at=JULY + timedelta(days=1, hours=5))
    roll_up()
    use("cust_a", "3", at=JULY + timedelta(days=1, hours=7))
    period = Period(JULY + HALF, JULY + timedelta(days=1, hours=8))

    hours = usage_windows(meter_key="actions", customer_id="cust_a", period=period, granularity="hour")
    days = usage_windows(meter_key="actions", customer_id="cust_a", period=period, granularity="day")
    months = usage_windows(meter_key="actions", customer_id="cust_a", period=period, granularity="month")

    assert [(window.start, window.value) for window in hours] == [
        (JULY + HALF, 1),
        (JULY + timedelta(days=1, hours=5), 2),
        (JULY + timedelta(days=1, hours=7), 3),
    ]
    assert days == [
        Window(JULY + HALF, JULY + timedelta(days=1), Decimal(1), 1),
        Window(JULY + timedelta(days=1), JULY + timedelta(days=1, hours=8), Decimal(5), 2),
    ]
    assert months == [Window(period.start, period.end, Decimal(6), 3)]


@pytest.mark.requirement("S0-153")
def test_usage_is_grouped_by_namespace_or_by_a_property() -> None:
    accept_events(
        events=[
            _changed(an_event("cust_a", "1", at=JULY), namespace_id="ns-prod", properties={"region": "eu"}),
            _changed(an_event("cust_a", "2", at=JULY), namespace_id="ns-test", properties={"region": "eu"}),
            an_event("cust_a", "4", at=JULY),
        ]
    )
    roll_up()

    def groups(group_by: str) -> dict[str | None, Decimal]:
        windows = usage_windows(
            meter_key="actions", customer_id="cust_a", period=MONTH, granularity="month", group_by=group_by
        )
        return {window.group: window.value for window in windows}

    assert groups("namespace_id") == {"ns-prod": 1, "ns-test": 2, None: 4}
    assert groups("region") == {"eu": 3, None: 4}
    assert groups("%s'; --") == {None: 7}


@pytest.mark.parametrize("rolled_up", [True, False])
def test_a_bound_within_an_hour_is_exact(rolled_up: bool) -> None:
    """Billing periods in +05:30 begin at half past."""
    for minutes, quantity in ((29, "1"), (30, "10"), (59, "100")):
        use("cust_a", quantity, at=JULY + timedelta(minutes=minutes))
    if rolled_up:
        roll_up()

    assert used(Period(JULY + HALF, AUGUST + HALF)) == 110
    assert used(Period(JULY - HALF, JULY + HALF)) == 1
    assert used(Period(JULY + HALF, JULY + timedelta(minutes=59))) == 10


def test_an_unknown_meter_is_told_by_its_field() -> None:
    for ask in (
        lambda: usage_between(meter_key="nope", customer_id="c", period=MONTH),
        lambda: billing_usage(customer_id="c", meter_keys=["actions", "nope"], period=MONTH),
        lambda: usage_as_known(meter_key="no\x00pe", customer_id="c", period=MONTH, known_through=0),
    ):
        with pytest.raises(NotFound) as refused:
            ask()
        assert refused.value.field == "meter"


def test_billing_counts_what_is_rolled_up_and_lists_what_is_late() -> None:
    use("cust_a", "1", at=JULY)
    roll_up()
    billed = billing_usage(customer_id="cust_a", meter_keys=["actions"], period=MONTH)["actions"]
    use("cust_a", "2", at=JULY)
    roll_up()

    late = late_usage(meter_key="actions", customer_id="cust_a", period=MONTH, known_through=billed.known_through)
    again = usage_as_known(meter_key="actions", customer_id="cust_a", period=MONTH, known_through=billed.known_through)

    assert billed.quantity == again.quantity == 1
    assert (late.quantity, late.event_count) == (2, 1)
    assert billing_usage(customer_id="cust_a", meter_keys=["actions"], period=MONTH)["actions"].quantity == 3


def test_what_is_not_rolled_up_is_not_billed_even_in_a_partial_hour() -> None:
    use("cust_a", "1", at=JULY + HALF)
    roll_up()
    use("cust_a", "2", at=JULY + HALF)

    billed = billing_usage(customer_id="cust_a", meter_keys=["actions"], period=Period(JULY + HALF, AUGUST + HALF))

    assert billed["actions"].quantity == 1


def test_a_customer_without_usage_is_billed_zero() -> None:
    roll_up()

    billed = billing_usage(customer_id="cust_a", meter_keys=["actions"], period=MONTH)["actions"]
    again = usage_as_known(meter_key="actions", customer_id="cust_a", period=MONTH, known_through=billed.known_through)

    assert (billed.quantity, billed.window_count, billed.event_count) == (0, 0, 0)
    assert billed.windows_digest == again.windows_digest


def test_the_meters_of_a_customer_are_read_in_one_statement() -> None:
    a_meter("calls", aggregation="count")
    use("cust_a", "7", at=JULY)
    roll_up()

    with CaptureQueriesContext(connection) as queries:
        billed = billing_usage(customer_id="cust_a", meter_keys=["actions", "calls"], period=MONTH)

    assert len(queries) == 1 + 1
    assert (billed["actions"].quantity, billed["calls"].quantity) == (7, 1)


_customers = itertools.count(1)
minutes = st.integers(0, 60 * 50)


@pytest.mark.requirement("S0-150")
@pytest.mark.requirement("S0-149")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    events=st.lists(st.tuples(minutes, st.decimals(0, 10**9, places=12)), max_size=25),
    bounds=st.tuples(minutes, minutes).filter(lambda pair: pair[0] < pair[1]),
    counted=st.integers(0, 25),
)
def test_windows_tail_billing_and_recount_agree_for_any_events_and_bounds(
    events: list[tuple[int, Decimal]], bounds: tuple[int, int], counted: int
) -> None:
    customer = f"cust_{next(_customers)}"
    start, end = (JULY + timedelta(minutes=bound) for bound in bounds)
    sent = [an_event(customer, str(quantity), at=JULY + timedelta(minutes=at)) for at, quantity in events]
    expected = sum((event.quantity for event in sent if start <= event.timestamp < end), Decimal(0))
    accept_events(events=sent[:counted])
    roll_up()
    accept_events(events=sent[counted:])
    period = Period(start, end)

    before = used(period, customer)
    roll_up()
    after = used(period, customer)

    billed = billing_usage(customer_id=customer, meter_keys=["actions"], period=period)["actions"]
    known = {"meter_key": "actions", "customer_id": customer, "period": period, "known_through": billed.known_through}
    again = usage_as_known(**known)
    assert before == after == billed.quantity == again.quantity == expected
    assert (billed.windows_digest, billed.window_count) == (again.windows_digest, again.window_count)
    assert sum((window.value for window in windows_as_known(**known)), Decimal(0)) == expected
    assert sum((event.counted for event in events_as_known(**known)), Decimal(0)) == expected


def test_the_events_behind_a_figure_come_in_pages() -> None:
    for number in range(7):
        use("cust_a", str(number), at=JULY + timedelta(hours=7 - number // 2))
    known = {"meter_key": "actions", "customer_id": "cust_a", "period": MONTH, "known_through": 10**9}

    page, pages, after = None, [], None
    while page is None or len(page) == 3:
        page = events_as_known(**known, after=after, limit=3)
        pages.append(page)
        after = (page[-1].timestamp, page[-1].number) if page else None

    seen = [event for page in pages for event in page]
    assert [len(page) for page in pages] == [3, 3, 1]
    assert seen == sorted(seen, key=lambda event: (event.timestamp, event.number))
    assert sum(event.counted for event in seen) == 21


def test_events_that_no_window_counts_are_listed_with_the_reason() -> None:
    a_meter("tokens", event_type="llm.request", value_property="tokens")
    use("cust_a", "1", at=JULY, event_type="unknown.type")
    use("cust_b", "1", at=JULY, event_type="unknown.type")
    use("cust_a", "1", at=JULY, event_type="llm.request")
    use("cust_a", "1", at=JULY)
    roll_up()

    listed = unmatched_events()

    assert [(one.event_type, one.meter, one.event_count) for one in listed] == [
        ("llm.request", "tokens", 1),
        ("unknown.type", "", 2),
    ]
    assert "tokens is missing" in listed[0].reason
    assert listed[1].reason == "no meter counts this event type"


def test_events_of_customers_that_nobody_knows_are_found() -> None:
    use("cust_a", "1", at=JULY)
    use("cust_typo", "1", at=JULY)
    use("cust_typo", "1", at=AUGUST)

    (unknown,) = events_of_unknown_customers(known_keys=["cust_a", "cust_b"])

    assert (unknown.customer_id, unknown.event_count) == ("cust_typo", 2)
    assert (unknown.first_timestamp, unknown.last_timestamp) == (JULY, AUGUST)


def test_customers_with_usage_are_those_of_the_period() -> None:
    use("cust_b", "1", at=JULY)
    roll_up()
    use("cust_a", "1", at=JULY + timedelta(days=1))
    use("cust_c", "1", at=AUGUST)

    assert customers_with_usage(period=MONTH) == ["cust_a", "cust_b"]


def test_no_events_at_all_are_no_findings() -> None:
    assert unmatched_events() == []
    assert events_of_unknown_customers(known_keys=[]) == []
    assert customers_with_usage(period=Period(datetime(2020, 1, 1, tzinfo=UTC), AUGUST)) == []


def _changed(event: Event, **changes: object) -> Event:
    return Event(**{name: getattr(event, name) for name in Event.__struct_fields__} | changes)
