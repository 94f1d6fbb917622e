"""Display, billing and proof say what the reference says, whatever happened in which order (property tests)."""

import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from metering.correcting import amend_event, cancel_event
from metering.doubles import doubled_keys
from metering.ingest import accept_events
from metering.listing import listing_faults
from metering.models import EventCancellation, Meter, UsageEvent
from metering.operations import backdate_meter
from metering.queries import conservation
from metering.rollup import roll_up
from tests.metering.state import strategies
from tests.metering.state.agreement import billing_differences, display_differences, read_world, window_differences
from tests.metering.state.strategies import BASE, CUSTOMERS, METERS, PERIODS, QUESTIONS, contents, event_of, make_meter

EXAMPLES = int(os.environ.get("AGREEMENT_EXAMPLES", "30"))
# Shrinking against a database takes minutes: only who asks for it waits.
PHASES = [phase for phase in Phase if phase != Phase.shrink or "AGREEMENT_SHRINK" in os.environ]

batches = st.tuples(st.just("accept"), st.lists(contents(), min_size=1, max_size=12))
cancellations = st.tuples(st.just("cancel"), st.integers(0, 30))
amendments = st.tuples(
    st.just("amend"),
    st.tuples(
        st.integers(0, 30),
        st.sampled_from([{"quantity": "4"}, {"timestamp": BASE.isoformat()}, {"properties": {"tokens": 9}}]),
    ),
)
rollups = st.tuples(st.just("roll up"), st.sampled_from([1, 2, 3, 7, 200_000]))
backdatings = st.tuples(st.just("backdate"), st.tuples(st.sampled_from(sorted(METERS)), st.integers(0, 9)))
histories = st.lists(
    st.one_of(batches, batches, batches, cancellations, amendments, rollups, rollups, backdatings),
    min_size=1,
    max_size=10,
)


@pytest.fixture
def meters(db: None) -> Iterator[None]:
    for key in METERS:
        make_meter(key)
    yield


def play(history: list[tuple[str, Any]]) -> None:
    """Let it happen; what is refused (a cancelled event cannot be amended) is left out."""
    accepted = 0
    for verb, detail in history:
        if verb == "accept":
            events = [event_of(f"k{accepted + place}", content) for place, content in enumerate(detail)]
            accepted += len(events)
            assert accept_events(events=events).accepted == len(events)
        elif verb == "roll up":
            roll_up(batch=detail)
        elif verb == "backdate":
            key, hours = detail
            moment = BASE + timedelta(hours=3) - timedelta(minutes=30 * hours)
            if Meter.objects.get(key=key).effective_from > moment:
                backdate_meter(key=key, effective_from=moment, actor="test", reason="earlier")
        else:
            correct(verb, detail)


def correct(verb: str, detail: Any) -> None:
    place, changes = (detail, None) if verb == "cancel" else detail
    events = list(UsageEvent.objects.order_by("id"))
    if not events:
        return
    event = events[place % len(events)]
    if EventCancellation.objects.filter(event_number=event.pk).exists():
        return
    known: dict[str, Any] = {
        "customer_id": event.customer_id,
        "idempotency_key": event.idempotency_key,
        "actor": "test",
        "reason": "wrong",
    }
    if changes is None:
        cancel_event(**known)
    else:
        amend_event(changes={**changes, "namespace_id": f"amended-{event.pk}"}, **known)


@pytest.fixture(scope="module")
def swept_tables(django_db_setup: None, django_db_blocker: Any) -> None:
    """Leave no dead rows of other tests behind: thousands of small questions would read past them again and again."""
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE 'metering\\_%%'".replace("%%", "%")
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f'VACUUM "{table}"')


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.django_db
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
    phases=PHASES,
)
@given(history=histories, period=st.sampled_from(PERIODS), question=st.sampled_from(QUESTIONS), batch=st.integers(1, 9))
def test_display_billing_and_proof_agree_with_the_reference(
    swept_tables: None, meters: None, history: list[tuple[str, Any]], period: Any, question: Any, batch: int
) -> None:
    with transaction.atomic():
        play(history)
        at_once = read_world()
        shown = display_differences(
            at_once, meters=METERS, customers=CUSTOMERS, periods=[period], questions=[question, ("hour", None)]
        )

        roll_up(batch=batch)
        settled = read_world()
        afterwards = display_differences(
            settled, meters=METERS, customers=CUSTOMERS[:1], periods=[period], questions=[question]
        )
        billed, _ = billing_differences(settled, customers=CUSTOMERS, periods=[period])

        assert shown == []
        assert afterwards == []
        assert billed == []
        assert window_differences(settled) == []
        assert [row for row in conservation() if not row.balanced] == []
        assert listing_faults() == []
        assert doubled_keys() == []
        transaction.set_rollback(True)


def test_the_meters_of_these_tests_aggregate_in_all_eight_ways() -> None:
    ways = {definition.get("aggregation", "sum") for definition in strategies.METERS.values()}

    assert len(ways) == 8
