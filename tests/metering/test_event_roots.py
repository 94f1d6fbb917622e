"""The root over the events that a meter counts is that of their lines, however they are read and however it grows."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from billing_site.kernel.merkle import is_included, leaf_hash, root_of
from billing_site.kernel.period import Period
from metering.correcting import cancel_event
from metering.event_lines import EVENT_LINE
from metering.models import EventTree, UsageEvent
from metering.operations import create_meter
from metering.queries import roots
from metering.queries.event_file import event_inclusion, event_lines, number_of_line
from metering.queries.roots import EventSpan, ManyEventsToHash, event_roots, event_roots_for_billing
from metering.rollup import roll_up
from metering.trees import forget_trees, grow_trees
from tests.factories import AUGUST, JULY, use

pytestmark = pytest.mark.django_db

ODD = 'a "quoted" \\ back\\\\slash, tab\t, null \x7f, ümläut, 漢字, 🧾, \x1f'
NOW = datetime(2026, 8, 1, 9, tzinfo=UTC)


@pytest.fixture(autouse=True)
def meter() -> None:
    create_meter(key="actions", name="Actions", event_type="action.consumed", actor="test", reason="set up")


def july(*, customer: str = "cust_a", known_through: int = 2**62) -> EventSpan:
    return EventSpan("actions", customer, Period(JULY, AUGUST), known_through)


def some_events(number: int = 5, customer: str = "cust_a") -> None:
    # The later ones happened earlier: the order is that of acceptance.
    for hour in range(number, 0, -1):
        use(customer, f"{hour}.50", at=JULY + timedelta(hours=hour), note=ODD, size=hour)


def root(span: EventSpan) -> str:
    [found] = event_roots(spans=[span], expected_count=0)
    return found.root


def lines(span: EventSpan) -> list[bytes]:
    return list(event_lines(span=span))


def test_a_line_is_what_jsonb_writes_of_the_whole_event() -> None:
    use(
        "cust_a",
        "1200.500",
        at=JULY,
        key=ODD.replace("\x1f", ""),
        note=ODD,
        deep={"b": [1.50, 2e3], "aa": None},
        big="9" * 40,
    )
    moment = """to_char({0} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT {EVENT_LINE}, (to_jsonb(e) || jsonb_build_object(
                    'quantity', trim_scale(e.quantity)::text, 'timestamp', {moment.format("e.timestamp")},
                    'received_at', {moment.format("e.received_at")}))::text FROM metering_usageevent e"""
        )
        [(line, expected)] = cursor.fetchall()

    assert line == expected


def test_the_root_is_that_of_the_lines_in_the_order_of_acceptance() -> None:
    some_events()
    use("cust_b", "1", at=JULY)
    use("cust_a", "1", at=AUGUST)

    found = lines(july())

    numbers = [number_of_line(line) for line in found]
    assert len(found) == 5
    assert numbers == sorted(numbers)
    assert root(july()) == root_of(found).hex()


def test_one_question_answers_for_many_spans() -> None:
    some_events(3)
    some_events(2, customer="cust_b")
    spans = [july(), july(customer="cust_b"), july(customer="cust_nobody")]

    found = event_roots(spans=spans, expected_count=5)

    assert [one.count for one in found] == [3, 2, 0]
    assert [one.root for one in found] == [root_of(lines(span)).hex() for span in spans]


def test_very_many_events_are_hashed_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    some_events(7)
    expected = root(july())
    monkeypatch.setattr(roots, "_LEAVES", roots._LEAVES.replace(f"/ {roots.LEAVES_A_ROW}", "/ 2"))
    monkeypatch.setattr(roots, "READ_AT_ONCE_MAX", 0)

    assert event_roots(spans=[july()], expected_count=7)[0].root == expected


@pytest.mark.parametrize("column", [field.column for field in UsageEvent._meta.concrete_fields])
def test_a_change_of_any_column_of_a_stored_event_changes_the_root(column: str) -> None:
    some_events(3)
    before = root(july())
    changes = {
        "id": "id + 1000000",
        "dedup_key": "gen_random_uuid()",
        "timestamp": "timestamp + interval '1 microsecond'",
        "quantity": "quantity + 0.000000000001",
        "received_at": "received_at + interval '1 microsecond'",
        "properties": "properties || '{\"x\": 1}'",
        "customer_id": "'cust_b'",
        "event_type": "'other'",
    }
    change = changes.get(column, f"{column} || ' '")
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(
            f"UPDATE metering_usageevent SET {column} = {change} WHERE id = (SELECT max(id) FROM metering_usageevent)"
        )

    assert root(july()) != before


def hashed_for_billing(span: EventSpan, *, count: int, most: int) -> str:
    [found] = event_roots_for_billing(spans=[span], counts=[count], hashed_max=most)
    assert found.count == count
    return found.root


def number_now() -> int:
    roll_up()
    return UsageEvent.objects.latest("id").pk


def test_a_long_line_is_hashed_ahead_and_its_bill_hashes_only_what_came_since() -> None:
    some_events(6)
    early = july(known_through=number_now())
    with pytest.raises(ManyEventsToHash) as behind:
        hashed_for_billing(early, count=6, most=3)

    grow_trees(spans=behind.value.spans, at=NOW)
    use("cust_a", "1", at=JULY)
    later = july(known_through=number_now())

    assert hashed_for_billing(early, count=6, most=3) == root(early)
    assert hashed_for_billing(later, count=7, most=3) == root(later) != root(early)
    grow_trees(spans=[later], at=NOW)
    assert [tree.leaf_count for tree in EventTree.objects.all()] == [7]
    assert hashed_for_billing(later, count=7, most=0) == root(later)


def test_what_was_hashed_ahead_is_not_used_once_an_event_of_it_is_cancelled() -> None:
    some_events(6)
    use("cust_a", "9", at=JULY, key="wrong")
    grow_trees(spans=[july(known_through=number_now())], at=NOW)
    cancel_event(customer_id="cust_a", idempotency_key="wrong", actor="test", reason="a test of ours")
    use("cust_a", "1", at=JULY)
    later = july(known_through=number_now())

    with pytest.raises(ManyEventsToHash):
        hashed_for_billing(later, count=7, most=3)
    grow_trees(spans=[later], at=NOW)

    assert hashed_for_billing(later, count=7, most=3) == root(later) == root_of(lines(later)).hex()


def test_what_was_hashed_ahead_is_forgotten_after_two_months() -> None:
    some_events(1)
    grow_trees(spans=[july(known_through=number_now())], at=NOW)

    assert forget_trees(at=NOW + timedelta(days=59)) == 0
    assert forget_trees(at=NOW + timedelta(days=61)) == 1


@pytest.mark.parametrize("place", [0, 2, 4])
def test_one_event_shows_the_way_to_the_root(place: int) -> None:
    some_events()
    numbers: Sequence[int] = [number_of_line(line) for line in lines(july())]

    line, inclusion = event_inclusion(span=july(), count=5, number=numbers[place])

    assert inclusion.index == place
    assert is_included(leaf=leaf_hash(line), inclusion=inclusion, root=bytes.fromhex(root(july())))
