"""The dry run of a backfill or replay: what its events would do to usage and money, computed with them and taken back.

The events are accepted, rolled up and billed in a transaction that is rolled back, on a snapshot of the database: what
others send meanwhile is in neither side of a comparison. Ingest goes on; the rollup waits until it is done.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from django.db import OperationalError, connection, transaction
from django.db.models import Count

from billing_site.kernel.errors import Conflict, InvalidInput
from billing_site.kernel.period import HOUR, Period, hour_of
from invoicing.customers.models import Customer
from invoicing.workflows.backfill_figures import BackfillEffect, CustomerEffect, QuantityEffect
from invoicing.workflows.money_state import State, money_between, state_of
from invoicing.workflows.unbilled_usage import uncharged_usage
from metering.core.parsing import Event
from metering.importing import BATCH_EVENTS, Found
from metering.ingest import accept_events
from metering.models import Meter, UnappliedEvent, UnappliedReason, UsageEvent
from metering.partitions import open_present_month
from metering.rollup import roll_up

EVENTS_MAX = 500_000
CUSTOMERS_MAX = 1_000
REFUSALS_SHOWN_MAX = 20
ATTEMPTS = 3


def backfill_effect(*, found: Callable[[], Iterable[tuple[int, Found]]], at: datetime) -> BackfillEffect:
    """Return what these events would do at a moment, customer by customer, with the money effect; keeps nothing.

    `found` gives them, each with the number of its row, anew each time it is called. Raises InvalidInput for more events or customers than one dry run
    takes, Conflict where other senders' events of the same keys keep coming in.
    """
    open_present_month()
    roll_up()
    for attempt in range(ATTEMPTS):
        try:
            return _dry_run(found(), at=at)
        except OperationalError as problem:
            # Somebody else sent one of the keys meanwhile: the snapshot cannot say what becomes of it.
            if attempt == ATTEMPTS - 1 or getattr(problem.__cause__, "sqlstate", "") not in ("40001", "40P01"):
                raise
    raise Conflict("events with the same keys keep coming in: try it when their sender is quiet", code="busy")


def accept_found(*, found: Iterable[tuple[int, Found]]) -> BackfillEffect:
    """Accept the events in batches and count what became of them; whether it is kept is the caller's transaction."""
    effect = BackfillEffect()
    customers: dict[str, CustomerEffect] = {}
    for batch in _batches(found, effect):
        receipt = accept_events(events=[event for _, event in batch])
        sent = Counter(event.customer_id for _, event in batch)
        against = Counter(conflict.customer_id for conflict in receipt.conflicts)
        for key, count in sent.items():
            known = customers.setdefault(key, CustomerEffect(key))
            known.duplicates += count - against[key]
            known.conflicts += against[key]
        effect.accepted += receipt.accepted
        effect.duplicates += receipt.duplicates
        effect.conflicts += len(receipt.conflicts)
        for conflict in receipt.conflicts:
            _refuse(effect, f"row {batch[conflict.place][0]}, {conflict.idempotency_key}: {conflict.message}")
    effect.customers = [customers[key] for key in sorted(customers)]
    return effect


def _batches(found: Iterable[tuple[int, Found]], effect: BackfillEffect) -> Iterator[list[tuple[int, Event]]]:
    """Yield the events in batches and count what is refused; raises InvalidInput for too many."""
    batch: list[tuple[int, Event]] = []
    count = 0
    for number, one in found:
        if one.event is None:
            effect.rejected += 1
            assert one.error is not None, "what is no event has a reason"
            _refuse(effect, f"row {number}, {one.error.field or 'the row'}: {one.error.message}")
            continue
        count += 1
        if count > EVENTS_MAX:
            raise InvalidInput(f"a dry run takes {EVENTS_MAX:,} events: split the file", field="file", code="too_many")
        batch.append((number, one.event))
        if len(batch) == BATCH_EVENTS:
            yield batch
            batch = []
    if batch:
        yield batch


def _refuse(effect: BackfillEffect, message: str) -> None:
    if len(effect.refusals) < REFUSALS_SHOWN_MAX:
        effect.refusals.append(message)


def _dry_run(found: Iterable[tuple[int, Found]], *, at: datetime) -> BackfillEffect:
    outermost = not connection.in_atomic_block
    with transaction.atomic():
        with connection.cursor() as cursor:
            if outermost:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            # Taken before the snapshot: no other rollup moves a meter while this one is compared with itself.
            cursor.execute("LOCK TABLE metering_meter IN EXCLUSIVE MODE")
        roll_up()
        mark = _last_number()
        with transaction.atomic():
            effect = accept_found(found=found)
            roll_up()
            spans = _spans(effect, mark)
            if len(spans) > CUSTOMERS_MAX:
                raise InvalidInput(
                    f"a dry run takes {CUSTOMERS_MAX:,} customers: split the file", field="file", code="too_many"
                )
            meters = _meters_of(mark)
            after = _state(spans, meters, at=at)
            effect.in_no_window = _in_no_window(mark)
            transaction.set_rollback(True)
        before = _state(spans, meters, at=at)
        transaction.set_rollback(True)
    _compare(effect, before, after)
    return effect


def _last_number() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT last_value FROM metering_usageevent_id_seq")
        return int(cursor.fetchone()[0])


def _spans(effect: BackfillEffect, mark: int) -> dict[str, Period]:
    """Return the hours of each customer's accepted events, and count them."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT customer_id, count(*), min(timestamp), max(timestamp) FROM metering_usageevent WHERE id > %s"
            " GROUP BY customer_id",
            [mark],
        )
        rows = {key: (count, first, last) for key, count, first, last in cursor.fetchall()}
    for customer in effect.customers:
        customer.accepted = rows[customer.customer_id][0] if customer.customer_id in rows else 0
        customer.duplicates -= customer.accepted
    assert sum(customer.accepted for customer in effect.customers) == effect.accepted, "what was accepted is there"
    return {
        key: Period(hour_of(first.astimezone(UTC)), hour_of(last.astimezone(UTC)) + HOUR)
        for key, (_, first, last) in sorted(rows.items())
    }


def _meters_of(mark: int) -> list[str]:
    """Return the meters of the accepted events' types."""
    types = UsageEvent.objects.filter(pk__gt=mark).values("event_type").distinct()
    return list(Meter.objects.filter(event_type__in=types).order_by("key").values_list("key", flat=True))


def _state(spans: dict[str, Period], meters: list[str], *, at: datetime) -> State:
    state = state_of(spans=spans, meters=meters, at=at)
    for row in uncharged_usage(at=at):
        if row.customer_id in spans:
            state.unbilled[row.customer_id, row.meter, row.reason] = row
    return state


def _in_no_window(mark: int) -> list[str]:
    """Say which of the events no meter counts, by type and reason."""
    rows = (
        UnappliedEvent.objects.filter(number__gt=mark)
        .values_list("event_type", "reason")
        .annotate(event_count=Count("number", distinct=True))
        .order_by("event_type", "reason")
    )
    return [f"{count:,} × {name}: {UnappliedReason(reason).label}" for name, reason, count in rows]


def _compare(effect: BackfillEffect, before: State, after: State) -> None:
    units = dict(Meter.objects.values_list("key", "unit"))
    names = dict(Customer.objects.values_list("key", "name"))
    for customer in effect.customers:
        key = customer.customer_id
        customer.name = names.get(key, "")
        customer.quantities = [
            QuantityEffect(meter, units[meter], before.quantities[one, meter], quantity)
            for (one, meter), quantity in after.quantities.items()
            if one == key and quantity != before.quantities[one, meter]
        ]
        customer.money = money_between(customer_id=key, before=before, after=after)
        customer.unbilled = [
            *([f"cannot be previewed: {after.problems[key]}"] if key in after.problems else []),
            *_unbilled(key, before, after),
        ]


def _unbilled(key: str, before: State, after: State) -> Iterator[str]:
    for place, row in sorted(after.unbilled.items(), key=lambda item: (item[0][1], item[0][2].name)):
        known = before.unbilled.get(place)
        count = row.event_count - (known.event_count if known else 0)
        if place[0] == key and count:
            yield f"{count:,} × {row.meter}: {row.reason.value}"
