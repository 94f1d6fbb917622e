"""Correct accepted events: cancel one, or put another in its place; the original stays (S0-061, S4-041).

A cancellation draws its number from the sequence of events under the ingest lock, so that "as known through N"
says whether the event counts. An amendment is a cancellation and a replacement under one number: no cursor lies
between them, nobody ever knows both events or neither.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.db import connection, transaction

from billing_site.kernel.clock import now
from billing_site.kernel.errors import Conflict, InvalidInput
from billing_site.kernel.period import Period
from billing_site.kernel.reasons import checked_reason
from metering.core.amending import amended_event, amended_key, same_fact
from metering.core.decoding import decode_json
from metering.core.parsing import Event
from metering.core.windows import span_of
from metering.ingest import accept_events, dedup_key
from metering.models import INGEST_LOCK, EventCancellation, KnownKey, Meter, UsageEvent
from metering.partitions import open_present_month
from metering.queries.chains import EventChain, chain_of, number_of_event
from metering.queries.usage import usage_between

# Corrections of one chain of events follow each other; the two-key form does not meet the ingest lock.
CORRECTION_LOCK = 7_303


@dataclass(frozen=True)
class MeterEffect:
    """What a correction does to a meter's quantity of a customer in a UTC month."""

    meter: Meter
    month: Period
    before: Decimal
    after: Decimal

    @property
    def change(self) -> Decimal:
        """The difference; below zero where less counts than before."""
        return self.after - self.before


@transaction.atomic
def cancel_event(*, customer_id: str, idempotency_key: str, actor: str, reason: str) -> EventCancellation:
    """Let an event count no more; an event that was amended is cancelled in its present form (S4-004, S4-041).

    A second call returns the first one's cancellation. Raises NotFound for an unknown key, Conflict for an event
    whose month is archived, InvalidInput without a reason.
    """
    _check_reason(actor, reason)
    chain = _chain_to_correct(customer_id, idempotency_key)
    if chain.end is not None:
        return chain.end
    event = _event(chain)
    return _cancel(chain.last, customer_id, event.idempotency_key, actor=actor, reason=reason)


@transaction.atomic
def amend_event(
    *, customer_id: str, idempotency_key: str, changes: Mapping[str, Any], actor: str, reason: str
) -> EventCancellation:
    """Put another event in the place of one: some of quantity, properties, timestamp, event_type, namespace_id.

    The replacement is an event like others, under the key `<key>~amended-<n>`, with a number of its own, which is the
    cancellation's too. Amended again, by the original key, it is replaced in turn. A second call with the same changes returns
    the first one's cancellation. Raises NotFound, Conflict for an event that is cancelled or archived, InvalidInput for
    changes that cannot be accepted, that change nothing, or for want of a reason.
    """
    _check_reason(actor, reason)
    _open_month_first()
    chain = _chain_to_correct(customer_id, idempotency_key)
    if chain.end is not None:
        raise Conflict(
            f"this event was cancelled by {chain.end.actor} on {chain.end.cancelled_at:%Y-%m-%d} and cannot be amended; "
            "send the right event under a new key",
            field="idempotency_key",
        )
    accepted = _event(chain)
    key = _free_key(chain, customer_id, accepted.idempotency_key)
    replacement = amended_event(accepted=accepted, changes=changes, key=key, received_at=now())
    if same_fact(accepted, replacement):
        if len(chain.numbers) == 1:
            raise InvalidInput("would change nothing: the event says so already", field="changes", code="no_change")
        return chain.cancellations[chain.numbers[-2]]
    receipt = accept_events(events=[replacement])
    assert receipt.accepted == 1, "a key that nobody has is accepted"
    number = UsageEvent.objects.get(
        dedup_key=dedup_key(customer_id=customer_id, idempotency_key=replacement.idempotency_key)
    ).pk
    return _cancel(
        chain.last, customer_id, accepted.idempotency_key, actor=actor, reason=reason, replacement_number=number
    )


def effect_of_cancelling(*, customer_id: str, idempotency_key: str) -> list[MeterEffect]:
    """Return what `cancel_event` would do to each meter's quantity; nothing stays. Raises what that raises."""
    return _effect(
        lambda: cancel_event(
            customer_id=customer_id, idempotency_key=idempotency_key, actor="preview", reason="preview"
        ),
        customer_id,
    )


def effect_of_amending(*, customer_id: str, idempotency_key: str, changes: Mapping[str, Any]) -> list[MeterEffect]:
    """Return what `amend_event` would do to each meter's quantity; nothing stays. Raises what that raises."""
    return _effect(
        lambda: amend_event(
            customer_id=customer_id, idempotency_key=idempotency_key, changes=changes, actor="preview", reason="preview"
        ),
        customer_id,
    )


def _effect(correct: Callable[[], EventCancellation], customer_id: str) -> list[MeterEffect]:
    """Correct, count, and take it back: whatever the aggregation, the effect is the difference of two answers."""
    with transaction.atomic():
        correction = correct()
        numbers = [number for number in (correction.event_number, correction.replacement_number) if number]
        touched = UsageEvent.objects.filter(pk__in=numbers).values_list("event_type", "timestamp")
        months = {(name, span_of(moment=moment.astimezone(UTC), granularity="month")) for name, moment in touched}
        after = _quantities(customer_id, months)
        transaction.set_rollback(True)
    before = _quantities(customer_id, months)
    return [MeterEffect(meter, month, before[meter, month], after[meter, month]) for meter, month in before]


def _quantities(customer_id: str, months: set[tuple[str, Period]]) -> dict[tuple[Meter, Period], Decimal]:
    meters = Meter.objects.filter(event_type__in={name for name, _ in months}).order_by("key")
    return {
        (meter, month): usage_between(meter_key=meter.key, customer_id=customer_id, period=month)
        for meter in meters
        for name, month in sorted(months)
        if name == meter.event_type
    }


def _check_reason(actor: str, reason: str) -> None:
    assert actor, "a correction without an actor cannot be audited"
    checked_reason(reason=reason, asked="say why: it stands beside the event for ever")


def _open_month_first() -> None:
    """Open the present month before this transaction shares the ingest lock: with it, two would wait for each other."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT FROM metering_keyhorizon WHERE open_from >= date_trunc('month', clock_timestamp(), 'UTC')"
        )
        is_open = cursor.rowcount == 1
    if not is_open:
        open_present_month()


def _chain_to_correct(customer_id: str, idempotency_key: str) -> EventChain:
    """Return the event's chain as it is while nobody else corrects it, until this transaction ends."""
    number = number_of_event(customer_id=customer_id, idempotency_key=idempotency_key)
    first = chain_of(number=number).first
    with connection.cursor() as cursor:
        # The ingest lock first: who waits for a turn holds it already, as does whose turn it is.
        cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", [INGEST_LOCK])
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [CORRECTION_LOCK, first % 2**31])
    return chain_of(number=number)


def _event(chain: EventChain) -> Event:
    """Return the chain's last event, its properties to the digit; raises Conflict where its month is archived."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT event_id, idempotency_key, event_type, timestamp, customer_id, quantity, namespace_id, properties::text
            FROM metering_usageevent WHERE id = %s
            """,
            [chain.last],
        )
        row = cursor.fetchone()
    if row is None:
        raise Conflict("archived: restore its month first", field="idempotency_key", code="archived")
    event_id, key, event_type, timestamp, customer_id, quantity, namespace_id, properties = row
    return Event(
        event_id=event_id,
        idempotency_key=key,
        event_type=event_type,
        timestamp=_utc(timestamp),
        customer_id=customer_id,
        quantity=quantity,
        namespace_id=namespace_id,
        properties=decode_json(properties.encode()),
    )


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def _free_key(chain: EventChain, customer_id: str, last_key: str) -> str:
    """Return the key of the next replacement; a client may have taken it before such keys were kept for corrections."""
    first = chain.cancellations.get(chain.first)
    root = first.idempotency_key if first else last_key
    number = len(chain.numbers)
    while True:
        key = amended_key(key=root, number=number)
        digest = dedup_key(customer_id=customer_id, idempotency_key=key)
        if (
            not UsageEvent.objects.filter(dedup_key=digest).exists()
            and not KnownKey.objects.filter(dedup_key=digest).exists()
        ):
            return key
        number += 1


def _cancel(
    event_number: int,
    customer_id: str,
    idempotency_key: str,
    *,
    actor: str,
    reason: str,
    replacement_number: int | None = None,
) -> EventCancellation:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO metering_eventcancellation
                (number, event_number, replacement_number, customer_id, idempotency_key, reason, actor)
            VALUES (COALESCE(%(replacement)s, nextval('metering_usageevent_id_seq')), %(event)s, %(replacement)s,
                    %(customer)s, %(key)s, %(reason)s, %(actor)s)
            RETURNING number
            """,
            {
                "replacement": replacement_number,
                "event": event_number,
                "customer": customer_id,
                "key": idempotency_key,
                "reason": reason.strip(),
                "actor": actor,
            },
        )
        (number,) = cursor.fetchone()
    cancellation = EventCancellation.objects.get(pk=number)
    assert cancellation.event_number == event_number, "a cancellation names its event"
    return cancellation
