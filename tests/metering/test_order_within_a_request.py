"""Levels stated in one request hold in the order in which the sender stated them."""

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from billing_site.kernel.period import Period
from invoicing.catalog.operations import load_catalog
from metering.ingest import Receipt, accept_events, dedup_key
from metering.models import UsageEvent
from metering.queries import billing_usage
from metering.rollup import roll_up
from tests.factories import an_event

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("keys", [("first", "second"), ("second", "first")])
def test_of_two_levels_of_one_moment_in_one_request_the_one_that_was_stated_last_holds(keys: tuple[str, str]) -> None:
    meter = {"key": "seats", "event_type": "seats.set", "aggregation": "latest"}
    load_catalog(document={"meters": [meter]}, at=NOON, actor="test", reason="set up")
    accept_events(
        events=[
            an_event("cust_acme", quantity, at=NOON, event_type="seats.set", key=key)
            for quantity, key in zip(("5", "9"), keys, strict=True)
        ]
    )
    roll_up()

    period = Period(datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 8, 1, tzinfo=UTC))
    used = billing_usage(customer_id="cust_acme", meter_keys=["seats"], period=period)

    assert used["seats"].quantity == 9


@pytest.mark.parametrize("keys", [("first", "second"), ("second", "first")])
def test_the_order_of_a_request_holds_where_part_of_it_was_accepted_before(keys: tuple[str, str]) -> None:
    known = an_event("cust_acme", "1", at=NOON, event_type="seats.set", key="known")
    accept_events(events=[known])

    receipt = accept_events(
        events=[
            known,
            *(an_event("cust_acme", "2", at=NOON, event_type="seats.set", key=key) for key in keys),
        ]
    )

    numbered = UsageEvent.objects.order_by("id").values_list("idempotency_key", flat=True)
    assert (receipt.accepted, receipt.duplicates) == (2, 1)
    assert list(numbered) == ["known", *keys]


def test_events_of_different_moments_are_numbered_by_the_database_alone() -> None:
    with CaptureQueriesContext(connection) as asked:
        accept_events(
            events=[
                an_event("cust_acme", "1", at=NOON + timedelta(seconds=second), event_type="seats.set")
                for second in range(3)
            ]
        )

    assert not [query for query in asked.captured_queries if "nextval" in query["sql"]]


@pytest.mark.django_db(transaction=True)
def test_a_batch_that_loses_a_deadlock_against_a_long_transaction_is_tried_again() -> None:
    by_key = sorted("abcd", key=lambda key: dedup_key(customer_id="cust_acme", idempotency_key=key))
    first, last = by_key[0], by_key[-1]
    events = {key: an_event("cust_acme", "2", at=NOON, key=key) for key in (first, last)}
    holds, stands = threading.Event(), threading.Event()
    receipts: list[Receipt] = []

    def several_batches() -> None:
        with transaction.atomic():
            with connection.cursor() as cursor:
                # Whoever has waited so long looks for the deadlock, and loses: that is the other one, however busy the machine is.
                cursor.execute("SET LOCAL deadlock_timeout = '60s'")
            accept_events(events=[events[last]])
            holds.set()
            assert stands.wait(20)
            time.sleep(0.3)
            accept_events(events=[events[first]])
        connection.close()

    def one_batch() -> None:
        assert holds.wait(20)
        stands.set()
        receipts.append(accept_events(events=[events[first], events[last]]))
        connection.close()

    threads = [threading.Thread(target=several_batches), threading.Thread(target=one_batch)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert [(receipt.accepted, receipt.duplicates) for receipt in receipts] == [(0, 2)]
    assert UsageEvent.objects.count() == 2
