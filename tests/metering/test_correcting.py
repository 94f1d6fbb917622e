"""An event is cancelled or amended by its key; the original stays, and what counts follows."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from billing_site.kernel.errors import Conflict, InvalidInput, NotFound
from billing_site.kernel.period import Period
from metering.correcting import amend_event, cancel_event, effect_of_amending, effect_of_cancelling
from metering.ingest import accept_events
from metering.listing import listing_faults
from metering.models import EventCancellation, Meter, UsageEvent, UsageWindow
from metering.operations import create_meter
from metering.queries import conservation, usage_as_known, usage_between
from metering.rollup import roll_up, settled_mark
from tests.factories import AUGUST, JULY, an_event
from tests.metering.conftest import Crowd

NOON = datetime(2026, 7, 9, 12, tzinfo=UTC)
IN_JULY = Period(JULY, AUGUST)
WHY: dict[str, Any] = {"actor": "alice", "reason": "sent twice"}
KEY: dict[str, Any] = {"customer_id": "cust_acme", "idempotency_key": "key-1"}


@pytest.fixture
def event(request: pytest.FixtureRequest) -> UsageEvent:
    transactional = request.node.get_closest_marker("django_db").kwargs.get("transaction")
    request.getfixturevalue("transactional_db" if transactional else "db")
    create_meter(key="actions", name="Actions", event_type="action.consumed", unit="action", actor="t", reason="t")
    accept_events(events=[an_event("cust_acme", "5", at=NOON, key="key-1")])
    return UsageEvent.objects.get()


def used() -> Decimal:
    return usage_between(meter_key="actions", customer_id="cust_acme", period=IN_JULY)


def all_is_well() -> bool:
    roll_up()
    return all(row.balanced for row in conservation()) and listing_faults() == []


@pytest.mark.django_db
@pytest.mark.requirement("S4-004")
@pytest.mark.requirement("S4-042")
@pytest.mark.requirement("S0-061")
@pytest.mark.parametrize("rolled_up", [True, False])
def test_a_cancelled_event_stays_and_counts_no_more(event: UsageEvent, rolled_up: bool) -> None:
    if rolled_up:
        roll_up()

    cancellation = cancel_event(**KEY, **WHY)

    assert (cancellation.event_number, cancellation.replacement_number) == (event.pk, None)
    assert (cancellation.actor, cancellation.reason) == ("alice", "sent twice")
    assert used() == 0
    assert all_is_well()
    assert used() == 0
    assert UsageEvent.objects.get().quantity == 5


@pytest.mark.django_db
def test_cancelling_twice_is_one_cancellation(event: UsageEvent) -> None:
    first, second = cancel_event(**KEY, **WHY), cancel_event(**KEY, actor="bob", reason="again")

    assert first == second
    assert second.actor == "alice"
    assert EventCancellation.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.requirement("S4-041")
@pytest.mark.requirement("S4-043")
@pytest.mark.parametrize("rolled_up", [True, False])
def test_an_amended_event_is_replaced_under_one_number(event: UsageEvent, rolled_up: bool) -> None:
    if rolled_up:
        roll_up()

    correction = amend_event(**KEY, changes={"quantity": "7.5"}, **WHY)

    replacement = UsageEvent.objects.get(idempotency_key="key-1~amended-1")
    assert correction.number == correction.replacement_number == replacement.pk
    assert (replacement.timestamp, replacement.event_id) == (event.timestamp, event.event_id)
    assert used() == Decimal("7.5")
    assert all_is_well()
    assert used() == Decimal("7.5")


@pytest.mark.django_db
def test_what_was_known_before_a_correction_stays_known(event: UsageEvent) -> None:
    roll_up()
    before = Meter.objects.get().rolled_up_to
    correction = amend_event(**KEY, changes={"quantity": "7"}, **WHY)
    roll_up()

    known = {
        through: usage_as_known(
            meter_key="actions", customer_id="cust_acme", period=IN_JULY, known_through=through
        ).quantity
        for through in (before, correction.number - 1, correction.number)
    }

    assert known == {before: 5, correction.number - 1: 5, correction.number: 7}


@pytest.mark.django_db
def test_the_original_key_follows_every_amendment_and_the_last_cancellation(event: UsageEvent) -> None:
    first = amend_event(**KEY, changes={"quantity": "6"}, **WHY)
    second = amend_event(**KEY, changes={"event_type": "other"}, **WHY)
    by_its_own_key = amend_event(
        customer_id="cust_acme", idempotency_key="key-1~amended-2", changes={"event_type": "action.consumed"}, **WHY
    )
    last = cancel_event(**KEY, **WHY)

    keys = list(UsageEvent.objects.order_by("id").values_list("idempotency_key", flat=True))
    assert keys == ["key-1", "key-1~amended-1", "key-1~amended-2", "key-1~amended-3"]
    assert [one.event_number for one in (second, by_its_own_key, last)] == [
        first.replacement_number,
        second.replacement_number,
        by_its_own_key.replacement_number,
    ]
    assert cancel_event(**KEY, **WHY) == last
    assert used() == 0
    assert all_is_well()


@pytest.mark.django_db
def test_an_amendment_moves_usage_in_time(event: UsageEvent) -> None:
    roll_up()

    amend_event(**KEY, changes={"timestamp": "2026-08-02T10:00:00+02:00"}, **WHY)

    assert all_is_well()
    assert used() == 0
    windows = UsageWindow.objects.order_by("start").values_list("start", "event_count", "value")
    assert list(windows) == [(NOON, 0, 0), (datetime(2026, 8, 2, 8, tzinfo=UTC), 1, 5)]


@pytest.mark.django_db
def test_a_second_amendment_to_the_same_is_the_first_one(event: UsageEvent) -> None:
    first = amend_event(**KEY, changes={"quantity": "6"}, **WHY)
    second = amend_event(**KEY, changes={"quantity": "6.0"}, **WHY)

    assert first == second
    assert UsageEvent.objects.count() == 2


@pytest.mark.django_db
def test_an_amendment_that_changes_nothing_is_refused(event: UsageEvent) -> None:
    with pytest.raises(InvalidInput) as refused:
        amend_event(**KEY, changes={"quantity": "5.000"}, **WHY)

    assert refused.value.code == "no_change"


@pytest.mark.django_db
def test_a_cancelled_event_is_not_amended(event: UsageEvent) -> None:
    cancel_event(**KEY, **WHY)

    with pytest.raises(Conflict, match="was cancelled by alice"):
        amend_event(**KEY, changes={"quantity": "6"}, **WHY)


@pytest.mark.django_db
@pytest.mark.parametrize("key", ["key-2", "", "\x00", "\ud800", "key-1~amended-1"])
def test_an_unknown_key_is_not_found(event: UsageEvent, key: str) -> None:
    with pytest.raises(NotFound):
        cancel_event(customer_id="cust_acme", idempotency_key=key, **WHY)
    with pytest.raises(NotFound):
        amend_event(customer_id="cust_acme", idempotency_key=key, changes={"quantity": "1"}, **WHY)


@pytest.mark.django_db
@pytest.mark.parametrize("reason", ["", "  ", "\x00"])
def test_a_correction_needs_a_reason(event: UsageEvent, reason: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        cancel_event(**KEY, actor="alice", reason=reason)

    assert refused.value.field == "reason"


@pytest.mark.django_db
def test_a_key_that_a_client_took_before_is_left_to_it(event: UsageEvent) -> None:
    accept_events(events=[an_event("cust_acme", "100", at=NOON, key="key-1~amended-1")])

    amend_event(**KEY, changes={"quantity": "6"}, **WHY)

    assert UsageEvent.objects.get(idempotency_key="key-1~amended-2").quantity == 6
    assert used() == 106


@pytest.mark.django_db
def test_properties_are_replaced_as_a_whole_and_otherwise_stay_to_the_digit(db: Any) -> None:
    exact = Decimal("0.10000000000000000555111512312578")
    plain = an_event("cust_acme", "5", at=NOON, key="key-1")
    accept_events(
        events=[
            type(plain)(
                **{name: getattr(plain, name) for name in plain.__struct_fields__} | {"properties": {"rate": exact}}
            )
        ]
    )

    amend_event(**KEY, changes={"quantity": "6"}, **WHY)

    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT properties ->> 'rate' FROM metering_usageevent")
        assert cursor.fetchall() == [(str(exact),)]


@pytest.mark.django_db
def test_an_event_of_an_archived_month_says_what_to_do_first(event: UsageEvent) -> None:
    archive(event)

    with pytest.raises(Conflict, match="archived: restore its month first"):
        cancel_event(**KEY, **WHY)


def archive(event: UsageEvent) -> None:
    """Leave only the memory of the event's key, as a purge does."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO metering_knownkey (dedup_key, content_digest, number)
            SELECT dedup_key, metering_content_digest(event_type, quantity, namespace_id, properties), id
            FROM metering_usageevent WHERE id = %s
            """,
            [event.pk],
        )
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("DELETE FROM metering_usageevent WHERE id = %s", [event.pk])
        cursor.execute("SET session_replication_role = origin")


@pytest.mark.django_db
@pytest.mark.parametrize("aggregation", ["sum", "count", "max", "min", "latest", "average", "time_weighted_sum"])
def test_the_effect_is_said_before_and_is_what_happens(db: Any, aggregation: str) -> None:
    create_meter(key="m", name="M", event_type="level", aggregation=aggregation, actor="t", reason="t")
    for hour, level in enumerate(("3", "8", "5")):
        at = NOON + timedelta(hours=hour)
        accept_events(events=[an_event("cust_acme", level, at=at, event_type="level", key=f"key-{hour}")])
    roll_up()
    before = usage_between(meter_key="m", customer_id="cust_acme", period=IN_JULY)

    (cancelling,) = effect_of_cancelling(**KEY)
    (amending,) = effect_of_amending(**KEY, changes={"quantity": "1"})

    assert cancelling.before == amending.before == before
    assert usage_between(meter_key="m", customer_id="cust_acme", period=IN_JULY) == before
    assert EventCancellation.objects.count() == 0
    amend_event(**KEY, changes={"quantity": "1"}, **WHY)
    assert usage_between(meter_key="m", customer_id="cust_acme", period=IN_JULY) == amending.after
    cancel_event(**KEY, **WHY)
    assert usage_between(meter_key="m", customer_id="cust_acme", period=IN_JULY) == cancelling.after
    assert all_is_well()
    assert usage_between(meter_key="m", customer_id="cust_acme", period=IN_JULY) == cancelling.after


@pytest.mark.django_db(transaction=True)
def test_eight_who_cancel_the_same_event_get_one_cancellation(event: UsageEvent, crowd: Crowd) -> None:
    results = crowd.all([lambda: cancel_event(**KEY, **WHY)] * 8)

    assert len({one.number for one in results}) == 1
    assert used() == 0
    assert all_is_well()


@pytest.mark.django_db(transaction=True)
def test_eight_who_amend_the_same_event_replace_it_one_after_the_other(event: UsageEvent, crowd: Crowd) -> None:
    def to(quantity: int) -> EventCancellation:
        return amend_event(**KEY, changes={"quantity": str(quantity)}, **WHY)

    crowd.all([lambda quantity=quantity: to(quantity) for quantity in range(10, 18)])

    assert UsageEvent.objects.count() == 9
    last = UsageEvent.objects.get(idempotency_key="key-1~amended-8")
    assert used() == last.quantity
    assert all_is_well()
    assert used() == last.quantity


@pytest.mark.django_db(transaction=True)
def test_corrections_during_rollups_are_never_half_known(event: UsageEvent, crowd: Crowd) -> None:
    keys = [f"many-{number}" for number in range(30)]
    accept_events(events=[an_event("cust_acme", "1", at=NOON, key=key) for key in keys])

    def billed() -> list[Decimal]:
        seen = []
        for _ in range(12):
            roll_up()
            (through,) = Meter.objects.values_list("rolled_up_to", flat=True)
            seen.append(
                usage_as_known(
                    meter_key="actions", customer_id="cust_acme", period=IN_JULY, known_through=through
                ).quantity
            )
        return seen

    def amend_all() -> None:
        for key in keys:
            amend_event(customer_id="cust_acme", idempotency_key=key, changes={"properties": {"note": "moved"}}, **WHY)

    seen, _ = crowd.all([billed, amend_all])

    # Each replacement says the same quantity: at no number are there more or fewer than 35.
    assert set(seen) == {Decimal(35)}
    assert all_is_well()


@pytest.mark.django_db(transaction=True)
def test_amending_races_with_sending_the_same_key_again(event: UsageEvent, crowd: Crowd) -> None:
    def send() -> tuple[int, int]:
        receipt = accept_events(events=[an_event("cust_acme", "5", at=NOON, key="key-1")])
        return receipt.accepted, receipt.duplicates

    results = crowd.all([send, lambda: amend_event(**KEY, changes={"quantity": "6"}, **WHY), send, send])

    assert [results[0], *results[2:]] == [(0, 1)] * 3
    assert used() == 6
    assert all_is_well()


FORGERIES = {
    "a number of the past": "VALUES (%(event)s + 1, %(event)s, NULL, 'cust_acme', 'key-1', 'r', 'a')",
    "a number of the future": "VALUES (999999999, %(event)s, NULL, 'cust_acme', 'key-1', 'r', 'a')",
    "another customer": "VALUES (nextval('metering_usageevent_id_seq'), %(event)s, NULL, 'cust_x', 'key-1', 'r', 'a')",
    "another key": "VALUES (nextval('metering_usageevent_id_seq'), %(event)s, NULL, 'cust_acme', 'key-2', 'r', 'a')",
    "no reason": "VALUES (nextval('metering_usageevent_id_seq'), %(event)s, NULL, 'cust_acme', 'key-1', '', 'a')",
    "a replacement under another number": """
        VALUES (nextval('metering_usageevent_id_seq'), %(event)s, %(other)s, 'cust_acme', 'key-1', 'r', 'a')""",
    "an old event as replacement": "VALUES (%(other)s, %(event)s, %(other)s, 'cust_acme', 'key-1', 'r', 'a')",
}


@pytest.mark.django_db
@pytest.mark.parametrize("forgery", FORGERIES)
def test_raw_sql_cannot_forge_a_cancellation(event: UsageEvent, forgery: str) -> None:
    accept_events(events=[an_event("cust_acme", "1", at=NOON, key=key) for key in ("other", "third")])
    roll_up()
    other = UsageEvent.objects.get(idempotency_key="other").pk
    columns = "number, event_number, replacement_number, customer_id, idempotency_key, reason, actor"

    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO metering_eventcancellation ({columns}) {FORGERIES[forgery]}",
            {"event": event.pk, "other": other},
        )


@pytest.mark.django_db
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE metering_eventcancellation SET number = number + 1",
        "UPDATE metering_eventcancellation SET reason = 'other'",
        "DELETE FROM metering_eventcancellation",
        "TRUNCATE metering_eventcancellation",
    ],
)
def test_raw_sql_cannot_change_or_remove_a_cancellation(event: UsageEvent, statement: str) -> None:
    cancel_event(**KEY, **WHY)

    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.django_db
def test_a_cancellation_has_a_number_that_no_rollup_has_passed(event: UsageEvent) -> None:
    roll_up()

    assert cancel_event(**KEY, **WHY).number > Meter.objects.get().rolled_up_to
    assert settled_mark() == EventCancellation.objects.get().number
