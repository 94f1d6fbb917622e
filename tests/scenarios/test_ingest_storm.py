"""Eight clients with the same events, in orders and batch sizes of their own: each event is accepted exactly once."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connection

from metering.conflicts import Conflict
from metering.core.parsing import Event
from metering.ingest import Receipt, accept_events
from metering.models import EventConflict, UsageEvent
from tests.factories import JULY, an_event
from tests.metering.conftest import Crowd, crowd

__all__ = ["crowd"]

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = 8
# In full: INGEST_STORM_EVENTS=100000.
EVENTS = int(os.environ.get("INGEST_STORM_EVENTS", "20000"))
EVENTS_OVER_HTTP = int(os.environ.get("INGEST_STORM_EVENTS", "4000"))


def send_all(events: list[Event], *, client: int) -> Receipt:
    """Send every event once, shuffled, in batches of 1 to 5,000."""
    dice = random.Random(client)
    order = list(events)
    dice.shuffle(order)
    receipt, begin = Receipt(0, 0), 0
    while begin < len(order):
        size = dice.choice((1, 50, 500, 1_000, 2_000, 5_000))
        receipt += accept_events(events=order[begin : begin + size])
        begin += size
    return receipt


def deadlocks() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return int(cursor.fetchone()[0])


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.django_db(transaction=True)
@pytest.mark.requirement("S0-110")
def test_eight_clients_with_the_same_events_have_each_accepted_once(crowd: Crowd) -> None:
    events = [an_event(f"cust_{number % 50}", "1", at=JULY, key=f"key-{number}") for number in range(EVENTS)]
    before = deadlocks()

    receipts = crowd.all([lambda client=client: send_all(events, client=client) for client in range(CLIENTS)])

    assert sum(receipt.accepted for receipt in receipts) == EVENTS
    assert sum(receipt.duplicates for receipt in receipts) == (CLIENTS - 1) * EVENTS
    assert [receipt.conflicts for receipt in receipts] == [()] * CLIENTS
    assert UsageEvent.objects.count() == UsageEvent.objects.values("dedup_key").distinct().count() == EVENTS
    assert deadlocks() == before


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_of_two_contents_under_one_key_one_is_accepted_and_the_other_listed_whoever_comes_first(crowd: Crowd) -> None:
    """Four clients say one thing and four another, in batches that overlap in other orders: no deadlock either."""
    count = 600
    ones = [an_event("cust_a", "1", at=JULY, key=f"key-{number}") for number in range(count)]
    twos = [an_event("cust_a", "2", at=JULY, key=f"key-{number}") for number in range(count)]
    before = deadlocks()

    receipts = crowd.all(
        [lambda client=client: send_all(twos if client % 2 else ones, client=client) for client in range(CLIENTS)]
    )

    conflicts: list[Conflict] = [conflict for receipt in receipts for conflict in receipt.conflicts]
    assert sum(receipt.accepted for receipt in receipts) == UsageEvent.objects.count() == count
    assert len(conflicts) == count * CLIENTS // 2
    assert sum(receipt.duplicates for receipt in receipts) == count * (CLIENTS // 2 - 1)
    assert EventConflict.objects.count() == count
    assert set(EventConflict.objects.values_list("times_seen", flat=True)) == {CLIENTS // 2}
    assert deadlocks() == before


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_eight_clients_over_http_have_each_event_accepted_once() -> None:
    outside = {
        name: value for name, value in os.environ.items() if name not in ("DJANGO_SETTINGS_MODULE", "BENCH_DATA_DIR")
    }

    played = subprocess.run(
        [sys.executable, "-m", "tests.scenarios.ingest_storm", "--events", str(EVENTS_OVER_HTTP)],
        cwd=ROOT,
        env=outside,
        capture_output=True,
        text=True,
        timeout=880,
    )

    assert played.returncode == 0, played.stdout[-3000:] + played.stderr[-3000:]
    assert f"{EVENTS_OVER_HTTP:,} rows, each accepted once" in played.stdout
