"""Numbers drawn early and committed late, of events, cancellations, amendments and dates: no step goes past them."""

import random
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction

from billing_site.kernel.period import Period
from metering.correcting import amend_event, cancel_event
from metering.ingest import accept_events
from metering.listing import listing_faults
from metering.models import Meter
from metering.operations import backdate_meter, create_meter
from metering.queries import billing_usage, conservation, usage_as_known
from metering.rollup import roll_up
from tests.factories import JULY, an_event, use
from tests.metering.conftest import Crowd
from tests.metering.state.agreement import billing_differences, read_world, window_differences

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)
DAY = Period(JULY - HOUR, JULY + timedelta(days=1))
SAID: dict[str, Any] = {"actor": "test", "reason": "wrong"}


def meters() -> None:
    for key, definition in {
        "actions": {"effective_from": JULY},
        "level": {"aggregation": "time_weighted_sum", "effective_from": JULY - HOUR},
        "latest": {"aggregation": "latest", "effective_from": JULY - HOUR},
    }.items():
        create_meter(**{"key": key, "name": key, "event_type": "action.consumed", **SAID, **definition})


def cancel() -> None:
    cancel_event(customer_id="cust_a", idempotency_key="first", **SAID)


def amend() -> None:
    amend_event(customer_id="cust_a", idempotency_key="first", changes={"quantity": "3"}, **SAID)


def date_back() -> None:
    backdate_meter(key="actions", effective_from=JULY - HOUR, **SAID)


def send() -> None:
    use("cust_a", "7", at=JULY, key="slow")


@pytest.mark.parametrize(
    ("change", "billed"),
    [(cancel, 20), (amend, 23), (date_back, 21), (send, 28)],
    ids=["cancel", "amend", "date", "send"],
)
def test_the_rollup_waits_for_a_low_number_that_commits_late(
    crowd: Crowd, change: Callable[[], None], billed: int
) -> None:
    """Others with greater numbers have committed meanwhile; a cursor beyond them would never see the low one."""
    meters()
    use("cust_a", "1", at=JULY - HOUR, key="first" if change is date_back else "other")
    if change is not date_back:
        use("cust_a", "1", at=JULY, key="first")
    roll_up()
    drawn, may_commit = threading.Event(), threading.Event()

    def slowly() -> None:
        with transaction.atomic():
            change()
            drawn.set()
            assert may_commit.wait(20)

    slow = crowd.begin(slowly)
    assert drawn.wait(20)
    crowd.begin(lambda: use("cust_a", "20", at=JULY + HOUR)).result(timeout=20)
    rolling = crowd.begin(roll_up)
    waits = not _ends(rolling, seconds=0.5)
    may_commit.set()
    slow.result(timeout=20)
    rolling.result(timeout=20)

    usage = billing_usage(customer_id="cust_a", meter_keys=["actions"], period=DAY)["actions"]
    assert waits
    assert usage.quantity == billed
    assert window_differences(read_world()) == []


def test_in_whatever_order_transactions_end_every_figure_equals_its_recount(crowd: Crowd) -> None:
    """Six clients with transactions of several batches, some rolled back, corrections between, two rollups all the time."""
    meters()
    done = threading.Event()
    billed: list[tuple[str, Any]] = []

    def client(number: int) -> None:
        dice = random.Random(number)
        for turn in range(12):
            keys = [f"{number}-{turn}-{place}" for place in range(dice.randint(1, 6))]
            batch = [
                an_event(
                    f"cust_{dice.choice('ab')}",
                    str(dice.randint(0, 9)),
                    at=JULY + dice.randint(-60, 300) * HOUR / 60,
                    key=key,
                )
                for key in keys
            ]
            try:
                with transaction.atomic():
                    for event in batch:
                        accept_events(events=[event])
                    if dice.random() < 0.25:
                        raise _ChangedItsMind
            except _ChangedItsMind:
                continue
            if dice.random() < 0.4:
                cancel_event(customer_id=batch[0].customer_id, idempotency_key=batch[0].idempotency_key, **SAID)
            elif dice.random() < 0.5:
                changes = {"quantity": "11", "timestamp": (JULY + 2 * HOUR).isoformat()}
                amend_event(
                    customer_id=batch[0].customer_id, idempotency_key=batch[0].idempotency_key, changes=changes, **SAID
                )

    def roller(batch: int) -> None:
        while not done.is_set():
            roll_up(batch=batch)
            for key, usage in billing_usage(
                customer_id="cust_a", meter_keys=["actions", "level", "latest"], period=DAY
            ).items():
                billed.append((key, usage))

    rollers = [crowd.begin(lambda: roller(3)), crowd.begin(lambda: roller(100))]
    try:
        crowd.all([lambda number=number: client(number) for number in range(6)])
    finally:
        done.set()
    for rolling in rollers:
        rolling.result(timeout=60)
    date_back()
    roll_up()

    world = read_world()
    assert window_differences(world) == []
    assert [row for row in conservation() if not row.balanced] == []
    assert listing_faults() == []
    assert billing_differences(world, customers=["cust_a", "cust_b"], periods=[DAY])[0] == []
    # How often the rollers get their turn is the machine's affair; once for each meter is enough to mean something.
    assert len(billed) >= 3
    different = {(key, usage.known_through, usage.windows_digest): usage for key, usage in billed}
    for (key, number, digest), usage in different.items():
        again = usage_as_known(meter_key=key, customer_id="cust_a", period=DAY, known_through=number)
        assert (again.windows_digest, again.quantity) == (digest, usage.quantity)


def test_a_meter_that_is_created_while_the_rollup_runs_catches_up_with_all_others(crowd: Crowd) -> None:
    meters()
    for number in range(30):
        use("cust_a", "1", at=JULY + number * HOUR, key=f"event-{number}")

    def create(number: int) -> None:
        create_meter(key=f"new-{number}", name="New", event_type="action.consumed", effective_from=JULY - HOUR, **SAID)

    crowd.all(
        [
            lambda: roll_up(batch=2),
            *(lambda number=number: create(number) for number in range(4)),
            lambda: roll_up(batch=5),
        ]
    )
    roll_up()

    assert len(set(Meter.objects.values_list("rolled_up_to", flat=True))) == 1
    assert window_differences(read_world()) == []
    assert listing_faults() == []


class _ChangedItsMind(Exception):
    """The client rolls back what it had sent."""


def _ends(future: Any, *, seconds: float) -> bool:
    try:
        future.result(timeout=seconds)
    except TimeoutError:
        return False
    return True
