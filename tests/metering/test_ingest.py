"""Each idempotency key of a customer is accepted once: sent twice, at once, or by force."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError, connection, transaction

from metering.core.decoding import decode_json
from metering.core.parsing import Event, parse_event
from metering.ingest import Receipt, accept_events
from metering.models import UsageEvent
from tests.factories import JULY, an_event
from tests.metering.conftest import Crowd


def events_numbered(numbers: range | list[int], customer_id: str = "cust_acme") -> list[Event]:
    return [an_event(customer_id, "1", at=JULY, key=f"key-{number}") for number in numbers]


@pytest.mark.django_db
@pytest.mark.requirement("S0-110")
@pytest.mark.requirement("S0-111")
def test_a_batch_sent_twice_is_accepted_once() -> None:
    events = events_numbered(range(10))

    first, second = accept_events(events=events), accept_events(events=events)

    assert (first, second) == (Receipt(10, 0), Receipt(0, 10))
    assert UsageEvent.objects.count() == 10


@pytest.mark.django_db
def test_a_key_that_stands_twice_in_a_batch_is_accepted_once_and_the_first_wins() -> None:
    first = an_event("cust_acme", "1", at=JULY, key="same")
    second = an_event("cust_acme", "1", at=JULY + timedelta(days=1), key="same")
    third = an_event("cust_acme", "2", at=JULY, key="same")

    receipt = accept_events(events=[first, second, third])

    assert (receipt.accepted, receipt.duplicates) == (1, 1)
    assert [(conflict.place, conflict.differing) for conflict in receipt.conflicts] == [(2, ("quantity",))]
    assert UsageEvent.objects.get().quantity == 1


@pytest.mark.django_db
@pytest.mark.requirement("S0-105")
def test_a_key_is_remembered_for_ever_whatever_the_retry_says() -> None:
    accept_events(events=[an_event("cust_acme", "1", at=datetime(2024, 1, 1, tzinfo=UTC), key="same")])

    again = accept_events(events=[an_event("cust_acme", "1", at=JULY, key="same")])
    contradiction = accept_events(events=[an_event("cust_acme", "2", at=JULY, event_type="other", key="same")])

    assert again == Receipt(0, 1)
    assert (contradiction.accepted, contradiction.duplicates) == (0, 0)
    assert contradiction.conflicts[0].differing == ("event_type", "quantity")


@pytest.mark.django_db
def test_two_customers_may_use_the_same_key() -> None:
    receipt = accept_events(
        events=[an_event("cust_a", "1", at=JULY, key="k"), an_event("cust_b", "1", at=JULY, key="k")]
    )

    assert receipt == Receipt(2, 0)


@pytest.mark.django_db
def test_no_pair_of_customer_and_key_is_taken_for_another() -> None:
    receipt = accept_events(
        events=[an_event("cust", "1", at=JULY, key="_a-1"), an_event("cust_a", "1", at=JULY, key="-1")]
    )

    assert receipt == Receipt(2, 0)


@pytest.mark.django_db
def test_an_empty_batch_is_nothing() -> None:
    assert accept_events(events=[]) == Receipt(0, 0)


@pytest.mark.django_db
@pytest.mark.requirement("S0-109")
def test_quantities_and_properties_are_stored_to_the_last_digit() -> None:
    document = decode_json(
        b'{"event_id":"e","idempotency_key":"k","event_type":"t","timestamp":"2026-07-01T00:00:00.123456Z",'
        b'"customer_id":"\xc3\xa9\\"\\\\","quantity":12345678901234567890123456.123456789012,'
        b'"properties":{"rate":0.10000000000000000001,"big":123456789012345678901234567890,"deep":[1e2,null,true,"\\u20ac"]}}'
    )

    accept_events(events=[parse_event(document=document, received_at=JULY)])

    stored = UsageEvent.objects.get()
    assert stored.quantity == Decimal("12345678901234567890123456.123456789012")
    assert stored.timestamp == datetime(2026, 7, 1, 0, 0, 0, 123_456, tzinfo=UTC)
    assert stored.customer_id == 'é"\\'
    with connection.cursor() as cursor:
        cursor.execute("SELECT properties::text FROM metering_usageevent")
        text = cursor.fetchone()[0]
    assert '"rate": 0.10000000000000000001' in text
    assert '"big": 123456789012345678901234567890' in text
    assert '"deep": [100, null, true, "€"]' in text


@pytest.mark.django_db(transaction=True)
def test_eight_senders_of_overlapping_batches_get_each_key_accepted_once(crowd: Crowd) -> None:
    def send(seed: int) -> Receipt:
        order = random.Random(seed)
        total = Receipt(0, 0)
        for _ in range(6):
            total += accept_events(events=events_numbered(order.sample(range(1000), 400)))
        return total

    receipts = crowd.all([lambda seed=seed: send(seed) for seed in range(8)])

    stored = UsageEvent.objects.count()
    assert sum(receipt.accepted for receipt in receipts) == stored
    assert sum(receipt.accepted + receipt.duplicates for receipt in receipts) == 8 * 6 * 400
    assert UsageEvent.objects.values("idempotency_key").distinct().count() == stored


@pytest.mark.django_db(transaction=True)
def test_a_duplicate_of_an_event_that_was_rolled_back_is_accepted(crowd: Crowd) -> None:
    """The key is claimed with the event, never before it (openmeter#5118)."""
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        accept_events(events=events_numbered(range(3)))
        _ = 1 / 0

    assert accept_events(events=events_numbered(range(3))) == Receipt(3, 0)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "attack",
    [
        "UPDATE metering_usageevent SET quantity = 0",
        "UPDATE metering_usageevent SET timestamp = timestamp",
        "DELETE FROM metering_usageevent",
        "TRUNCATE metering_usageevent",
        "TRUNCATE metering_usageevent CASCADE",
        "TRUNCATE metering_usagewindow",
        "INSERT INTO metering_usageevent SELECT * FROM metering_usageevent ON CONFLICT (id) DO UPDATE SET quantity = 0",
        "MERGE INTO metering_usageevent e USING (SELECT 1) s ON TRUE WHEN MATCHED THEN DELETE",
        "WITH gone AS (DELETE FROM metering_usageevent RETURNING 1) SELECT * FROM gone",
        "DELETE FROM metering_historicalmeter; UPDATE metering_usageevent SET properties = '{}'",
    ],
)
def test_accepted_events_cannot_be_changed_by_sql(attack: str) -> None:
    accept_events(events=events_numbered(range(2)))

    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(attack)

    assert [event.quantity for event in UsageEvent.objects.all()] == [1, 1]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("column", "value"), [("quantity", "-1"), ("quantity", "'NaN'"), ("dedup_key", "NULL"), ("customer_id", "NULL")]
)
def test_the_database_refuses_what_python_should_never_send(column: str, value: str) -> None:
    columns = {
        "dedup_key": "gen_random_uuid()",
        "event_id": "'e'",
        "idempotency_key": "'k'",
        "event_type": "'t'",
        "customer_id": "'c'",
        "timestamp": "now()",
        "quantity": "1",
    } | {column: value}

    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO metering_usageevent ({', '.join(columns)}) VALUES ({', '.join(columns.values())})")
