"""An event and what replaced it: the chain of amendments from the event that was accepted first to the one that counts."""

from dataclasses import dataclass

from django.db import connection

from billing_site.kernel.errors import NotFound
from metering.ingest import dedup_key
from metering.models import EventCancellation, KnownKey, UsageEvent

_CHAIN = """
    WITH RECURSIVE earlier(number) AS (
        SELECT %s::bigint
        UNION
        SELECT c.event_number FROM earlier JOIN metering_eventcancellation c ON c.replacement_number = earlier.number
    ), chain(number) AS (
        SELECT min(number) FROM earlier
        UNION
        SELECT c.replacement_number FROM chain JOIN metering_eventcancellation c ON c.event_number = chain.number
        WHERE c.replacement_number IS NOT NULL
    )
    SELECT number FROM chain ORDER BY number
"""


@dataclass(frozen=True)
class EventChain:
    """The numbers of an event and its replacements, in their order, and the cancellations among them.

    A replacement has a greater number than what it replaces. The last event counts, unless it is cancelled too.
    """

    numbers: tuple[int, ...]
    cancellations: dict[int, EventCancellation]

    @property
    def first(self) -> int:
        """The number of the event that was accepted first."""
        return self.numbers[0]

    @property
    def last(self) -> int:
        """The number of the event that nothing replaced."""
        return self.numbers[-1]

    @property
    def end(self) -> EventCancellation | None:
        """The cancellation after which nothing counts; None where the last event does."""
        return self.cancellations.get(self.last)


def number_of_event(*, customer_id: str, idempotency_key: str) -> int:
    """Return the number of the event that was accepted under a key, archived ones included; raises NotFound.

    Found through the unique indexes of the months, or the keys of closed ones, however many events there are.
    """
    missing = NotFound(
        f"{customer_id} has no event with the idempotency key {idempotency_key!r}", field="idempotency_key"
    )
    if "\x00" in customer_id + idempotency_key:
        raise missing
    try:
        key = dedup_key(customer_id=customer_id, idempotency_key=idempotency_key)
    except UnicodeEncodeError:
        raise missing from None
    for found in (
        UsageEvent.objects.filter(dedup_key=key).values_list("id", flat=True),
        KnownKey.objects.filter(dedup_key=key).values_list("number", flat=True),
    ):
        if numbers := list(found[:1]):
            return numbers[0]
    raise missing


def chain_of(*, number: int) -> EventChain:
    """Return the chain in which an event stands; alone where it was never amended."""
    with connection.cursor() as cursor:
        cursor.execute(_CHAIN, [number])
        numbers = tuple(row[0] for row in cursor.fetchall())
    assert numbers and list(numbers) == sorted(numbers), "an event is replaced by a later one"
    cancellations = EventCancellation.objects.filter(event_number__in=numbers)
    return EventChain(numbers=numbers, cancellations={one.event_number: one for one in cancellations})
